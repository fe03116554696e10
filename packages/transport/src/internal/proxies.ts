/** A listener's proxies, for both transports, and the error when one was refused. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { ListenOptions } from "../Transport.js"
import { AcceptError } from "../Transport.js"
import type { Proxies } from "./proxyProtocol.js"
import * as ProxyProtocol from "./proxyProtocol.js"

/**
 * Milliseconds from the accept of a proxy's connection until its PROXY header must be complete. A proxy sends it at once and
 * in one segment; if that is lost, it comes again after one second, and after three if it is lost again (RFC 6298). The
 * protocol asks for at least 3 s. Not a setting: what needs longer is no proxy.
 */
export class HeaderTimeoutMs extends Context.Reference<HeaderTimeoutMs>()("@tx3/transport/internal/HeaderTimeoutMs", {
  defaultValue: () => 5_000
}) {}

export const proxiesOf = ({ proxies }: ListenOptions): Effect.Effect<Proxies | undefined> =>
  proxies === undefined
    ? Effect.succeed(undefined)
    : Effect.map(HeaderTimeoutMs, (headerTimeoutMs) => ({ headerTimeoutMs, list: ProxyProtocol.listOf(proxies) }))

export const refused = (remoteAddress: string, problem: string) =>
  new AcceptError({ cause: new Error(`the proxy ${remoteAddress} ${problem}`) })
