/** The sockets and servers of this process. Test files share the process, so those of another file may be among them. */
import * as net from "node:net"

const openSockets = () =>
  (process as unknown as { readonly _getActiveHandles: () => ReadonlyArray<unknown> })._getActiveHandles()
    .filter((handle) => handle instanceof net.Socket || handle instanceof net.Server)

/** Returns a function that counts the sockets and servers that are open and were not when this was called. */
export const socketsOpenedFromNow = (): () => number => {
  const before = new Set(openSockets())
  return () => openSockets().filter((socket) => !before.has(socket)).length
}
