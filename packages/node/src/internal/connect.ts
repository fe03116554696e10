/**
 * Opens a connection to the node that an address names. The caller's scope owns its resources; a failed attempt leaves none
 * in it.
 */
import type { AddressWithDigest } from "@tx3/protocol/Address"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Handshake from "@tx3/protocol/Handshake"
import { firstOf } from "@tx3/sockets/FirstOf"
import * as Proxy from "@tx3/sockets/Proxy"
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { SecureContext } from "node:tls"
import type { NodeConfigOptions } from "../NodeConfig.js"
import { type ConnectToOneError, DigestMismatch, NoneReachable, PeerUnavailable, TimedOut } from "../NodeError.js"
import * as Tx3Connection from "../Tx3Connection.js"
import { closeOnFailure } from "./closeOnFailure.js"

/**
 * Connects to the end that an address names, and verifies its digest. Through a relay the address's digest is the preamble
 * and decides what the connection becomes: a node's digest makes this end its peer, the relay's own makes it a control stream
 * (protocol, section 4).
 */
export const connect = (
  address: AddressWithDigest,
  context: SecureContext,
  config: NodeConfigOptions
): Effect.Effect<Tx3Connection.Tx3Connection, ConnectToOneError, Scope.Scope> =>
  Effect.suspend(() => {
    const expected = address.digest.value
    const timeoutMs = config.connectTimeoutMs
    let stage: TimedOut["stage"] = "dial"
    return Effect.gen(function*() {
      const connection = yield* Proxy.connect({ ...address, attemptTimeoutMs: config.attemptTimeoutMs, timeoutMs })
      stage = "handshake"
      if (address.scheme === "tx3-rst") {
        connection.socket.write(CertDigest.toBytes(expected))
      }
      const secured = yield* Handshake.connect(connection.socket, context, config).pipe(
        Effect.mapError((error) =>
          address.scheme === "tx3-rst" && isHangUp(error) ? new PeerUnavailable({ digest: expected }) : error
        )
      )
      if (secured.digest !== expected) {
        return yield* new DigestMismatch({ expected, actual: secured.digest })
      }
      const connected = Tx3Connection.make(secured, connection)
      yield* Effect.addFinalizer((exit) => Exit.isSuccess(exit) ? connected.close : connected.reset)
      return connected
    }).pipe(
      Effect.timeoutFail({ duration: timeoutMs, onTimeout: () => new TimedOut({ stage, timeoutMs }) }),
      closeOnFailure
    )
  })

/** Connects through the first of several addresses of one node that can be. */
export const connectThroughAny = (
  addresses: Arr.NonEmptyReadonlyArray<AddressWithDigest>,
  context: SecureContext,
  config: NodeConfigOptions
): Effect.Effect<Tx3Connection.Tx3Connection, ConnectToOneError | NoneReachable, Scope.Scope> => {
  const [first, ...others] = addresses
  return others.length === 0
    ? connect(first, context, config)
    : firstOf([
      connect(first, context, config),
      ...others.map((address) => connect(address, context, config))
    ], config.connectStaggerMs).pipe(
      Effect.mapError((causes) =>
        new NoneReachable({
          failures: causes.map((cause, index) => ({ address: addresses[index]!.toString(), cause }))
        })
      )
    )
}

/** A relay closes without reading, so its end often arrives as a reset. */
const isHangUp = ({ cause, reason }: Handshake.HandshakeError) =>
  reason === "closed" || ["ECONNRESET", "EPIPE"].includes((cause as NodeJS.ErrnoException | undefined)?.code ?? "")
