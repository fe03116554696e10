/**
 * A call of a program that cannot be done as it was put.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category errors
 */
export class UsageError extends Schema.TaggedError<UsageError>("@tx3/cli/UsageError")("UsageError", {
  message: Schema.String
}) {}
