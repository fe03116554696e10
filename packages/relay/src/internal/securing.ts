/** How a node proves who it is on a control stream: TLS, unless a simulation puts something without random bytes in its place. */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Handshake from "@tx3/protocol/Handshake"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"

interface Secured {
  readonly socket: Duplex
  readonly digest: CertDigest
}

type Secure = (
  stream: Duplex,
  context: Tls.SecureContext,
  options: Handshake.Options
) => Effect.Effect<Secured, Handshake.HandshakeError, Scope.Scope>

export class Securing extends Context.Reference<Securing>()("@tx3/relay/internal/Securing", {
  defaultValue: (): Secure => Handshake.accept
}) {}
