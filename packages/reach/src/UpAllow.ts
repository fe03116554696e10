/**
 * Lets a peer connect to a service of the file of `tx3 up`, or takes that away: changes the service's list, in the file or in its
 * `allowFile`, and has the file loaded again. All else in these files stays. Where loading fails, both are put back as they were.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import type * as Path from "@effect/platform/Path"
import type { FileError } from "@tx3/files/FileError"
import { entriesOf } from "@tx3/files/ListFile"
import * as TextFile from "@tx3/files/TextFile"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as AllowInYaml from "./internal/allowInYaml.js"
import * as KnownFile from "./KnownFile.js"
import * as UpFile from "./UpFile.js"
import type * as UpStatus from "./UpStatus.js"

/**
 * Nothing has changed, and why.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotChanged extends Schema.TaggedError<NotChanged>("@tx3/reach/NotChanged")(
  "NotChanged",
  { message: Schema.String },
  HttpApiSchema.annotations({ status: 409 })
) {}

/**
 * The files, and how to have them loaded again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Files {
  /** The file of `tx3 up`. */
  readonly path: string

  /** The file of names. */
  readonly known: string

  readonly reload: Effect.Effect<UpStatus.Reloaded, { readonly message: string }>
}

/**
 * A peer, by its digest or its name in the file of names, and a service by its name.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Who = Schema.Struct({ service: Schema.String, who: Schema.String })

/** A file that gets another content. */
interface Edit {
  readonly file: string
  readonly before: string
  readonly after: string
}

const isDigest = Schema.is(CertDigest.CertDigest)

/** The service, its lists, and which of their entries are this peer. */
const look = ({ known, path }: Files, { service, who }: typeof Who.Type) =>
  Effect.gen(function*() {
    const up = yield* UpFile.read(path)
    const exposed = up.expose.find(({ name }) => name === service)
    if (exposed === undefined) {
      return yield* new NotChanged({ message: `${path} exposes no ${JSON.stringify(service)}` })
    }
    const names = yield* KnownFile.read(known)
    const digestOf = (entry: string) => isDigest(entry) ? entry : names.digests.get(entry)
    const digest = digestOf(who)
    if (digest === undefined) {
      return yield* new NotChanged({
        message: `${
          JSON.stringify(who)
        } is no digest, the 43 characters at the end of an address, and no name in ${known}`
      })
    }
    const isPeer = (entry: string) => digestOf(entry) === digest
    const list = yield* Effect.transposeMapOption(exposed.allowFile, (file) =>
      Effect.map(TextFile.read(file), (text) => ({
        file,
        text,
        lines: new Set(
          entriesOf(text).filter(({ content }) =>
            isPeer(content)
          ).map(({ line }) => line)
        )
      })))
    const { allow } = exposed
    const numbers = new Set((allow ?? []).flatMap((entry, index) => isPeer(entry) ? [index] : []))
    return { allow, list, numbers }
  })

const inYaml = (
  { path }: Files,
  service: string,
  change: Parameters<typeof AllowInYaml.changed>[2]
): Effect.Effect<Edit, NotChanged | FileError, FileSystem.FileSystem> =>
  Effect.flatMap(TextFile.read(path), (before) => {
    const after = AllowInYaml.changed(before, service, change)
    return after === undefined
      ? new NotChanged({ message: `${path}: expose.${service}.allow: is written in a way that only you can change` })
      : Effect.succeed({ file: path, before, after })
  })

/** Writes the files and loads them, or puts them back. No other change may run meanwhile. */
const apply = (
  edits: ReadonlyArray<Edit>,
  reload: Files["reload"]
): Effect.Effect<UpStatus.Reloaded, NotChanged> =>
  Effect.suspend(() => {
    const written: Array<Edit> = []
    const write = Effect.forEach(
      edits,
      (edit) => Effect.map(TextFile.replace(edit.file, edit.after), () => void written.push(edit)),
      { discard: true }
    )
    const putBack = Effect.suspend(() =>
      Effect.forEach(written, ({ before, file }) => TextFile.replace(file, before), { discard: true })
    )
    return Effect.zipRight(write, reload).pipe(
      Effect.catchAll(({ message }) =>
        Effect.matchEffect(putBack, {
          onFailure: (error) =>
            new NotChanged({ message: `${message}; and the change could not be undone: ${error.message}` }),
          onSuccess: () => new NotChanged({ message })
        })
      ),
      Effect.uninterruptible
    )
  })

const withReason = <A, E extends { readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.mapError(effect, ({ message }) => new NotChanged({ message }))

/**
 * Lets a peer connect to a service: adds it to the service's `allowFile` if it has one, else to its `allow`. A service without a
 * list has been open to everyone, and is open to this peer alone then.
 *
 * @since 0.1.0
 * @category running
 */
export const allow = (
  files: Files,
  who: typeof Who.Type
): Effect.Effect<UpStatus.Reloaded, NotChanged, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const { list, numbers } = yield* look(files, who)
    if (numbers.size > 0 || Option.exists(list, ({ lines }) => lines.size > 0)) {
      return yield* new NotChanged({ message: `${who.who} may connect to ${who.service} already` })
    }
    const edit = yield* Option.match(list, {
      onNone: () => inYaml(files, who.service, { add: who.who }),
      onSome: ({ file, text }) =>
        Effect.succeed({ file, before: text, after: `${text}${/[^\n]$/.test(text) ? "\n" : ""}${who.who}\n` })
    })
    return yield* apply([edit], files.reload)
  }).pipe(withReason)

/**
 * Takes a peer off the lists of a service, under its digest and its name. Its connections to the service end, also where it stood on
 * none of them any longer. A list without entries allows no peer.
 *
 * @since 0.1.0
 * @category running
 */
export const deny = (
  files: Files,
  who: typeof Who.Type
): Effect.Effect<UpStatus.Reloaded, NotChanged, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const { allow, list, numbers } = yield* look(files, who)
    if (allow === undefined && Option.isNone(list)) {
      return yield* new NotChanged({
        message:
          `${who.service} is open to everyone who knows its address; allow the peers that may connect, and no other can`
      })
    }
    const ofList = Option.filter(list, ({ lines }) => lines.size > 0)
    const edits: ReadonlyArray<Edit> = [
      ...Option.toArray(Option.map(ofList, ({ file, lines, text }) => ({
        file,
        before: text,
        after: text.split("\n").filter((_, index) => !lines.has(index + 1)).join("\n")
      }))),
      ...numbers.size > 0 ? [yield* inYaml(files, who.service, { remove: numbers })] : []
    ]
    return yield* apply(edits, files.reload)
  }).pipe(withReason)
