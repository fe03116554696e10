/**
 * TLS parameters for both roles: version, suites, certificates, and reading the peer's certificate. It makes options for
 * node:tls; the caller owns the sockets (protocol, section 3).
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as tls from "node:tls"
import type * as CertDigest from "./CertDigest.js"
import type { Identity } from "./Identity.js"
import * as pem from "./internal/pem.js"
import * as PeerCertificate from "./PeerCertificate.js"

/**
 * The groups of the key exchange. OpenSSL's own list has P-521, X448 and finite fields of 8192 bits, of which the other end may
 * choose, and which cost up to a hundred times as much. X25519MLKEM768 came with OpenSSL 3.5. To ask OpenSSL by trying
 * leaves an error behind that the next use of a key takes for its own.
 */
const groupsOf = ([major = 0, minor = 0]: ReadonlyArray<number>) =>
  `${major > 3 || major === 3 && minor >= 5 ? "X25519MLKEM768:" : ""}X25519:P-256:P-384`

const groups = groupsOf(process.versions.openssl.split(".").map(Number))

/**
 * The context of every connection made or accepted under an identity: TLS 1.3 (RFC 8446) and the protocol's two cipher
 * suites only. Making one costs a few milliseconds and it is not tied to a role; make it once and share it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const secureContext = (identity: Identity): tls.SecureContext =>
  tls.createSecureContext({
    ecdhCurve: groups,
    // Of the keys that `PeerCertificate` accepts.
    sigalgs: "ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ed25519:" +
      "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512",
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    ciphers: "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384",
    cert: pem.encode("CERTIFICATE", identity.certificate),
    key: pem.encode("PRIVATE KEY", Redacted.value(identity.privateKey)),
    // None: `PeerCertificate` verifies. With an authority OpenSSL verifies both ends' certificates once more in each handshake,
    // and Node loads the authorities of the web (20 ms) before it adds one.
    ca: [],
    // OpenSSL refuses to resume a session that was made with a client certificate unless there is one.
    sessionIdContext: "tx3"
  })

/**
 * Options for `new tls.TLSSocket(socket, options)` in the server's role. A client without a certificate fails the
 * handshake. A client with any certificate completes it: ask {@link peer} after `"secure"`.
 *
 * @since 0.1.0
 * @category options
 */
export const serverOptions = (context: tls.SecureContext): tls.TLSSocketOptions => ({
  isServer: true,
  secureContext: context,
  requestCert: true,
  rejectUnauthorized: true
})

/**
 * Options for `tls.connect({ socket, ...options })`. The handshake completes with any certificate: after
 * `"secureConnect"` ask {@link peer}, and compare the digest with the address's.
 *
 * That Node does not reject by OpenSSL's verdict takes nothing away. TLS 1.3 makes the server prove that it owns the
 * key of its certificate in any case; {@link peer} decides on the certificate; and the chain it would have verified
 * leads to a CA whose private key is public.
 *
 * @since 0.1.0
 * @category options
 */
export const clientOptions = (context: tls.SecureContext): tls.ConnectionOptions => ({
  secureContext: context,
  servername: "tx3",
  rejectUnauthorized: false,
  checkServerIdentity: () => undefined
})

/**
 * The digest of the peer's certificate, or why it is refused. Ask after the handshake (`"secure"` on a server's socket,
 * `"secureConnect"` on a client's), when the peer has proved that it owns the key. It decides in both roles by
 * `PeerCertificate.check`, on resumed sessions as on new ones. None where the socket has no certificate of the peer,
 * since it is destroyed or the handshake is not done.
 *
 * A server's socket has the certificate also when the client resumed a session. A client's has it not, because Node
 * keeps no certificate for those; a client resumes only when it is given a `session`, so give it none.
 *
 * @since 0.1.0
 * @category getters
 */
export const peer = (
  socket: tls.TLSSocket
): Option.Option<Either.Either<CertDigest.CertDigest, PeerCertificate.Refused>> =>
  Option.map(peerCertificate(socket), (certificate) => PeerCertificate.check(certificate, Date.now()))

/**
 * The peer's certificate in DER, before any check. None where {@link peer} returns none.
 *
 * @since 0.1.0
 * @category getters
 */
export const peerCertificate = (socket: tls.TLSSocket): Option.Option<Buffer> =>
  // Not `getPeerX509Certificate`: on a client's socket Node 20 gives the certificate away with the first call.
  Option.fromNullable(socket.getPeerCertificate()?.raw)

/**
 * The digest of the peer's certificate, where {@link peer} has one.
 *
 * @since 0.1.0
 * @category getters
 */
export const peerDigest = (socket: tls.TLSSocket): Option.Option<CertDigest.CertDigest> =>
  Option.flatMap(peer(socket), Either.getRight)
