/**
 * Other ends of the wire protocol that more than one file needs.
 */
import { assert } from "@effect/vitest"
import type { Address } from "@tx3/protocol"
import { CertDigest } from "@tx3/protocol"
import { RelayTest } from "@tx3/relay"
import { Effect, Option } from "effect"

/** The preamble of a control stream: the relay's digest. */
export const controlPreamble = (address: Address.Address) => CertDigest.toBytes(Option.getOrThrow(address.digest))

/** A connection that begins to register and leaves TLS at that. */
export const stallHandshake = (address: Address.Address, options?: RelayTest.ConnectOptions) =>
  RelayTest.sendPreamble(address, controlPreamble(address), options)

/** A registration that must fail, and before the all-clear. */
export const refusedToRegister = (...args: Parameters<typeof RelayTest.register>) =>
  Effect.map(Effect.flip(Effect.asVoid(Effect.scoped(RelayTest.register(...args)))), (error) => {
    if (error._tag === "Ended") {
      assert.strictEqual(error.received.length, 0)
    }
  })

/** A connection that must be refused by the system, because nobody listens. */
export const refusedToConnect = (address: Address.Address) =>
  Effect.map(Effect.flip(Effect.asVoid(Effect.scoped(RelayTest.connect(address)))), (error) => {
    assert.isTrue(error.reset)
  })

/** Sends these bytes one way and checks that they arrive. */
export const carries = (from: RelayTest.RawStream, to: RelayTest.RawStream, text: string) =>
  Effect.gen(function*() {
    yield* from.send(Buffer.from(text))
    assert.strictEqual((yield* to.receive(text.length)).toString(), text)
  })
