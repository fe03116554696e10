/**
 * A node that sends back what it gets, in plain Node: connections are `Duplex` streams, and a node is iterated over.
 */
import { bind } from "@tx3/node/promise"
import { pipeline } from "node:stream/promises"

const [relay = ""] = process.argv.slice(2)

// The node ends with this block, which here is the program.
await using node = await bind({ bind: [relay] })
console.log(`echoing at ${node.addresses.join(" and ")}`)

// A node that is closed ends the iteration below.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void node.close())
}

for await (const connection of node) {
  console.log(`${connection.remoteDigest} came`)
  // Not awaited: the next may come while this one is still here. Who goes without a word is not worth one.
  pipeline(connection, connection).catch(() => {})
}
