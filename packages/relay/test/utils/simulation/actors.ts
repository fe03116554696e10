/** What nodes, peers and strangers do, step by step: scripts that say what each step waits for. */
import type { Client, Clients } from "./clients.js"
import type { Actor, Random } from "./plan.js"

/** What a script waits for: a time, or before that a condition. */
export interface Wait {
  readonly atMs: number
  readonly until?: () => boolean
}

export type Script = Generator<Wait, void>

/** What scripts act on. */
export interface World {
  readonly nowMs: () => number
  readonly clients: Clients
  /** What names a node, and the relay, in a preamble. */
  readonly digestOf: (node: number) => Uint8Array
  readonly relay: Uint8Array
  readonly start: (script: Script) => void
  /** Notes a token that a node has received. */
  readonly onToken: (token: string) => void
}

/** How long an actor waits for what may never come. */
const patienceMs = 60_000

const preambleBytes = 32

/** What a node proves in place of a TLS handshake: the number 1, and its digest. */
export const helloBytes = 1 + preambleBytes
export const hello = (digest: Uint8Array) => Buffer.concat([Buffer.of(1), digest])

export const scriptOf = (world: World, actor: Actor, random: Random): Script => {
  switch (actor.is) {
    case "node":
      return node(world, actor, random)
    case "peer":
      return peer(world, actor, random)
    case "stranger":
      return stranger(world, actor, random)
  }
}

const sleep = (world: World, ms: number): Wait => ({ atMs: world.nowMs() + ms })

const within = (world: World, ms: number, until: () => boolean): Wait => ({ atMs: world.nowMs() + ms, until })

/** Sends bytes, now and then in two pieces. */
function* sendSlowly(world: World, client: Client, bytes: Uint8Array, random: Random): Script {
  if (random.chance(0.4)) {
    const split = random.below(bytes.length)
    client.sendRaw(bytes.subarray(0, split))
    yield sleep(world, random.pick([random.size(200), 4 + random.below(3)]))
    client.sendRaw(bytes.subarray(split))
  } else {
    client.sendRaw(bytes)
  }
}

/** Leaves in one of the ways that there are. */
const leave = (client: Client, random: Random) =>
  random.pick([() => client.end(), () => client.reset(), () => client.close()])()

/** Leaves for good. */
function* finish(world: World, client: Client, random: Random): Script {
  if (!client.isGone) {
    yield within(world, patienceMs, () => client.ending !== undefined)
  }
  if (!client.isGone) {
    random.pick([() => client.reset(), () => client.close()])()
  }
}

/** One end of a splice. */
function* carry(world: World, client: Client, random: Random): Script {
  const steps = random.below(random.pick([4, 20]))
  const sizeMax = random.pick([10, 5_000, 300_000])
  const waitMax = random.pick([100, 3_000, 50_000])
  for (let step = 0; step < steps; step++) {
    const what = random.below(20)
    if (what < 8) {
      client.send(random.size(sizeMax))
    } else if (what < 12) {
      yield sleep(world, random.size(waitMax))
    } else if (what < 14) {
      const { received } = client
      yield within(world, random.size(5_000), () => client.received > received || client.ending !== undefined)
    } else if (what < 16) {
      client.pause()
      yield sleep(world, random.size(waitMax))
      if (random.chance(0.5)) {
        client.read(random.size(10_000))
        yield sleep(world, random.size(100))
      }
      client.resume()
    } else if (what < 17) {
      client.sendUrgent()
    } else if (what < 18) {
      client.end()
    } else if (what === 18) {
      client.send(random.size(sizeMax))
      client.sendUrgent()
      client.send(random.size(sizeMax))
    } else if (random.chance(0.3)) {
      leave(client, random)
    }
  }
  client.resume()
  if (!client.isGone && !client.hasEnded) {
    client.end()
  }
  yield* finish(world, client, random)
}

function* peer(world: World, { host, node }: Actor, random: Random): Script {
  for (let visits = 1 + random.below(4); visits > 0; visits--) {
    yield* visit(world, host, node, random)
    yield sleep(world, random.size(2_000))
  }
}

function* visit(world: World, host: string, node: number, random: Random): Script {
  const client = world.clients.connect("peer", String(node), host)
  yield* sendSlowly(world, client, world.digestOf(node), random)
  if (random.chance(0.1)) {
    leave(client, random)
  }
  yield* carry(world, client, random)
}

function* dialBack(world: World, node: number, host: string, token: Uint8Array, random: Random): Script {
  yield sleep(world, random.chance(0.5) ? 0 : random.size(3_000))
  const client = world.clients.connect("dialed back", String(node), host)
  yield* sendSlowly(world, client, token, random)
  if (random.chance(0.1)) {
    client.send(random.size(100))
    leave(client, random)
  }
  yield* carry(world, client, random)
}

function* node(world: World, { host, node }: Actor, random: Random): Script {
  for (let sessions = 1 + random.below(3); sessions > 0; sessions--) {
    const client = world.clients.connect("node", String(node), host)
    yield* sendSlowly(world, client, world.relay, random)
    const digest = world.digestOf(node)
    yield* sendSlowly(world, client, random.chance(0.95) ? hello(digest) : Buffer.alloc(helloBytes), random)
    yield* serve(world, client, node, host, random)
    if (!client.isGone) {
      if (random.chance(0.1)) {
        client.sendRaw(Buffer.from("a word"))
      }
      leave(client, random)
    }
    yield* finish(world, client, random)
    yield sleep(world, random.size(3_000))
  }
}

/** Takes the tokens of a control stream, for some time. */
function* serve(world: World, client: Client, node: number, host: string, random: Random): Script {
  const untilMs = world.nowMs() + random.pick([random.size(5_000), random.below(60_000)])
  const reads = random.chance(0.9)
  if (!reads) {
    client.pause()
  }
  let at = 1
  while (client.ending === undefined && world.nowMs() < untilMs) {
    const next = at + preambleBytes
    yield { atMs: untilMs, until: () => client.takeRaw().length >= next || client.ending !== undefined }
    const said = client.takeRaw()
    for (; said.length >= at + preambleBytes; at += preambleBytes) {
      const token = said.subarray(at, at + preambleBytes)
      world.onToken(token.toString("hex"))
      const times = random.pick([0, 1, 1, 1, 1, 1, 1, 2])
      for (let time = 0; time < times; time++) {
        world.start(dialBack(world, node, host, token, random))
      }
    }
  }
  client.resume()
}

function* stranger(world: World, { host }: Actor, random: Random): Script {
  const client = world.clients.connect("stranger", "", host)
  const bytes = Buffer.from(Array.from({ length: random.below(70) }, () => random.below(256)))
  yield* sendSlowly(world, client, bytes, random)
  yield sleep(world, random.size(10_000))
  leave(client, random)
  yield* finish(world, client, random)
}
