/**
 * A call of a program that cannot be done as it was put.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The arguments cannot be used together as they are. The message names the remedy.
 *
 * @since 0.1.0
 * @category errors
 */
export class UsageError extends Schema.TaggedError<UsageError>("@tx3/command/UsageError")("UsageError", {
  message: Schema.String
}) {}
