/** Members as processes, so that they can be killed and stopped. They run what is built. */
import { Address, Identity } from "@tx3/protocol"
import type { Relay } from "@tx3/relay"
import { RelayTest } from "@tx3/relay"
import * as programs from "@tx3/testing/builtPrograms"
import type { Scope } from "effect"
import { Effect, Either, Redacted } from "effect"
import { fileURLToPath } from "node:url"
import type { Settings } from "../../../relay/test/utils/withRelay.js"

const script = fileURLToPath(new URL("../fixtures/member.js", import.meta.url))

export interface State extends Relay.Snapshot {
  readonly inconsistencies: ReadonlyArray<string>
  readonly forwards: number
  readonly descriptors: number
}

export interface MemberProcess {
  readonly pid: number
  readonly address: Address.Address
  readonly state: Effect.Effect<State>
  /** Waits until it is so. */
  readonly until: (holds: (state: State) => boolean) => Effect.Effect<void>
  /** Waits until it has no connection but registered nodes, and until all its counts agree. */
  readonly quiet: Effect.Effect<void>
  readonly kill: (signal: NodeJS.Signals) => void
  /** Shuts it down, and waits until it has ended. */
  readonly shutdown: Effect.Effect<void>
}

export const memberProcess = (options: {
  readonly nats: ReadonlyArray<string>
  readonly identity: Identity.Identity
  readonly settings?: Omit<Settings, "identity">
  readonly host?: string
}): Effect.Effect<MemberProcess, programs.Unexpected, Scope.Scope> =>
  Effect.gen(function*() {
    const { host = "127.0.0.1", identity, nats, settings } = options
    const argument = JSON.stringify({ host, identity: Redacted.value(Identity.toPem(identity)), nats, settings })
    const program = yield* programs.startCommand(process.execPath, [script, argument], { stdin: "pipe" })
    const [address] = yield* program.untilStdout(/^tx3-rst:.*$/m)
    let last = 0
    const state = Effect.suspend(() => {
      const number = ++last
      program.stdin.write(`${number}\n`)
      return Effect.map(
        program.untilStdout(new RegExp(`^\\{"number":${number},.*$`, "m")),
        ([json]): State => JSON.parse(json)
      )
    }).pipe(Effect.orDie)
    const until = (holds: (state: State) => boolean) => RelayTest.eventually(Effect.map(state, holds))
    return {
      pid: program.pid,
      address: Either.getOrThrow(Address.parse(address)),
      state,
      until,
      quiet: until(({ connections: { control: _, ...others }, forwards, inconsistencies }) =>
        forwards === 0 && inconsistencies.length === 0 && Object.values(others).every((count) => count === 0)
      ),
      kill: program.kill,
      shutdown: Effect.zipRight(Effect.sync(() => program.stdin.end()), program.ended).pipe(Effect.asVoid)
    }
  })
