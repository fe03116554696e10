/**
 * The certificate authority that signs every tx3 certificate. TLS libraries require a chain. The private
 * key is public, so a valid chain does not identify the peer. Trust comes only from comparing certificate digests
 * (protocol, section 3).
 */
import { type KeyObject, X509Certificate } from "node:crypto"

/**
 * The authority's private key, an EC P-256 key as PKCS#8 DER (protocol, section 3). It is public on purpose and guards
 * nothing: every node signs its own certificate with it.
 *
 * @since 0.1.0
 * @category constants
 */
export const privateKey: Uint8Array = Buffer.from(
  "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgkxOEyiRyocjLRpQkRE7/bOwmHtkdLLGQrlz23m4aKQOhRANCAATUDekPM40vfqOM" +
    "xf00KZwRk6gSciHxxkzPZovign1qmbu0vZstKoVLXoGvlA/Kral9txqhSEGqIL7TdbKyMMQz",
  "base64"
)

/**
 * The authority's name, a DER `Name` (RFC 5280, section 4.1.2.4) of a CN and an O, both UTF8String. Peers compare
 * these bytes, so a certificate's issuer must be exactly these (protocol, section 3).
 *
 * @since 0.1.0
 * @category constants
 */
export const name: Uint8Array = Buffer.from(
  "3050312f302d06035504030c264c6169722057656c6c2d4b6e6f776e2050736575646f2d53656c662d5369676e696e67204341311d301b0603" +
    "55040a0c14486f6c6f636861696e20466f756e646174696f6e",
  "hex"
)

/**
 * A certificate of the authority in DER, for a TLS library that wants a trust anchor, with basicConstraints CA:TRUE as its
 * only extension. It is this project's own: the original's carries an extended key usage that OpenSSL takes for a
 * restriction, and refuses every certificate under it. A trust anchor is a name and a key, and those are the same
 * (protocol, section 3).
 *
 * @since 0.1.0
 * @category constants
 */
export const certificate: Uint8Array = Buffer.from(
  "MIIBpDCCAUqgAwIBAgIBATAKBggqhkjOPQQDAjBQMS8wLQYDVQQDDCZMYWlyIFdlbGwtS25vd24gUHNldWRvLVNlbGYtU2lnbmluZyBDQTEdMBsG" +
    "A1UECgwUSG9sb2NoYWluIEZvdW5kYXRpb24wIBcNNzUwMTAxMDAwMDAwWhgPNDA5NjAxMDEwMDAwMDBaMFAxLzAtBgNVBAMMJkxhaXIgV2Vs" +
    "bC1Lbm93biBQc2V1ZG8tU2VsZi1TaWduaW5nIENBMR0wGwYDVQQKDBRIb2xvY2hhaW4gRm91bmRhdGlvbjBZMBMGByqGSM49AgEGCCqGSM49" +
    "AwEHA0IABNQN6Q8zjS9+o4zF/TQpnBGTqBJyIfHGTM9mi+KCfWqZu7S9my0qhUtega+UD8qtqX23GqFIQaogvtN1srIwxDOjEzARMA8GA1Ud" +
    "EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgUocsIIRC75hFw0er/oixV7+GVOVnDwODg/IRotb7y7YCIQCvuAaVJRNirgXGusTangZt" +
    "XND/H8ux92ASA/0tHfTVig==",
  "base64"
)

/**
 * The authority's public key, to verify its signatures with.
 *
 * @since 0.1.0
 * @category constants
 */
export const publicKey: KeyObject = new X509Certificate(certificate).publicKey
