/**
 * As much of DER (ITU-T X.690) as it takes to find a certificate's issuer, which Node gives only as text
 * while the protocol compares its bytes.
 */

/** Where the element that starts at `offset` has its contents, and where the next one starts. */
const elementAt = (der: Buffer, offset: number): { readonly contents: number; readonly end: number } => {
  const length = der.readUInt8(offset + 1)
  if (length < 0x80) {
    return { contents: offset + 2, end: offset + 2 + length }
  }
  const octets = length - 0x80
  const contents = offset + 2 + octets
  return { contents, end: contents + der.readUIntBE(offset + 2, octets) }
}

/** The issuer's bytes in a version 3 certificate; throws a `RangeError` where the bytes are no such thing. */
export const issuerOf = (certificate: Buffer): Buffer => {
  const tbsCertificate = elementAt(certificate, 0).contents
  const version = elementAt(certificate, tbsCertificate).contents
  const serialNumber = elementAt(certificate, version).end
  const signature = elementAt(certificate, serialNumber).end
  const issuer = elementAt(certificate, signature).end
  return certificate.subarray(issuer, elementAt(certificate, issuer).end)
}
