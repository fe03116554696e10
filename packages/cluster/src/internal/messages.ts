/**
 * What members say to each other, as JSON. A member ignores what it cannot read, and fields that it does not know: members of
 * two versions can be in one cluster.
 */
import { CertDigest } from "@tx3/protocol/CertDigest"
import { SpliceToken } from "@tx3/protocol/SpliceToken"
import { rejectionReasons } from "@tx3/relay/RelayError"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const Place = Schema.Struct({ host: Schema.String, port: Schema.Int })

/** Where links are accepted. */
export type Place = typeof Place.Type

/** Whose word it is, and which of its words: the first is 1. Who hears a number that does not follow has missed some. */
const head = { from: Schema.String, number: Schema.Int }

/** Told to all members. */
export const Word = Schema.Union(
  /** A member is there; it says so again and again. */
  Schema.TaggedStruct("Present", {
    ...head,
    link: Place,
    state: Schema.Literal("listening", "draining"),
    version: Schema.String
  }),
  Schema.TaggedStruct("Left", head),
  /** A node is registered with the member. Of two registrations of a node the one with the higher stamp stays. */
  Schema.TaggedStruct("Registered", { ...head, node: CertDigest, stamp: Schema.Number }),
  /** The member will end the control streams of these nodes. */
  Schema.TaggedStruct("Moving", { ...head, nodes: Schema.Array(CertDigest) })
)

export type Word = typeof Word.Type

/** A word before its head. */
export type Saying = Word extends infer W ? W extends Word ? Omit<W, "from" | "number"> : never : never

export const Question = Schema.Union(
  /** Which stamp does your registration of this node have? */
  Schema.TaggedStruct("Stamp", {}),
  /** Do you have what this preamble names, for a connection that comes from this address? */
  Schema.TaggedStruct("Find", { preamble: SpliceToken, address: Schema.String }),
  /** Carry this out for an operator who has asked the member `from`. */
  Schema.TaggedStruct("Order", { from: Schema.String, order: Schema.String })
)

export const Answer = Schema.Union(
  Schema.TaggedStruct("Stamped", { stamp: Schema.Number }),
  /** Its places are taken: connect there, and send the ticket first. The preamble is a node's digest (`isPeer`), or a token. */
  Schema.TaggedStruct("Ticket", { link: Place, ticket: Schema.String, isPeer: Schema.Boolean }),
  Schema.TaggedStruct("Refused", { reason: Schema.Literal(...rejectionReasons) }),
  /** The node is about to register elsewhere. */
  Schema.TaggedStruct("Moves", {}),
  /** What came of an order. */
  Schema.TaggedStruct("Ordered", { answer: Schema.String }),
  Schema.TaggedStruct("Unknown", {})
)

export type Answer = typeof Answer.Type

const codec = <A, I>(schema: Schema.Schema<A, I>) => {
  const text = Schema.parseJson(schema)
  const decode = Schema.decodeOption(text)
  return { encode: Schema.encodeSync(text), decode: (message: string) => Option.getOrUndefined(decode(message)) }
}

export const word = codec(Word)
export const question = codec(Question)
export const answer = codec(Answer)
