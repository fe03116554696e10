/**
 * Why an operator's action did nothing.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * No node, splice or ban has that name.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { message: Schema.String }) {}

/**
 * The request cannot be done as it was put.
 *
 * @since 0.1.0
 * @category errors
 */
export class Refused extends Schema.TaggedError<Refused>()("Refused", { message: Schema.String }) {}
