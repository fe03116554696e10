/** What happens in a simulation: all of it comes from a seed. Each actor has a seed of its own, so that one can be left out. */
import { generator } from "../../../../transport/test/utils/random.js"

export interface Actor {
  readonly is: "node" | "peer" | "stranger"
  /** Which node it is, or wants. */
  readonly node: number
  readonly host: string
  readonly seed: number
  /** When it comes. */
  readonly atMs: number
}

/** Something that an operator, or fate, does. */
export interface Incident {
  readonly is: "reload" | "kick" | "killWorker" | "drain"
  readonly atMs: number
  readonly seed: number
}

export interface Plan {
  readonly seed: number
  readonly threads: number
  readonly actors: ReadonlyArray<Actor>
  readonly incidents: ReadonlyArray<Incident>
  readonly limits: {
    readonly descriptorsMax: number
    readonly receiveMax: number
    readonly sendMax: number
    readonly pipesMax: number
    readonly pipeMax: number
  }
  /** How likely a call fails for want of something, moves a part only, and is one between whose begin and end others act. */
  readonly failing: number
  readonly partly: boolean
  readonly interrupting: number
  readonly maxInboundPerIp: number
  /** Whether policies wait before they answer. */
  readonly slowPolicies: boolean
  readonly rates: boolean
}

/** Chooses, in the order of the calls. */
export class Random {
  private readonly next: () => number

  constructor(seed: number) {
    this.next = generator(seed)
  }

  /** From 0 up to, and without, the bound. */
  below = (bound: number) => Math.floor(this.next() * bound)

  chance = (probability: number) => this.next() < probability

  pick = <A>(from: ReadonlyArray<A>): A => from[this.below(from.length)]!

  /** Small ones are as likely as large ones. */
  size = (max: number) => Math.floor(Math.exp(this.next() * Math.log(max + 1)))

  seed = () => this.below(2 ** 31)
}

export const hosts = ["192.0.2.1", "192.0.2.2", "198.51.100.7"]
export const nodes = 3

export const planOf = (seed: number): Plan => {
  const random = new Random(seed)
  const spanMs = random.pick([50, 1_000, 10_000])
  const actors = Array.from({ length: 4 + random.below(26) }, (_, index): Actor => ({
    is: index < 2 ? "node" : random.pick(["node", "peer", "peer", "peer", "peer", "stranger"] as const),
    node: index < 2 ? index : random.below(nodes),
    host: random.chance(0.8) ? random.pick(hosts.slice(0, 2)) : hosts[2]!,
    seed: random.seed(),
    atMs: index < 2 ? 0 : random.below(spanMs)
  }))
  const incidents = Array.from({ length: random.chance(0.5) ? random.below(4) : 0 }, (): Incident => ({
    is: random.pick(["reload", "kick", "kick", "killWorker", "drain"] as const),
    atMs: random.below(2 * spanMs),
    seed: random.seed()
  }))
  const socketMax = random.pick([1_000, 20_000, 64_000])
  return {
    seed,
    threads: random.chance(0.25) ? 2 : 1,
    actors,
    incidents,
    limits: {
      descriptorsMax: random.chance(0.2) ? 12 + random.below(30) : 400,
      receiveMax: socketMax,
      sendMax: random.pick([socketMax, 5_000]),
      pipesMax: random.pick([0, 1, 8]),
      pipeMax: random.pick([20_000, 64_000])
    },
    failing: random.chance(0.2) ? 0.002 : 0,
    partly: random.chance(0.5),
    interrupting: random.pick([0, 0.02, 0.2]),
    maxInboundPerIp: random.pick([3, 12, 12]),
    slowPolicies: random.chance(0.3),
    rates: random.chance(0.2)
  }
}
