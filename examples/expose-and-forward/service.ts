/**
 * A service that knows nothing of tx3: it greets, as an SSH server does, and sends every line back.
 */
import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { createInterface } from "node:readline"

const [port = ""] = process.argv.slice(2)

const server = createServer((socket) => {
  socket.on("error", () => {})
  socket.write("ECHO-1.0-example\n")
  createInterface({ input: socket }).on("line", (line) => socket.write(`you said: ${line}\n`))
})

server.listen(Number(port), "127.0.0.1")
await once(server, "listening")
console.log(`a service at 127.0.0.1:${(server.address() as AddressInfo).port}`)

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => process.exit(0))
}
