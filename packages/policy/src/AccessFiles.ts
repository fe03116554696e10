/**
 * The lists of `access` that stand in files: one entry a line, `#` and what follows it is a comment. They are read when
 * settings are loaded, and so again at each reload, which is refused as a whole when one of them cannot be used.
 *
 * @since 0.1.0
 */
import type * as PlatformError from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import { entriesOf, ListError } from "@tx3/files/ListFile"
import { AddressRange } from "@tx3/relay/RelayConfig"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { Access } from "./OperatorConfig.js"
import { NodeDigest } from "./OperatorConfig.js"

/**
 * The same access with the entries of its files among those that stand in it, and without files.
 *
 * @since 0.1.0
 * @category accessors
 */
export const resolve = (access: Access): Effect.Effect<Access, ListError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const { callout, controlStreams, nodes, peers, peersOf } = access
    return {
      ...nodes && { nodes: yield* withFiles(nodes, NodeDigest) },
      ...controlStreams && { controlStreams: yield* withFiles(controlStreams, AddressRange) },
      ...peers && { peers: yield* withFiles(peers, AddressRange) },
      ...peersOf && {
        peersOf: Object.fromEntries(
          yield* Effect.forEach(
            Object.entries(peersOf),
            ([node, lists]) => Effect.map(withFiles(lists, AddressRange), (lists) => [node, lists] as const)
          )
        )
      },
      ...callout && { callout }
    }
  })

interface Lists<Entry> {
  readonly allow?: ReadonlyArray<Entry> | undefined
  readonly deny: ReadonlyArray<Entry>
  readonly allowFile?: string | undefined
  readonly denyFile?: string | undefined
}

const withFiles = <Entry>({ allow, allowFile, deny, denyFile }: Lists<Entry>, entry: Schema.Schema<Entry, string>) =>
  Effect.gen(function*() {
    const allowed = allowFile === undefined ? [] : yield* read(allowFile, entry)
    const denied = denyFile === undefined ? [] : yield* read(denyFile, entry)
    return {
      // An empty list allows no digest; without a list every digest is allowed.
      ...(allow ?? allowFile) !== undefined && { allow: [...allow ?? [], ...allowed] },
      deny: [...deny, ...denied]
    }
  })

const read = <Entry>(path: string, entry: Schema.Schema<Entry, string>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const text = yield* Effect.mapError(
      fs.readFileString(path),
      (error) => new ListError({ place: path, problem: problemOf(error) })
    )
    const decode = Schema.decodeEither(entry)
    return yield* Effect.forEach(entriesOf(text), ({ content, line }) =>
      Either.mapLeft(decode(content), (error) =>
        new ListError({ place: path, line, problem: messageOf(error) })))
  })

const problemOf = (error: PlatformError.PlatformError) =>
  error._tag === "SystemError" && error.reason === "NotFound" ? "there is no such file" : error.message

const messageOf = (error: ParseResult.ParseError) => ParseResult.ArrayFormatter.formatErrorSync(error)[0]!.message
