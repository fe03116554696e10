/**
 * The connections that a worker of the kernel transport opens: it connects, sends their first bytes, and tells the main thread.
 * It owns their sockets until it reports them; from then on it only watches them.
 */
import { Undecided } from "./kernelArrivals.js"
import type { Watched, WorkerContext } from "./kernelContext.js"
import type { Descriptor } from "./system.js"
import { again } from "./system.js"

export const dial = (worker: WorkerContext, connection: number, host: string, port: number, first: Uint8Array) => {
  const { descriptors, poll } = worker.system
  const socket = descriptors.connect(host, port)
  if (socket < 0) {
    worker.report(["dialFailed", connection, socket])
    return
  }
  const dialing = new Dialing(worker, connection, socket as Descriptor, first)
  const watched = poll.watchConnection(dialing.socket, connection)
  if (watched < 0) {
    dialing.fail(watched)
    return
  }
  worker.watched.set(connection, dialing)
  // The poll reports at once if it has already connected or failed.
  poll.watchRoomToo(dialing.socket, connection)
}

/** Closes a connection that has not been reported. */
export const close = (worker: WorkerContext, connection: number) => {
  const dialing = worker.watched.get(connection)
  if (dialing instanceof Dialing) {
    dialing.close()
  }
}

class Dialing implements Watched {
  private sent = 0

  constructor(
    private readonly worker: WorkerContext,
    private readonly connection: number,
    readonly socket: Descriptor,
    private readonly first: Uint8Array
  ) {}

  onEvents(bits: number) {
    while (this.sent < this.first.length) {
      // Before it has connected there is no room, and when it could not connect the call says why.
      const left = this.first.subarray(this.sent)
      const sent = this.worker.system.descriptors.send(this.socket, left, left.length)
      if (sent < 0) {
        if (sent !== again) {
          this.fail(sent)
        }
        return
      }
      this.sent += sent
    }
    const { connection, socket, worker } = this
    const undecided = new Undecided(worker, connection)
    worker.watched.set(connection, undecided)
    worker.report(["dialed", connection, [socket, ""]])
    undecided.onEvents(bits)
  }

  fail(negativeErrno: number) {
    this.close()
    this.worker.report(["dialFailed", this.connection, negativeErrno])
  }

  close() {
    this.worker.watched.delete(this.connection)
    this.worker.system.descriptors.close(this.socket)
  }
}
