/**
 * Why a command with --everywhere fails after it has told what came of it at each member.
 */
import * as Data from "effect/Data"

/** A member has not done it, or has not said so. */
export class NotEverywhere extends Data.TaggedError("NotEverywhere")<{ readonly message: string }> {}
