/**
 * A strict reader of DER (ITU-T X.690), with the restrictions of the original's reader: one byte of tag, and lengths of
 * at most two bytes in their shortest form. It copies nothing and does not recurse. Everything throws {@link Malformed}.
 */

/** The bytes are not what the caller asked for. */
export class Malformed extends Error {}

/** The tags of X.509 that are read here. */
export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  explicit0: 0xa0,
  explicit3: 0xa3
} as const

/** One element. */
export interface Element {
  readonly tag: number
  /** Tag, length and contents. */
  readonly whole: Buffer
  readonly contents: Buffer
}

const elementAt = (bytes: Buffer, offset: number): Element => {
  if (bytes.length - offset < 2) {
    throw new Malformed()
  }
  const tag = bytes[offset]!
  const short = bytes[offset + 1]!
  const octets = short < 0x80 ? 0 : short - 0x80
  const contents = offset + 2 + octets
  if ((tag & 0x1f) === 0x1f || short === 0x80 || octets > 2 || contents > bytes.length) {
    throw new Malformed()
  }
  const length = octets === 0 ? short : bytes.readUIntBE(offset + 2, octets)
  const shortest = octets === 0 ? 0 : octets === 1 ? 0x80 : 0x100
  if (length < shortest || contents + length > bytes.length) {
    throw new Malformed()
  }
  return {
    tag,
    whole: bytes.subarray(offset, contents + length),
    contents: bytes.subarray(contents, contents + length)
  }
}

/** All elements, up to the end. */
export const elements = (bytes: Buffer): Array<Element> => {
  const all: Array<Element> = []
  for (let offset = 0; offset < bytes.length;) {
    const element = elementAt(bytes, offset)
    all.push(element)
    offset += element.whole.length
  }
  return all
}

/** The contents of one element with this tag, which may be absent. */
export const contentsOf = (element: Element | undefined, tag: number): Buffer => {
  if (element?.tag !== tag) {
    throw new Malformed()
  }
  return element.contents
}

/** The contents of the only element. */
export const only = (bytes: Buffer, tag: number): Buffer => {
  const element = bytes.length === 0 ? undefined : elementAt(bytes, 0)
  if (element?.whole.length !== bytes.length) {
    throw new Malformed()
  }
  return contentsOf(element, tag)
}

/** The bytes of a BIT STRING that is a whole number of them. */
export const bytesOf = (element: Element | undefined): Buffer => {
  const contents = contentsOf(element, tag.bitString)
  if (contents[0] !== 0) {
    throw new Malformed()
  }
  return contents.subarray(1)
}

/** The magnitude of an INTEGER greater than zero, without a leading zero byte. */
export const positive = (element: Element | undefined): Buffer => {
  const contents = contentsOf(element, tag.integer)
  const [first = 0, second = 0] = contents
  const padded = first === 0
  if (contents.length === 0 || first >= 0x80 || (padded && (contents.length === 1 || second < 0x80))) {
    throw new Malformed()
  }
  return padded ? contents.subarray(1) : contents
}

/** Whether the BOOLEAN is true. */
export const isTrue = (element: Element | undefined): boolean => {
  const contents = contentsOf(element, tag.boolean)
  if (contents.length !== 1 || (contents[0] !== 0 && contents[0] !== 0xff)) {
    throw new Malformed()
  }
  return contents[0] === 0xff
}

const times = {
  [tag.utcTime]: /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/,
  [tag.generalizedTime]: /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/
}

/** A UTCTime or GeneralizedTime with seconds, in UTC and not before 1970, in milliseconds since then. */
export const time = (element: Element | undefined): number => {
  const pattern = times[element?.tag as keyof typeof times] as RegExp | undefined
  const fields = pattern?.exec(element!.contents.toString("latin1"))?.slice(1).map(Number)
  if (fields === undefined) {
    throw new Malformed()
  }
  const [digits, month, day, hours, minutes, seconds] = fields as [number, number, number, number, number, number]
  const year = element!.tag === tag.generalizedTime ? digits : digits >= 50 ? 1900 + digits : 2000 + digits
  const millis = Date.UTC(year, month - 1, day, hours, minutes, seconds)
  const date = new Date(millis)
  // A field out of range would have changed the next one.
  const exact = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && date.getUTCHours() === hours &&
    date.getUTCMinutes() === minutes && date.getUTCSeconds() === seconds
  if (year < 1970 || !exact) {
    throw new Malformed()
  }
  return millis
}
