/**
 * The relay's file: YAML with the settings, the certificate and the private key (protocol section 7). A file made by the
 * original is read here, and one made here by the original. It holds a key, so only its owner may read it.
 *
 * @since 0.1.0
 */
import type * as PlatformError from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import { inheritedKeyIn } from "@tx3/files/InheritedKey"
import * as SecretFile from "@tx3/files/SecretFile"
import * as Identity from "@tx3/protocol/Identity"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Yaml from "yaml"
import * as RelayConfig from "./RelayConfig.js"

/**
 * The port of a new file, so that a relay's address stays what it is from one start to the next.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultPort = 38141

/**
 * A file that cannot be used: where, what is wrong, and what to do.
 *
 * @since 0.1.0
 * @category errors
 */
export class RelayFileError extends Schema.TaggedError<RelayFileError>("@tx3/relay/RelayFileError")("RelayFileError", {
  path: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.path}: ${this.problem}`
  }
}

/**
 * The content of a file. Its settings are not checked yet: other places may add to them (`RelayConfig.decode`).
 *
 * @since 0.1.0
 * @category models
 */
export interface RelayFile {
  readonly settings: RelayConfig.SettingsSource
  /** None where the relay gets it from elsewhere. */
  readonly identity: Option.Option<Identity.Identity>
}

/**
 * Reads a file. If there is a key or a token in it, only its owner may be able to read it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const read = (path: string): Effect.Effect<RelayFile, RelayFileError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fail = (problem: string) => new RelayFileError({ path, problem })
    const fs = yield* FileSystem.FileSystem
    const isOpen = yield* Effect.mapError(SecretFile.isOpenToOthers(path), (error) => fail(problemOf(error)))
    const text = yield* Effect.mapError(fs.readFileString(path), (error) => fail(problemOf(error)))
    const { tlsCertDer, tlsCertPkDer, ...values } = yield* Either.mapLeft(parse(text), fail)
    const settings = { place: (key: string) => `${path}: ${key}`, values }
    const hasIdentity = tlsCertDer !== undefined || tlsCertPkDer !== undefined
    const secret = hasIdentity ? "private key" : "adminToken" in values ? "adminToken" : undefined
    if (secret !== undefined && isOpen) {
      return yield* fail(SecretFile.problem(path, secret))
    }
    if (!hasIdentity) {
      return { identity: Option.none(), settings }
    }
    const identity = yield* Either.mapLeft(decodeIdentity(tlsCertDer, tlsCertPkDer), fail)
    return { identity: Option.some(identity), settings }
  })

/**
 * The identity of a file that must have one.
 *
 * @since 0.1.0
 * @category accessors
 */
export const identityOf = (path: string, file: RelayFile): Effect.Effect<Identity.Identity, RelayFileError> =>
  Effect.mapError(file.identity, () =>
    new RelayFileError({
      path,
      problem: "tlsCertDer: is missing; tx3-relay --init makes a file with an identity of its own"
    }))

const problemOf = (error: PlatformError.PlatformError) =>
  error._tag === "SystemError" && error.reason === "NotFound"
    ? "there is no such file; make one with: tx3-relay --init --config FILE"
    : error.message

const parse = (text: string): Either.Either<Record<string, unknown>, string> => {
  const lineCounter = new Yaml.LineCounter()
  // A pretty error quotes the line it is about, which may be the private key's.
  const document = Yaml.parseDocument(text, { lineCounter, prettyErrors: false })
  const [error] = document.errors
  if (error !== undefined) {
    const { col, line } = lineCounter.linePos(error.pos[0])
    return Either.left(`not YAML: line ${line}, column ${col}: ${error.message}`)
  }
  return Either.try({
    try: () => document.toJS(),
    catch: () => "not YAML that can be used: it has an alias (*NAME) without its anchor, or too many of them"
  }).pipe(
    Either.filterOrLeft(
      isMapping,
      () => "must be a YAML mapping of settings, as tx3-relay --init makes it"
    ),
    Either.filterOrLeft(
      (content) => inheritedKeyIn(content) === undefined,
      (content) => `${inheritedKeyIn(content)}: there is no such setting`
    )
  )
}

const isMapping = (content: unknown): content is Record<string, unknown> =>
  typeof content === "object" && content !== null && !Array.isArray(content)

const decodeIdentity = (certificate: unknown, privateKey: unknown) =>
  Either.gen(function*() {
    return yield* Either.mapLeft(
      Identity.fromDer({
        certificate: yield* decodeDer("tlsCertDer", certificate),
        privateKey: Redacted.make(yield* decodeDer("tlsCertPkDer", privateKey))
      }),
      (error) => `tlsCertDer, tlsCertPkDer: ${error.message}`
    )
  })

const decodeDer = (key: string, value: unknown): Either.Either<Uint8Array, string> => {
  if (value === undefined || value === null) {
    return Either.left(`${key}: is missing; tx3-relay --init makes a file with an identity of its own`)
  }
  return typeof value === "string"
    ? Either.mapLeft(Encoding.decodeBase64(value), () => `${key}: must be base64 with padding`)
    : Either.left(`${key}: must be base64 with padding`)
}

/**
 * The text of a file with this identity, of these settings those that the original knows, and whatever else is to be in it.
 * With an identity it holds the private key: write it where only its owner may read it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const render = (
  identity: Option.Option<Identity.Identity>,
  settings: RelayConfig.Settings,
  more: Readonly<Record<string, unknown>> = {}
): Redacted.Redacted<string> => {
  const document = new Yaml.Document({
    bind: settings.bind.map(String),
    maxInboundConnections: settings.maxInboundConnections,
    maxControlStreams: settings.maxControlStreams,
    maxControlStreamsPerIp: settings.maxControlStreamsPerIp,
    maxRelaysPerControl: settings.maxRelaysPerControl,
    connectionTimeoutMs: settings.connectionTimeoutMs,
    ...more,
    ...Option.match(identity, {
      onNone: () => ({}),
      onSome: ({ certificate, privateKey }) => ({
        tlsCertDer: Encoding.encodeBase64(certificate),
        tlsCertPkDer: Encoding.encodeBase64(Redacted.value(privateKey))
      })
    })
  })
  document.commentBefore = Option.isNone(identity) ? " A tx3 relay. Its identity is in another file." : [
    " A tx3 relay. The key at the end is its identity: keep this file to yourself, and keep a copy of it.",
    " A reader of it can act as the relay, and without it the relay gets another address."
  ].join("\n")
  return Redacted.make(document.toString({ lineWidth: 0 }))
}

/**
 * The configuration of a file, with what the environment changes of it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  path: string
): Layer.Layer<RelayConfig.RelayConfig, RelayFileError | RelayConfig.RelayConfigError, FileSystem.FileSystem> =>
  Layer.effect(RelayConfig.RelayConfig, load(path, []))

/**
 * The configuration of a file, changed by the environment, changed by `overrides`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const load = (path: string, overrides: ReadonlyArray<RelayConfig.SettingsSource>) =>
  Effect.gen(function*() {
    const file = yield* read(path)
    const settings = yield* RelayConfig.decode([file.settings, yield* RelayConfig.fromEnvironment, ...overrides])
    return { ...settings, identity: yield* identityOf(path, file) }
  })
