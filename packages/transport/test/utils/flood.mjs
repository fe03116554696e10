// Opens as many connections as its second argument says, all at once, to the port of its first, and sends a preamble on
// each. Ends with code 0 when "ok" has come on every one of them.
import { Buffer } from "node:buffer"
import { connect } from "node:net"

const [port, count] = process.argv.slice(2).map(Number)
let answered = 0

for (let opened = 0; opened < count; opened++) {
  const socket = connect({ host: "127.0.0.1", port })
  socket.write(Buffer.alloc(32))
  socket.once("data", (answer) => {
    if (answer.toString() !== "ok") {
      process.exit(1)
    }
    socket.destroy()
    if (++answered === count) {
      process.exit(0)
    }
  })
}
