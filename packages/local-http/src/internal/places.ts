/**
 * The connections of one or several HTTP servers, bounded in all and for each source. A newcomer always gets a place while
 * another connection is idle or comes from a stranger: that one is closed, so that idle connections cannot keep the
 * operator out. It holds a connection from its accept until its close.
 */
import * as Source from "@tx3/protocol/Source"
import type * as Net from "node:net"

interface Place {
  /** The address that it counts to. None at a unix socket and on loopback, where all clients have one address. */
  readonly source: string | undefined
  /** Whether only its owner can come to the listener, as at a unix socket. */
  readonly isPrivate: boolean
  /** Requests that are not answered yet. */
  requests: number
  /** Whether its request has shown that it may stay. */
  isTrusted: boolean
}

export interface Limits {
  readonly max: number
  readonly maxPerSource: number
}

export class Places {
  /** The one that has been idle for longest comes first. */
  private readonly places = new Map<Net.Socket, Place>()

  constructor(private readonly limits: Limits) {}

  get size(): number {
    return this.places.size
  }

  /** Gives a connection a place until it closes, or closes it where no other may be closed for it. */
  enter(socket: Net.Socket, isPrivate: boolean): void {
    const source = isPrivate ? undefined : sourceOf(socket)
    const ofSource = source === undefined ? [] : this.those((place) => place.source === source)
    const hasPlace = ofSource.length >= this.limits.maxPerSource
      ? this.closeOneOf(ofSource)
      : this.places.size < this.limits.max || this.closeOneOf(Array.from(this.places))
    if (!hasPlace) {
      socket.destroy()
      return
    }
    this.places.set(socket, { source, isPrivate, requests: 0, isTrusted: isPrivate })
    socket.once("close", () => this.places.delete(socket))
  }

  /** A request has come; gives what is to be called when it is answered. */
  begin(socket: Net.Socket): () => void {
    const place = this.places.get(socket)
    if (place === undefined) {
      return () => {}
    }
    place.requests += 1
    return () => {
      place.requests -= 1
      place.isTrusted = place.isPrivate
      if (this.places.delete(socket)) {
        this.places.set(socket, place)
      }
    }
  }

  /** Keeps a connection until its request is answered. */
  trust(socket: Net.Socket): void {
    const place = this.places.get(socket)
    if (place !== undefined) {
      place.isTrusted = true
    }
  }

  private those(predicate: (place: Place) => boolean) {
    return Array.from(this.places).filter(([, place]) => predicate(place))
  }

  /** A stranger's first, then one that is idle; none that is being answered and may stay. */
  private closeOneOf(places: ReadonlyArray<readonly [Net.Socket, Place]>): boolean {
    const [socket] = places.find(([, { isTrusted }]) => !isTrusted) ??
      places.find(([, { requests }]) => requests === 0) ?? []
    if (socket === undefined) {
      return false
    }
    this.places.delete(socket)
    socket.destroy()
    return true
  }
}

const sourceOf = ({ remoteAddress = "" }: Net.Socket) =>
  remoteAddress === "" || /^(::ffff:)?127\.|^::1$/.test(remoteAddress) ? undefined : Source.fromAddress(remoteAddress)
