// Opens two connections to the port of its argument, sends a preamble on each, and then as much as they take, until it
// is ended.
import { Buffer } from "node:buffer"
import { connect } from "node:net"

const bytes = Buffer.alloc(256 * 1024)

for (let opened = 0; opened < 2; opened++) {
  const socket = connect({ host: "127.0.0.1", port: Number(process.argv[2]) })
  const send = () => socket.write(bytes, send)
  socket.on("error", () => process.exit(0)).resume()
  socket.write(Buffer.alloc(32))
  send()
}
