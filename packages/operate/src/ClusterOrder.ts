/**
 * What an operator wants of all members of a cluster, and what came of it at each. The member that is asked carries it out itself
 * and passes it on; only members can pass on orders, as only they can use NATS.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/** A digest has 43 characters, an IPv6 range fewer. */
const whoMax = 64

/**
 * An action for every member.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ClusterOrder = Schema.Struct({
  action: Schema.Literal("kick", "ban", "unban"),
  /** The whole digest of a node; to ban and to unban also an address or a range. */
  who: Schema.String.pipe(Schema.maxLength(whoMax))
})

/**
 * As {@link ClusterOrder} decodes it.
 *
 * @since 0.1.0
 * @category models
 */
export type ClusterOrder = typeof ClusterOrder.Type

const Outcome = Schema.Struct({
  /** `notThere`: the member has no such node, or no such ban. `refused`: it did nothing, and `message` says why. */
  outcome: Schema.Literal("done", "notThere", "refused", "noAnswer"),
  /** The connections that it ended. */
  ended: Schema.NonNegativeInt,
  message: Schema.String
})

/**
 * What came of an order at one member.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome = typeof Outcome.Type

/**
 * The same, with which member that is.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AtMember = Schema.Struct({
  member: Schema.String,
  /** Where it accepts links, HOST:PORT. */
  link: Schema.String,
  ...Outcome.fields
})

/**
 * As {@link AtMember} decodes it.
 *
 * @since 0.1.0
 * @category models
 */
export type AtMember = typeof AtMember.Type

const order = Schema.parseJson(ClusterOrder)
const outcome = Schema.parseJson(Outcome)
const decodeOrder = Schema.decodeOption(order)
const decodeOutcome = Schema.decodeOption(outcome)

/**
 * The text of an order between members.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode: (order: ClusterOrder) => string = Schema.encodeSync(order)

/**
 * The text of an outcome between members.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encodeOutcome: (outcome: Outcome) => string = Schema.encodeSync(outcome)

/**
 * Reads an order of another member. None: this version does not know it.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (text: string): Option.Option<ClusterOrder> => decodeOrder(text)

/**
 * Reads what another member says has come of an order; undefined: it did not answer in time.
 *
 * @since 0.1.0
 * @category decoding
 */
export const outcomeOf = (answer: string | undefined): Outcome =>
  answer === undefined
    ? { outcome: "noAnswer", ended: 0, message: "no answer in time; it may have done it" }
    : Option.getOrElse(decodeOutcome(answer), (): Outcome => unknownOrder)

/**
 * Of a member that does not know an order.
 *
 * @since 0.1.0
 * @category constants
 */
export const unknownOrder: Outcome = {
  outcome: "refused",
  ended: 0,
  message: "it does not know this action; its version is older"
}
