/**
 * The text form that digests and splice tokens share: base64url (RFC 4648, section 5) of 32 bytes, without padding.
 * 32 bytes have exactly one such form, so two equal values are always two equal strings.
 */

/** 43 characters carry 258 bits; the 2 bits left over must be zero, which leaves 16 values for the last character. */
export const pattern = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/

/** Reads the bytes in place; throws a `RangeError` unless there are 32 of them. */
export const encode = (bytes: Uint8Array): string => {
  if (bytes.length !== 32) {
    throw new RangeError(`expected 32 bytes, got ${bytes.length}`)
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64url")
}

export const decode = (text: string): Uint8Array => Buffer.from(text, "base64url")
