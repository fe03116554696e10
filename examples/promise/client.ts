/**
 * Talks to the node of `server.ts`, in plain Node.
 */
import { bind } from "@tx3/node/promise"
import { text } from "node:stream/consumers"

const [address = ""] = process.argv.slice(2)

// A node that is bound to nothing can still connect. It ends with this block, and its connections with it.
await using node = await bind()

const connection = await node.connect(address)
connection.end("hello")
console.log(`${connection.remoteDigest} answered: ${await text(connection)}`)
