/**
 * The listeners of a worker of the kernel transport: it accepts their connections while the main thread keeps up and there
 * are descriptors. The main thread owns the listening sockets; the spare descriptor is the worker's until it ends.
 */
import type { Arrivals } from "./kernelArrivals.js"
import type { Watched, WorkerContext } from "./kernelContext.js"
import type { Proxies } from "./proxyProtocol.js"
import type { Descriptor } from "./system.js"
import { again, goneAgain, noDescriptors } from "./system.js"
import { Timers } from "./timers.js"

/** Connections accepted at a time at most, before others get their turn. */
const acceptsPerTurn = 64
/** A listener that cannot accept now, or must not, is left alone for so long. */
const pauseMs = 10

export class Listeners {
  private readonly listeners = new Map<number, Listener>()
  private readonly paused: Timers<Listener>
  /** Given up for a moment when there is no other descriptor, to close a connection with. */
  private spare: Descriptor | undefined

  constructor(readonly worker: WorkerContext, readonly arrivals: Arrivals) {
    this.paused = new Timers(worker.system.clock)
    this.haveSpare()
  }

  listen(number: number, socket: Descriptor, proxies: Proxies | undefined) {
    const listener = new Listener(this, number, socket, proxies)
    this.listeners.set(number, listener)
    listener.resume()
  }

  stop(number: number) {
    this.listeners.get(number)?.stop()
    this.listeners.delete(number)
  }

  pause(listener: Listener) {
    listener.stop()
    this.paused.start(listener, pauseMs)
  }

  isStopped(listener: Listener) {
    this.paused.cancel(listener)
  }

  haveSpare() {
    this.spare ??= this.worker.system.descriptors.spare()
  }

  /**
   * Accepts one connection with the spare descriptor and closes it; otherwise its peer would wait for an answer. 0, or the
   * negative errno: `again` if no connection waits, for accept(2) looks for a descriptor first.
   */
  acceptAndClose(socket: Descriptor): number {
    const { descriptors } = this.worker.system
    if (this.spare === undefined) {
      return noDescriptors[0]!
    }
    descriptors.close(this.spare)
    const incoming = descriptors.accept(socket)
    if (typeof incoming !== "number") {
      descriptors.close(incoming.socket)
    }
    this.spare = descriptors.spare()
    return typeof incoming === "number" ? incoming : 0
  }

  onTurn() {
    this.paused.expire(resume)
  }

  nextMs() {
    return this.paused.nextMs()
  }
}

const resume = (listener: Listener) => listener.resume()

class Listener implements Watched {
  /**
   * Connections to accept at a time: twice as many as the last time, if there were so many. If more wait, epoll tells again,
   * so a lone connection does not cost a call that finds nothing.
   */
  private expected = 1

  constructor(
    private readonly listeners: Listeners,
    private readonly number: number,
    private readonly socket: Descriptor,
    private readonly proxies: Proxies | undefined
  ) {}

  private get key() {
    return this.listeners.worker.listenerKey(this.number)
  }

  resume() {
    const { system, watched } = this.listeners.worker
    this.listeners.haveSpare()
    watched.set(this.key, this)
    system.poll.watchListener(this.socket, this.key)
  }

  stop() {
    const { system, watched } = this.listeners.worker
    this.listeners.isStopped(this)
    watched.delete(this.key)
    system.poll.unwatch(this.socket)
  }

  onEvents() {
    const { arrivals, worker } = this.listeners
    const { expected } = this
    for (let count = 0; count < expected; count++) {
      if (arrivals.isFull) {
        this.listeners.pause(this)
        return
      }
      const incoming = worker.system.descriptors.accept(this.socket)
      if (typeof incoming !== "number") {
        arrivals.accept(this.number, incoming, this.proxies)
      } else if (incoming === again) {
        this.expected = Math.max(1, count)
        return
      } else if (!goneAgain.includes(incoming)) {
        const left = noDescriptors.includes(incoming) ? this.listeners.acceptAndClose(this.socket) : incoming
        if (left === again) {
          return
        }
        worker.report(["acceptFailed", this.number, incoming])
        if (left !== 0) {
          this.listeners.pause(this)
          return
        }
      }
    }
    this.expected = Math.min(2 * expected, acceptsPerTurn)
  }
}
