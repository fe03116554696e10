/**
 * Looks a name up in the hosts file and at the DNS servers, as far as nsswitch lets these two answer, and in no thread of
 * libuv. A lookup ends with its answer or by interruption.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { LookupAddress } from "node:dns"
import * as dns from "node:dns"
import * as fs from "node:fs/promises"

/** Where the system says how names are resolved. A file that cannot be read says nothing. */
export interface Files {
  readonly hosts: string
  readonly nsswitch: string
  readonly resolvConf: string
}

export const files: Files = {
  hosts: "/etc/hosts",
  nsswitch: "/etc/nsswitch.conf",
  resolvConf: "/etc/resolv.conf"
}

/** Neither the file nor the servers have the name: the servers said so (`isAnswer`), or said nothing. */
export class DirectError extends Data.TaggedError("DirectError")<{ readonly isAnswer: boolean }> {}

/** `servers` are those of `resolv.conf`, unless given. */
export const make =
  (files: Files, servers?: ReadonlyArray<string>) =>
  (host: string): Effect.Effect<ReadonlyArray<LookupAddress>, DirectError> =>
    Effect.gen(function*() {
      const sources = sourcesIn(yield* contentsOf(files.nsswitch))
      if (sources.has("files")) {
        const found = addressesIn(yield* contentsOf(files.hosts), host)
        if (found.length > 0) {
          return found
        }
      }
      // Names under .local are not for DNS servers (RFC 6762, section 3).
      if (!(sources.has("dns") || sources.has("resolve")) || /\.local\.?$/i.test(host)) {
        return yield* new DirectError({ isAnswer: true })
      }
      let isAnswer = true
      for (const name of candidates(yield* contentsOf(files.resolvConf), host)) {
        const result = yield* Effect.either(query(name, servers))
        if (result._tag === "Right") {
          return result.right
        }
        isAnswer &&= result.left.isAnswer
      }
      return yield* new DirectError({ isAnswer })
    })

const contentsOf = (path: string) =>
  Effect.orElseSucceed(Effect.tryPromise((signal) => fs.readFile(path, { encoding: "utf8", signal })), () => "")

/** Without a line for hosts, the C library takes `files dns`. */
const sourcesIn = (nsswitch: string) =>
  new Set((/^[ \t]*hosts:(.*)$/m.exec(nsswitch)?.[1] ?? "files dns").replace(/#.*|\[[^\]]*\]/g, "").trim().split(/\s+/))

const addressesIn = (hosts: string, host: string): ReadonlyArray<LookupAddress> => {
  const wanted = host.replace(/\.$/, "").toLowerCase()
  return hosts.split("\n").flatMap((line) => {
    const [address, ...names] = line.replace(/#.*/, "").trim().split(/\s+/)
    return address !== undefined && names.some((name) => name.toLowerCase() === wanted)
      ? [{ address, family: address.includes(":") ? 6 : 4 }]
      : []
  })
}

/** The names to ask for, as resolv.conf(5) has it for `search` and `ndots`. */
const candidates = (resolvConf: string, host: string) => {
  if (host.endsWith(".")) {
    return [host]
  }
  const search = Array.from(resolvConf.matchAll(/^(?:search|domain)[ \t]+(.*)$/gm)).at(-1)?.[1]?.trim().split(/\s+/)
  const searched = (search ?? []).filter((domain) => domain !== ".").map((domain) => `${host}.${domain}`)
  const ndots = Number(/^options\b.*\bndots:(\d+)/m.exec(resolvConf)?.[1] ?? 1)
  return host.split(".").length > ndots ? [host, ...searched] : [...searched, host]
}

/** How long the other family's answer is waited for when one is here (RFC 8305, section 3). */
const resolutionDelayMs = 50

const answers = new Set(["ENOTFOUND", "ENODATA"])

/** Asks for both families at once. */
const query = (host: string, servers: ReadonlyArray<string> | undefined) =>
  Effect.async<ReadonlyArray<LookupAddress>, DirectError>((resume) => {
    const resolver = new dns.Resolver()
    if (servers !== undefined) {
      resolver.setServers(servers)
    }
    const found: Array<LookupAddress> = []
    let isAnswer = true
    let pending = 2
    let later: ReturnType<typeof setTimeout> | undefined
    const stop = () => {
      pending = 0
      clearTimeout(later)
      resolver.cancel()
    }
    const settle = () => {
      stop()
      resume(found.length > 0 ? Effect.succeed(found) : new DirectError({ isAnswer }))
    }
    const take = (family: 4 | 6) => (error: NodeJS.ErrnoException | null, addresses: ReadonlyArray<string>) => {
      if (pending === 0) {
        return
      }
      pending--
      if (error === null) {
        addresses.forEach((address) => found.push({ address, family }))
      } else {
        isAnswer &&= answers.has(error.code ?? "")
      }
      if (pending === 0) {
        settle()
      } else if (found.length > 0) {
        later = setTimeout(settle, resolutionDelayMs)
      }
    }
    resolver.resolve6(host, take(6))
    resolver.resolve4(host, take(4))
    return Effect.sync(stop)
  })
