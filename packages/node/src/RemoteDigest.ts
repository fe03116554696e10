/**
 * The digest of the other end of the connection that a handler serves. It is set around the handlers of `Tx3Node.serve`,
 * `Tx3SocketServer` and `Tx3HttpServer`, and so in an @effect/rpc or HttpApi handler behind them; it owns nothing.
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Context from "effect/Context"
import * as Option from "effect/Option"

/**
 * The digest of the certificate that the other end proved to own, to authorise by; none where no tx3 connection is served.
 * Every handler may ask, whatever it says it requires, and so a handler serves TCP and tx3 unchanged.
 *
 * @since 0.1.0
 * @category references
 */
export class RemoteDigest extends Context.Reference<RemoteDigest>()("@tx3/node/RemoteDigest", {
  defaultValue: (): Option.Option<CertDigest> => Option.none()
}) {}
