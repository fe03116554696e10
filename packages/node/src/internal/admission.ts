/**
 * Admission of inbound connections: how many connections and handshakes there may be, in all and per party, and which
 * handshake is given up for a new one. Admission is synchronous. It holds counts and no resources.
 */
import type { NodeConfigOptions } from "../NodeConfig.js"

/**
 * Whom a connection counts to. Of a direct one it is the source of its address. A relay does not tell whose a connection
 * is, so all those of one relay are one party.
 */
export interface Party {
  readonly kind: "source" | "relay"
  readonly name: string
}

/** Why a connection is refused: the bound that is reached. */
export type Refusal = "maxInbound" | "descriptors" | "maxInboundPerSource" | "maxShareOfSource"

/** A handshake in progress. */
export interface Handshake {
  /** Bytes that have come so far. */
  readonly received: () => number
  /** Ends it. Its place is free already. */
  readonly giveUp: () => void
}

/** A connection's place, from accept to close. */
export interface Place {
  /** Takes a place for its handshake, and gives up another handshake where there are too many. */
  readonly begin: (handshake: Handshake) => void
  /** Gives back the handshake's place. Idempotent. */
  readonly secured: () => void
  /** Gives back everything. Idempotent. */
  readonly leave: () => void
}

/** A handshake that has said nothing for so long is silent; one that is younger may be a round trip away from its first byte. */
export const silentMs = 500

/** Each connection may take a second descriptor: `Expose` opens one to the service. */
const descriptorsPerConnection = 2

/** Descriptors that are no connections: standard streams, listeners, control streams, files, name look-ups. */
const reservedDescriptors = 64

interface Member {
  connections: number
  readonly handshakes: Set<Entry>
}

interface Entry {
  readonly member: Member
  readonly handshake: Handshake
  received: number
  /** When bytes were last seen to have come, or it began. */
  progressAt: number
}

/** Begins with nothing. `now` is in milliseconds, of a clock that is never set. */
export const make = (config: NodeConfigOptions, descriptors: number, now: () => number) => {
  const members = new Map<string, Member>()
  const byDescriptors = Math.max(1, Math.floor((descriptors - reservedDescriptors) / descriptorsPerConnection))
  const most = Math.min(config.maxInbound, byDescriptors)
  const shareOf = (count: number) => Math.max(1, Math.ceil(config.maxShareOfSource * count))
  const mostOf = {
    source: Math.min(config.maxInboundPerSource, Math.ceil(most / 2)),
    relay: shareOf(most)
  }
  let connections = 0
  let handshakes = 0

  const remove = (entry: Entry) => {
    if (entry.member.handshakes.delete(entry)) {
      handshakes--
    }
  }

  /**
   * Whom to give up of these, the newcomer excepted: the oldest of those that are silent, of the party that has most of
   * them; without any, the one that has made no progress for longest, of the party that has most handshakes.
   */
  const victim = (candidates: Iterable<Member>, newcomer: Entry) => {
    const time = now()
    const found = { silent: nobody, stalled: nobody }
    for (const member of candidates) {
      const entries = [...member.handshakes].filter((entry) => entry !== newcomer)
      for (const entry of entries) {
        const received = entry.handshake.received()
        if (received !== entry.received) {
          entry.received = received
          entry.progressAt = time
        }
      }
      const silent = entries.filter((entry) => entry.received === 0 && time - entry.progressAt >= silentMs)
      if (silent.length > found.silent.count) {
        found.silent = { count: silent.length, entry: silent[0] }
      }
      if (entries.length > found.stalled.count) {
        const stalled = entries.reduce((least, entry) => entry.progressAt < least.progressAt ? entry : least)
        found.stalled = { count: entries.length, entry: stalled }
      }
    }
    return found.silent.entry ?? found.stalled.entry
  }

  const begin = (member: Member, handshake: Handshake) => {
    const entry: Entry = { member, handshake, received: 0, progressAt: now() }
    member.handshakes.add(entry)
    handshakes++
    const given = member.handshakes.size > shareOf(config.maxHandshakes)
      ? victim([member], entry)
      : handshakes > config.maxHandshakes
      ? victim(members.values(), entry)
      : undefined
    if (given !== undefined) {
      remove(given)
      given.handshake.giveUp()
    }
    return entry
  }

  return {
    /** Takes a place, or tells why there is none. */
    enter: ({ kind, name }: Party): Place | Refusal => {
      const key = `${kind} ${name}`
      const member: Member = members.get(key) ?? { connections: 0, handshakes: new Set() }
      if (connections >= most) {
        return most < config.maxInbound ? "descriptors" : "maxInbound"
      }
      if (member.connections >= mostOf[kind]) {
        return kind === "source" ? "maxInboundPerSource" : "maxShareOfSource"
      }
      members.set(key, member)
      member.connections++
      connections++
      let entry: Entry | undefined
      let isOpen = true
      const secured = () => void (entry !== undefined && remove(entry))
      return {
        begin: (handshake) => {
          entry = begin(member, handshake)
        },
        secured,
        leave: () => {
          if (isOpen) {
            isOpen = false
            secured()
            connections--
            if (--member.connections === 0) {
              members.delete(key)
            }
          }
        }
      }
    },

    /** The places that are taken now. */
    counts: () => ({ connections, handshakes, parties: members.size }),

    /** How many of `count` places one party may have. */
    shareOf
  }
}

const nobody: { readonly count: number; readonly entry: Entry | undefined } = { count: 0, entry: undefined }
