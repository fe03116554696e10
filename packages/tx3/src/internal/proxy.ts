/** The proxy that the environment names, for the nodes of the commands. */
import { UsageError } from "@tx3/command/UsageError"
import * as Proxy from "@tx3/sockets/Proxy"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"

/** The variables, the first that is set before the others; in lower case first, as curl has it. */
const variables = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]

const valueOf = (name: string) =>
  Effect.map(Effect.orDie(Config.option(Config.nonEmptyString(name))), Option.map((value) => ({ name, value })))

const firstOf = (names: ReadonlyArray<string>) => Effect.map(Effect.forEach(names, valueOf), Option.firstSomeOf)

const proxyOf = Effect.gen(function*() {
  const proxy = yield* firstOf(variables)
  const noProxy = Option.map(yield* firstOf(["no_proxy", "NO_PROXY"]), ({ value }) => value)
  return Option.isNone(proxy)
    ? () => undefined
    : yield* Either.mapBoth(Proxy.parse(proxy.value.value), {
      onLeft: ({ message }) => new UsageError({ message: `${proxy.value.name}: ${message}` }),
      onRight: (server) => Proxy.through(server, Option.getOrUndefined(noProxy))
    })
})

/** Has the nodes that an effect makes connect through the proxy of the environment. */
export const withProxy = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | UsageError, R> =>
  Effect.provideServiceEffect(effect, Proxy.Proxy, proxyOf)
