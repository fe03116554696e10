/**
 * Asks a running relay's admin server: finds where it is, asks, and says what was in the way. It owns nothing.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import { UsageError } from "@tx3/command/UsageError"
import { problemOf } from "@tx3/files/SystemProblem"
import * as ActionError from "@tx3/operate/ActionError"
import * as AdminApi from "@tx3/operate/AdminApi"
import * as AdminClient from "@tx3/operate/AdminClient"
import * as OperatorConfig from "@tx3/policy/OperatorConfig"
import * as RelayFile from "@tx3/relay/RelayFile"
import * as Config from "effect/Config"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { permissionProblem } from "./permission.js"
import { defaultFile, flagsBefore, namedFile } from "./relayCommand.js"
import * as Service from "./service.js"

/** Which relay's admin server. */
export interface Target {
  readonly admin: Option.Option<string>
  readonly file: Option.Option<string>
}

const adminToken = Config.option(Config.redacted("TX3_RELAY_ADMIN_TOKEN")).pipe(Effect.orDie)

const decodeAddresses = Schema.decodeUnknownEither(OperatorConfig.AdminAddresses)

/** The addresses in a text or a setting, refused where there is none. */
const addressesIn = (value: unknown, place: string) =>
  Either.match(decodeAddresses(value), {
    onLeft: () => new UsageError({ message: `${place}: ${String(value)} is no admin server's address; ${nameOne}` }),
    onRight: (addresses) =>
      addresses.length === 0
        ? new UsageError({ message: `${place}: the admin server is off; ${nameOne}` })
        : Effect.succeed(addresses)
  })

const nameOne = "name one with --admin http://HOST:PORT or unix:/PATH"

/** Reads the settings of the admin server from a relay's file. */
const settingsOf = (file: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    yield* fs.access(file, { readable: true }).pipe(
      Effect.catchIf(
        (error) => error._tag === "SystemError" && error.reason === "PermissionDenied",
        () => new UsageError({ message: `${file}: ${permissionProblem(file)}` })
      ),
      // that there is no such file, its reader says
      Effect.catchTags({ BadArgument: () => Effect.void, SystemError: () => Effect.void })
    )
    const { admin, adminToken } = (yield* RelayFile.read(file)).settings.values
    return {
      addresses: yield* addressesIn(admin ?? "off", `${file}: admin`),
      token: typeof adminToken === "string" ? Redacted.make(adminToken) : undefined
    }
  })

/**
 * Where a relay's admin server is, and what it asks for: by --admin, else by TX3_RELAY_ADMIN, else by the relay's file, else
 * the service's socket if there is no file, or the default address if there is no socket either. The service's file does not
 * say where its server is: its unit does. The token in a file goes to that file's own addresses only. Where a unix socket
 * is among them, the others are not used: any user may listen on a port that the relay has left, and would be sent the token.
 */
const endpointsOf = (target: Target) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const before = yield* flagsBefore("that talks to a running relay", ["config"])
    const named = yield* namedFile(Option.orElse(target.file, () => before.file))
    const file = Option.getOrElse(named, () => defaultFile)
    const isThere = Option.isSome(named) || (yield* Effect.orElseSucceed(fs.exists(file), () => false))
    const token = Option.getOrUndefined(yield* adminToken)
    if (Option.isSome(target.admin)) {
      const addresses = yield* addressesIn(target.admin.value, "--admin")
      const ofFile = isThere ? yield* Effect.option(settingsOf(file)) : Option.none()
      return preferred(addresses).map((address) => ({
        address,
        token: token ?? (Option.exists(ofFile, ({ addresses }) => addresses.includes(address))
          ? Option.getOrThrow(ofFile).token
          : undefined)
      }))
    }
    if (!isThere || file === Service.files.config) {
      // Users other than root may not look into the service's directory, which is there if that is the failure.
      const isService = yield* Effect.orElseSucceed(fs.exists(Service.socket), () => true)
      if (isService || !isThere) {
        return [{ address: isService ? `unix:${Service.socket}` : OperatorConfig.defaultAdmin, token }]
      }
    }
    const ofFile = yield* settingsOf(file)
    return preferred(ofFile.addresses).map((address) => ({ address, token: token ?? ofFile.token }))
  })

const preferred = (addresses: ReadonlyArray<string>) => {
  const sockets = addresses.filter(OperatorConfig.isUnix)
  return sockets.length > 0 ? sockets : addresses
}

type Answer = ActionError.NotFound | AdminApi.NotReady | ActionError.Refused

/** Asks at the first of the addresses where a server listens. */
export const ask = <A, E>(
  target: Target,
  question: (client: AdminClient.AdminClient, address: string) => Effect.Effect<A, E>
) =>
  Effect.gen(function*() {
    const failures: Array<AdminClient.AdminUnreachable> = []
    for (const options of yield* endpointsOf(target)) {
      const { address } = options
      const asked = yield* Effect.either(
        Effect.flatMap(AdminClient.make(options), (client) => question(client, address)).pipe(
          Effect.timeoutFail({ duration: answerMs, onTimeout: () => new NoAnswer() })
        )
      )
      if (asked._tag === "Right") {
        return asked.right
      }
      const error: unknown = asked.left
      if (isAnswer(error)) {
        return yield* Effect.fail(error)
      }
      failures.push(new AdminClient.AdminUnreachable({ address, problem: problemIn(error, address) }))
      // A request that may have reached a server is not sent to another one.
      if (!notConnected.has(causeOf(error)?.code ?? "")) {
        break
      }
    }
    return yield* failures.at(-1)!
  }).pipe(Effect.scoped)

/** A command fails if the admin server has not answered after this many milliseconds. Another program may listen at its address. */
const answerMs = 15_000

class NoAnswer extends Data.TaggedError("NoAnswer") {
  override get message() {
    return `no answer within ${answerMs / 1000} s`
  }
}

const isAnswer = (error: unknown): error is Answer =>
  error instanceof ActionError.NotFound || error instanceof AdminApi.NotReady || error instanceof ActionError.Refused

const notConnected = new Set(["EACCES", "ECONNREFUSED", "ENOENT", "ENOTSOCK", "EPERM"])

const causeOf = (error: unknown) => (error as { readonly cause?: NodeJS.ErrnoException }).cause

const problemIn = (error: unknown, address: string): string => {
  const { _tag, message, response } = error as {
    readonly _tag?: string
    readonly message: string
    readonly response?: { readonly status: number }
  }
  switch (response?.status) {
    case 401:
      return "it needs the relay's adminToken; set TX3_RELAY_ADMIN_TOKEN, or name the relay's file with --config"
    case 403:
      return "it refuses to be called by this name; use its IP address"
  }
  const cause = causeOf(error)
  if (_tag !== "RequestError" || cause === undefined) {
    return message
  }
  return OperatorConfig.isUnix(address) && ["EACCES", "EPERM"].includes(cause.code ?? "")
    ? permissionProblem(address.slice("unix:".length))
    : `${problemOf(cause)}; is the relay running?`
}
