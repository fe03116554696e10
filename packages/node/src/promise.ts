/**
 * A node for programs without Effect: `bind` gives one whose connections are Node's own `Duplex` streams. It runs in a
 * `ManagedRuntime`, which `close`, or the end of the block that an `await using` stands in, disposes of with all it has open.
 */
import * as Identity from "@tx3/protocol/Identity"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import type * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { Duplex } from "node:stream"
import * as handOver from "./internal/handOver.js"
import * as NodeConfig from "./NodeConfig.js"
import type { Tx3Connection } from "./Tx3Connection.js"
import * as Tx3Node from "./Tx3Node.js"

/**
 * A connection: a half-open `Duplex`, whose two directions are ended one by one, and paused until it is read. It closes
 * when both have ended, and at the latest with its node. A reset is reported by `error`; a listener is optional.
 *
 * @since 0.1.0
 * @category models
 */
export type Connection = Duplex & {
  /** The digest of the certificate that the other end proved to own: 43 characters. */
  readonly remoteDigest: string
}

/**
 * A running node. As long as it is bound somewhere it keeps the process alive, until it is closed. Iterating over it gives
 * the connections that come in, each to one iteration; leaving an iteration leaves those that come later to the next.
 *
 * @since 0.1.0
 * @category models
 */
export interface Node extends AsyncDisposable, AsyncIterable<Connection> {
  /** Where others reach it: one address for each relay, and for each direct one. */
  readonly addresses: ReadonlyArray<string>

  /** The digest of its own certificate, in which each of its addresses ends. */
  readonly digest: string

  /**
   * Connects to an address, or through the first of several addresses of one node that can be. Rejects with an `Error` whose
   * message says what is wrong, a `ConnectError` of `NodeError`.
   */
  readonly connect: (address: string | readonly [string, ...ReadonlyArray<string>]) => Promise<Connection>

  /** Leaves its relays, closes every connection and its listeners. Iterations end. Idempotent. */
  readonly close: () => Promise<void>
}

/**
 * The options of a node.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Relays to be reached through, tx3-rst://HOST:PORT/DIGEST, and own addresses to listen at, tx3-st://HOST:PORT. */
  readonly bind?: ReadonlyArray<string> | undefined

  /** The node's identity: a PEM text as {@link newIdentity} and `tx3 keygen` make it. Default: a new one each time. */
  readonly identity?: string | undefined

  /** Deadlines and limits in place of `NodeConfig`'s defaults. */
  readonly config?: Partial<NodeConfig.NodeConfigOptions> | undefined
}

/**
 * Makes a node, and waits until it is registered at all its relays. Rejects with an `Error` whose message says what is
 * wrong: with an address, the identity, a port that is taken, a relay that refuses or is not there.
 *
 * @example
 * ```ts
 * import { bind } from "@tx3/node/promise"
 * import { text } from "node:stream/consumers"
 *
 * const relay = "tx3-rst://relay.example.org:38141/1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"
 * await using node = await bind({ bind: [relay] })
 * console.log(node.addresses)
 * for await (const connection of node) {
 *   console.log(`${connection.remoteDigest} said ${await text(connection)}`)
 * }
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const bind = async (options: Options = {}): Promise<Node> => {
  const { bind, config, identity } = options
  const facade = Effect.gen(function*() {
    const parsed = identity === undefined ? undefined : yield* Identity.fromPem(Redacted.make(identity))
    const node = yield* Tx3Node.make({ bind, identity: parsed, requireRegistration: true })
    return { node, open: yield* handOver.make, next: yield* Stream.toPull(node.connections) }
  })
  const runtime = ManagedRuntime.make(
    // A library must not log to stdout; errors and events report what matters.
    Layer.provide(Layer.scoped(Facade, facade), [NodeConfig.layer(config ?? {}), Logger.remove(Logger.defaultLogger)])
  )
  const close = () => runtime.dispose()
  const started = await runtime.runPromiseExit(Facade)
  if (Exit.isFailure(started)) {
    await close()
    throw Cause.squash(started.cause)
  }
  const { next, node, open } = started.value
  const iterator: AsyncIterator<Connection> = {
    // One at a time, and none ahead, which a loop that is left would lose. There are no more when the node is closed.
    next: async () => {
      const exit = await runtime.runPromiseExit(next)
      return Exit.isSuccess(exit)
        ? { done: false, value: toDuplex(Chunk.unsafeHead(exit.value)) }
        : { done: true, value: undefined }
    },
    return: async () => ({ done: true, value: undefined })
  }
  return {
    addresses: node.addresses.map(String),
    digest: node.digest,
    connect: (address) =>
      new Promise((resolve, reject) =>
        open(
          node.connect(address),
          (error, connection) => connection === undefined ? reject(error) : resolve(toDuplex(connection))
        )
      ),
    close,
    [Symbol.asyncDispose]: close,
    [Symbol.asyncIterator]: () => iterator
  }
}

class Facade extends Context.Tag("@tx3/node/promise/Facade")<Facade, {
  readonly node: Tx3Node.Tx3Node["Type"]
  readonly open: handOver.HandOver
  readonly next: Effect.Effect<Chunk.Chunk<Tx3Connection>, Option.Option<never>>
}>() {}

const toDuplex = ({ duplex, remoteDigest }: Tx3Connection): Connection => Object.assign(duplex, { remoteDigest })

/**
 * Makes a new identity, as a PEM text with its private key: keep it where others cannot read it. A node of that identity
 * has the same digest each time.
 *
 * @since 0.1.0
 * @category constructors
 */
export const newIdentity = (): Promise<string> =>
  Effect.runPromise(Effect.map(Identity.generate, (identity) => Redacted.value(Identity.toPem(identity))))
