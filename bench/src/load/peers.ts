/**
 * The peers of a benchmark: a program that opens connections through the subject and sends into them. It is written to
 * cost little: buffers are made once, and nothing is allocated for what passes through a connection.
 */
import { randomBytes } from "node:crypto"
import { connect, type Socket } from "node:net"
import * as messages from "./messages.js"
import { nextSource, paced, patienceMs, percentile, serve, times } from "./program.js"

const readBuffer = Buffer.allocUnsafe(256 * 1024)
const block = Buffer.alloc(256 * 1024, "tx3")
const message = Buffer.alloc(messages.messageLength, "tx3")

interface Peer {
  readonly socket: Socket
  /** What to do with bytes that have come. */
  onBytes: (count: number) => void
}

const groups = new Map<string, Array<Peer>>()

const group = (name: string) => {
  const peers = groups.get(name) ?? []
  groups.set(name, peers)
  return peers
}

/** What a peer says first: the preamble and the kind, in one segment. */
const greeting = (target: messages.Target, kind: messages.Kind) =>
  Buffer.concat([Buffer.from(target.preamble, "base64"), Buffer.of(messages.kindBytes[kind])])

const open = (target: messages.Target, first: Buffer): Peer => {
  const socket = connect({
    host: target.host,
    port: target.port,
    localAddress: nextSource(),
    noDelay: true,
    onread: {
      buffer: readBuffer,
      callback: (count) => {
        peer.onBytes(count)
        return true
      }
    }
  })
  const peer: Peer = { socket, onBytes: () => {} }
  socket.write(first)
  return peer
}

/** Opens a connection and waits for the byte that says that its far end is there. */
const establish = (target: messages.Target, first: Buffer) =>
  new Promise<Peer>((resolve, reject) => {
    const peer = open(target, first)
    const fail = (problem: string) => {
      clearTimeout(timer)
      peer.socket.destroy()
      reject(new Error(problem))
    }
    const timer = setTimeout(() => fail(`no answer within ${patienceMs} ms`), patienceMs)
    const onError = (error: Error) => fail(error.message)
    const onClose = () => fail("closed before the far end answered")
    peer.socket.once("error", onError).once("close", onClose)
    peer.onBytes = () => {
      clearTimeout(timer)
      peer.socket.off("error", onError).off("close", onClose).on("error", () => {})
      resolve(peer)
    }
  })

/** Sends the end and waits for the far end's. */
const close = ({ socket }: Peer) =>
  new Promise<void>((resolve, reject) => {
    if (socket.closed) {
      return resolve()
    }
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`the far end did not close within ${patienceMs} ms`))
    }, patienceMs)
    socket.once("close", () => {
      clearTimeout(timer)
      resolve()
    })
    socket.end()
  })

const closeGroup = async (name: string) => {
  const peers = group(name)
  groups.delete(name)
  const left = peers.values()
  await times(peers.length, 64, () => close(left.next().value!))
}

const pump = (name: string) => {
  for (const { socket } of group(name)) {
    const fill = () => {
      while (socket.write(block)) { /* until the socket has enough */ }
    }
    socket.on("drain", fill)
    fill()
  }
}

const stopPumping = (name: string) =>
  Promise.all(
    group(name).map(({ socket }) => {
      socket.removeAllListeners("drain")
      return new Promise<void>((resolve, reject) => {
        if (socket.writableLength === 0) {
          return resolve()
        }
        socket.once("drain", resolve).once("close", () => reject(new Error("closed while it was pumped into")))
      })
    })
  )

/** Room for the times of one measurement. */
const samples = new Float64Array(4_000_000)

const summary = (count: number): messages.Times => {
  const measured = samples.subarray(0, Math.min(count, samples.length))
  return { count, p50: percentile(measured, 0.5), p99: percentile(measured, 0.99) }
}

/** One message to and fro on each connection of the group, again and again. */
const roundTrips = async (name: string, warmUpMs: number, measureMs: number) => {
  const begin = performance.now() + warmUpMs
  const end = begin + measureMs
  let count = 0
  await Promise.all(
    group(name).map((peer) =>
      new Promise<void>((resolve, reject) => {
        let sentAt = performance.now()
        let missing = messages.messageLength
        const onClose = () => reject(new Error("closed during a round trip"))
        peer.socket.once("close", onClose)
        peer.onBytes = (bytes) => {
          missing -= bytes
          if (missing > 0) {
            return
          }
          const now = performance.now()
          if (sentAt >= begin && count < samples.length) {
            samples[count++] = now - sentAt
          }
          // At least one is timed, however long the machine was busy with something else.
          if (now >= end && sentAt >= begin) {
            peer.socket.off("close", onClose)
            return resolve()
          }
          missing = messages.messageLength
          sentAt = now
          peer.socket.write(message)
        }
        peer.socket.write(message)
      })
    )
  )
  return summary(count)
}

/**
 * Opens one connection after the other, `inFlight` of them side by side, and times those that come to what they are for: `one`
 * calls `succeed` at that moment, and returns when its connection is closed.
 */
const sideBySide = async (
  inFlight: number,
  durationMs: number,
  one: (succeed: () => void) => Promise<void>
): Promise<messages.SetUps> => {
  const begin = performance.now()
  const end = begin + durationMs
  let count = 0
  let failed = 0
  await Promise.all(Array.from({ length: inFlight }, async () => {
    // A subject that refuses everything must not be asked for ever.
    while (performance.now() < end && failed < 1000) {
      const startedAt = performance.now()
      let hasSucceeded = false
      await one(() => {
        hasSucceeded = true
        samples[count % samples.length] = performance.now() - startedAt
        count++
      })
      if (!hasSucceeded) {
        failed++
      }
    }
  }))
  return { ...summary(count), failed, durationMs: performance.now() - begin }
}

/** Opens a connection, waits for its far end's byte and closes it. */
const setUps = (target: messages.Target, inFlight: number, durationMs: number): Promise<messages.SetUps> => {
  const first = greeting(target, "sink")
  return sideBySide(inFlight, durationMs, (succeed) =>
    new Promise((resolve) => {
      const peer = open(target, first)
      const { socket } = peer
      peer.onBytes = () => {
        peer.onBytes = () => {}
        succeed()
        socket.end()
      }
      socket.setTimeout(patienceMs, () => socket.destroy())
      socket.on("error", () => {})
      socket.once("close", () => resolve())
    }))
}

/** Opens connections with random preambles, and waits until each is closed. A byte, or silence, is a failure. */
const unknown = (place: messages.Place, inFlight: number, durationMs: number): Promise<messages.SetUps> =>
  sideBySide(inFlight, durationMs, (succeed) =>
    new Promise((resolve) => {
      let isGood = true
      const { socket } = Object.assign(open({ ...place, preamble: "" }, randomBytes(32)), {
        onBytes: () => {
          isGood = false
        }
      })
      socket.setTimeout(patienceMs, () => {
        isGood = false
        socket.destroy()
      })
      socket.on("error", () => {})
      socket.once("end", () => socket.end())
      socket.once("close", () => {
        if (isGood) {
          succeed()
        }
        resolve()
      })
    }))

serve(async (request: messages.PeersRequest) => {
  switch (request.type) {
    case "open": {
      const first = greeting(request.target, request.kind)
      const peers = group(request.group)
      return times(request.count, 32, async () => {
        peers.push(await establish(request.target, first))
      })
    }
    case "close":
      return closeGroup(request.group)
    case "startPumping":
      return pump(request.group)
    case "stopPumping":
      return stopPumping(request.group)
    case "roundTrips":
      return roundTrips(request.group, request.warmUpMs, request.measureMs)
    case "setUps":
      return setUps(request.target, request.inFlight, request.durationMs)
    case "unknown":
      return unknown(request, request.inFlight, request.durationMs)
    case "pacedSetUps": {
      const first = greeting(request.target, "sink")
      return paced(request, async () => {
        const { socket } = await establish(request.target, first)
        socket.end()
      })
    }
  }
})
