/**
 * How tx3 speaks TLS, for both roles: which version, suites and certificates, and who the peer turned out to be. It
 * gives parameters for node:tls; the sockets are the caller's (protocol, section 3).
 */
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { X509Certificate } from "node:crypto"
import * as tls from "node:tls"
import * as CertDigest from "./CertDigest.js"
import type { Identity } from "./Identity.js"
import * as pem from "./internal/pem.js"
import * as WellKnownCa from "./WellKnownCa.js"

/**
 * The context of every connection made or accepted under an identity: TLS 1.3 (RFC 8446) and the protocol's two cipher
 * suites only. Making one costs a few milliseconds and it is not tied to a role; make it once and share it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const secureContext = (identity: Identity): tls.SecureContext =>
  tls.createSecureContext({
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    ciphers: "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384",
    cert: pem.encode("CERTIFICATE", identity.certificate),
    key: pem.encode("PRIVATE KEY", Redacted.value(identity.privateKey)),
    ca: pem.encode("CERTIFICATE", WellKnownCa.certificate),
    // OpenSSL refuses to resume a session that was made with a client certificate unless there is one.
    sessionIdContext: "tx3"
  })

/**
 * Options for `new tls.TLSSocket(socket, options)` in the server's role. A client without a certificate fails the
 * handshake. One whose certificate is not the well-known CA's completes it, since a `TLSSocket` made directly leaves
 * that check to its owner: after `"secure"`, {@link peerDigest} is none for it.
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
 * Options for `tls.connect({ socket, ...options })`. The host name is not compared with the certificate, because an
 * address names the certificate itself: after `"secureConnect"`, compare {@link peerDigest} with the address's digest.
 *
 * @since 0.1.0
 * @category options
 */
export const clientOptions = (context: tls.SecureContext): tls.ConnectionOptions => ({
  secureContext: context,
  servername: "tx3",
  rejectUnauthorized: true,
  checkServerIdentity: () => undefined
})

/**
 * The digest of the peer's certificate. Ask after the handshake (`"secure"` on a server's socket, `"secureConnect"` on
 * a client's), when the peer has proved that it owns the key. None where the socket is destroyed, or the certificate is
 * not issued by the well-known CA.
 *
 * A server's socket has it also when the client resumed a session. A client's has it not, because Node keeps no
 * certificate for those; a client resumes only when it is given a `session`, so give it none.
 *
 * @since 0.1.0
 * @category getters
 */
export const peerDigest = (socket: tls.TLSSocket): Option.Option<CertDigest.CertDigest> =>
  // Not `getPeerX509Certificate`: on a client's socket Node 20 gives the certificate away with the first call.
  Option.fromNullable(socket.getPeerCertificate()?.raw).pipe(
    Option.filter((certificate) => WellKnownCa.isIssuerOf(new X509Certificate(certificate))),
    Option.map(CertDigest.ofCertificate)
  )
