/** The work of `tx3 status`. */
import { printableLines } from "@tx3/command/Printable"
import { bytes, duration, table } from "@tx3/command/Table"
import * as UpFile from "@tx3/reach/UpFile"
import * as UpStatus from "@tx3/reach/UpStatus"
import * as Arr from "effect/Array"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { notUp } from "../notUp.js"

/** How often a status is shown that is watched. */
const everyMs = 1_000

export const run = ({ config, json, watch }: {
  readonly config: string
  readonly json: boolean
  readonly watch: boolean
}) =>
  Effect.gen(function*() {
    const { status: path } = yield* UpFile.read(config)
    const show = Effect.zipRight(
      Effect.when(Console.log(clear), () => watch && process.stdout.isTTY),
      print(config, path, json)
    )
    yield* watch ? Effect.repeat(show, Schedule.spaced(everyMs)) : show
  })

/** Clears a terminal, and begins at its top. */
const clear = "\u001b[H\u001b[2J\u001b[3J"

const print = (config: string, path: string, json: boolean) =>
  Effect.gen(function*() {
    const status = yield* Effect.mapError(UpStatus.ask(path), notUp(config, path))
    yield* Console.log(
      json ? JSON.stringify(status, undefined, 2) : printableLines(yield* forPeople(status))
    )
  })

const forPeople = ({ file, services, since, version }: UpStatus.Status) =>
  Effect.clockWith((clock) => clock.currentTimeMillis).pipe(Effect.map((now) => {
    const ago = (time: number) => duration((now - time) / 1_000)
    const registrations = services.flatMap(({ name, registrations }) =>
      registrations.map(({ relay, state }) => [
        name,
        relay,
        state.is === "live"
          ? `live for ${ago(state.since)}${state.contested === null ? "" : `, and not for long: ${state.contested}`}`
          : state.is === "connecting"
          ? `connecting, try ${state.attempt}`
          : `lost, next try in ${duration(Math.max(0, state.nextTryAt - now) / 1_000)}: ${state.because}`
      ])
    )
    const connections = services.flatMap(({ connections, name }) =>
      connections.map((connection) => [
        name,
        connection.name ?? connection.peer,
        connection.via,
        ago(connection.since),
        bytes(connection.bytesFromPeer),
        bytes(connection.bytesToPeer)
      ])
    )
    return [
      `tx3 ${version} up with ${file} for ${ago(since)}`,
      "",
      table(
        ["service", "", "here", "connections", "since the start", "failed"],
        services.map((
          { connected, connections, endpoint, failed, kind, name }
        ) => [name, `${kind}s`, endpoint, connections.length, connected, failed])
      ),
      ...Arr.isNonEmptyArray(registrations) ? ["", table(["service", "relay", "registration"], registrations)] : [],
      ...Arr.isNonEmptyArray(connections)
        ? ["", table(["service", "with", "via", "for", "from there", "to there"], connections)]
        : [],
      "",
      ...services.flatMap(({ addresses, name }) => addresses.map((address) => `${name} ${address}`))
    ].join("\n")
  }))
