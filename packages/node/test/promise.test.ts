import { assert, describe, it } from "@effect/vitest"
import type * as NodeError from "@tx3/node/NodeError"
import { bind, type Connection, newIdentity } from "@tx3/node/promise"
import { once } from "node:events"
import * as net from "node:net"
import { text } from "node:stream/consumers"
import { pipeline } from "node:stream/promises"
import { payload, sha256 } from "./utils/nodes.js"

const direct = "tx3-st://127.0.0.1:0"

/** Sends back all that comes, on each connection. */
const echo = async (node: AsyncIterable<Connection>) => {
  for await (const connection of node) {
    void pipeline(connection, connection)
  }
}

describe("@tx3/node/promise", () => {
  it("binds, connects and iterates: 8 MiB there and back, and everything ends with the block", async () => {
    let echoing
    let left: Connection | undefined
    {
      await using server = await bind({ bind: [direct] })
      echoing = echo(server)
      await using client = await bind()
      const connection = left = await client.connect(server.addresses[0]!)
      assert.strictEqual(connection.remoteDigest, server.digest)
      connection.end(payload)
      const chunks: Array<Buffer> = []
      for await (const chunk of connection) {
        chunks.push(chunk)
      }
      assert.strictEqual(sha256(Buffer.concat(chunks)), sha256(payload))
      left = await client.connect([server.addresses[0]!])
    }
    await echoing
    if (!left.closed) {
      await once(left, "close")
    }
  })

  it("is the same node again with the same identity, and tells its peer which", async () => {
    const identity = await newIdentity()
    await using first = await bind({ bind: [direct], identity })
    await using second = await bind({ identity })
    assert.strictEqual(first.digest, second.digest)
    const connections = first[Symbol.asyncIterator]()
    const [near, far] = await Promise.all([second.connect(first.addresses[0]!), connections.next()])
    assert.strictEqual((far.value as Connection).remoteDigest, second.digest)
    near.end("hello")
    assert.strictEqual(await text(far.value as Connection), "hello")
    await connections.return?.()
  })

  it("rejects with errors that say what is wrong", async () => {
    const failure = (promise: Promise<unknown>) =>
      promise.then(() => assert.fail("it did not reject"), (error: Error & { readonly _tag: string }) => error)
    assert.include((await failure(bind({ bind: ["nowhere"] }))).message, "scheme is neither tx3-st nor tx3-rst")
    assert.include((await failure(bind({ identity: "mine" }))).message, "there is no CERTIFICATE block")
    await using node = await bind({ bind: [direct] })
    const taken = await failure(bind({ bind: [node.addresses[0]!.replace(/\/[^/]*$/, "")] }))
    assert.include(taken.message, "another program listens there")
    await using client = await bind({ config: { connectTimeoutMs: 5_000 } })
    const dead: NodeError.DialError = await failure(client.connect(`tx3-st://127.0.0.1:1/${node.digest}`)) as never
    assert.strictEqual(dead._tag, "DialError")
    assert.include(dead.message, "connection refused")
  })

  it("close ends iterations and connections, and may be called again", async () => {
    const server = await bind({ bind: [direct] })
    const client = await bind()
    const echoing = echo(server)
    const connection = await client.connect(server.addresses[0]!)
    const closed = once(connection, "close")
    connection.resume()
    await server.close()
    await server.close()
    await echoing
    await client.close()
    await closed
  })

  it("a connect that is under way when the node is closed rejects, and so does one after it", async () => {
    const server = net.createServer((socket) => void socket.on("error", () => {}))
    await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port: 0 }, resolve))
    const accepted = once(server, "connection")
    const node = await bind()
    const address = `tx3-st://127.0.0.1:${(server.address() as net.AddressInfo).port}/${node.digest}`
    const underWay = node.connect(address).then(() => "connected", (error: Error) => error.message)
    const [socket] = await accepted
    await node.close()
    assert.strictEqual(await underWay, "the node has been closed")
    assert.strictEqual(
      await node.connect(address).then(() => "connected", (error: Error) => error.message),
      "the node has been closed"
    )
    ;(socket as net.Socket).destroy()
    server.close()
  })

  it("an iteration that is left loses no connection, which the next one has", async () => {
    await using server = await bind({ bind: [direct] })
    await using client = await bind()
    const sent = ["one", "two", "three"]
    for (const text of sent) {
      ;(await client.connect(server.addresses[0]!)).end(text)
    }
    const received: Array<string> = []
    while (received.length < sent.length) {
      for await (const connection of server) {
        received.push(await text(connection))
        connection.end()
        break
      }
    }
    assert.deepStrictEqual(received.toSorted(), sent.toSorted())
  })
})
