/**
 * CPace (draft-irtf-cfrg-cpace-21) over ristretto255 with SHA-512, between an initiator and a responder: two parties that have the
 * same password get the same key, and a party that has another has one guess, which it makes by taking part. It owns nothing, and
 * each run has a new secret.
 */
import { ristretto255, ristretto255_hasher } from "@noble/curves/ed25519.js"
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto"

type Point = typeof ristretto255.Point.BASE

/** Bytes of a share, and of a tag. */
export const shareBytes = 32
export const tagBytes = 64

const domain = "CPaceRistretto255"
/** Bytes that SHA-512 takes at a time. */
const hashInputBytes = 128

/** Adds the length of some bytes in front of them, as LEB128. */
export const withLength = (bytes: Uint8Array): Buffer => {
  const length: Array<number> = []
  let rest = bytes.length
  do {
    length.push(rest & 0x7f | (rest > 0x7f ? 0x80 : 0))
    rest >>= 7
  } while (rest > 0)
  return Buffer.concat([Buffer.from(length), bytes])
}

/** Joins strings of bytes so that no others join to the same. */
export const joined = (...strings: ReadonlyArray<Uint8Array | string>): Buffer =>
  Buffer.concat(strings.map((bytes) => withLength(typeof bytes === "string" ? Buffer.from(bytes) : bytes)))

/** What both parties must have the same of. */
export interface Inputs {
  /** The secret that a person can say: PRS. */
  readonly password: Uint8Array
  /** What the run is for, and between whom: CI. */
  readonly channel: Uint8Array
  /** What is never the same in two runs: sid. */
  readonly session: Uint8Array
}

/** The string that the generator is made of. */
export const generatorString = ({ channel, password, session }: Inputs): Buffer => {
  const padding = Math.max(0, hashInputBytes - 1 - withLength(password).length - joined(domain).length)
  return joined(domain, password, Buffer.alloc(padding), channel, session)
}

const sha512 = (...parts: ReadonlyArray<Uint8Array>) => createHash("sha512").update(Buffer.concat(parts)).digest()

/** The generator of a run's group, which nobody knows without the password. */
export const generator = (inputs: Inputs): Point =>
  ristretto255_hasher.deriveToCurve!(sha512(generatorString(inputs))) as Point

/** A point that a party may send: not the neutral element, and in its only encoding. */
export const pointIn = (share: Uint8Array): Point | undefined => {
  try {
    const point = ristretto255.Point.fromBytes(share)
    return point.is0() ? undefined : point
  } catch {
    return undefined
  }
}

/** A number of 252 bits in little-endian order. */
const scalarIn = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`)

const sampled = (): Uint8Array => {
  const bytes = randomBytes(shareBytes)
  bytes[31]! &= 0x0f
  return bytes
}

/** Which party it is. The initiator's share is the first. */
export type Role = "initiator" | "responder"

/** One run of one party, which has made its share. */
export interface Run {
  readonly share: Uint8Array
  /** Takes the other party's share. Undefined where it is none, and the run is over. */
  readonly finish: (theirs: Uint8Array) => Key | undefined
}

/** What a party has when it has both shares. */
export interface Key {
  /** The intermediate session key. */
  readonly isk: Uint8Array
  /** Proves to the other party that this one has the key. */
  readonly tag: Uint8Array
  /** Whether this is the other party's proof. */
  readonly isTag: (tag: Uint8Array) => boolean
}

/**
 * Begins a run. `data` is what each party says of itself with its share (ADa, ADb). Its default tells the parties apart: without
 * that, a party that is sent back its own share and its own tag takes itself for the other.
 */
export const begin = (
  role: Role,
  inputs: Inputs,
  data: Readonly<Record<Role, string>> = { initiator: "initiator", responder: "responder" },
  secret = sampled()
): Run => {
  const scalar = scalarIn(secret)
  const share = Buffer.from(generator(inputs).multiply(scalar).toBytes())
  return {
    share,
    finish: (theirs) => {
      const point = pointIn(theirs)
      if (point === undefined) {
        return undefined
      }
      const shares = role === "initiator"
        ? { initiator: share, responder: theirs }
        : { initiator: theirs, responder: share }
      const said = (role: Role) => joined(shares[role], data[role])
      const secretPoint = point.multiply(scalar).toBytes()
      const isk = sha512(joined(`${domain}_ISK`, inputs.session, secretPoint), said("initiator"), said("responder"))
      const macKey = sha512(Buffer.from("CPaceMac"), inputs.session, isk)
      const tagOf = (role: Role) => createHmac("sha512", macKey).update(said(role)).digest()
      const other = role === "initiator" ? "responder" : "initiator"
      return {
        isk,
        tag: tagOf(role),
        isTag: (tag) => tag.length === tagBytes && timingSafeEqual(tag, tagOf(other))
      }
    }
  }
}
