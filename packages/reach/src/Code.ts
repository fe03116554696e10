/**
 * A code that two people tell each other to meet, as `417923-crater-lemon`: a number, under which they find each other, and two
 * words, by which they know each other. A code is for one `Meeting`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { randomInt } from "node:crypto"

/**
 * A code. Who knows the number can stand in the way of the two; only who knows the words can take a place.
 *
 * @since 0.1.0
 * @category models
 */
export interface Code {
  readonly number: string
  readonly words: readonly [string, string]
}

/** The numbers there are: of six digits, of which the first is not 0. */
const least = 100_000
const max = 999_999

/**
 * Returns the words there are: 2048, which differ in their first four letters (the English list of BIP-39).
 *
 * @since 0.1.0
 * @category getters
 */
export const words: Effect.Effect<ReadonlyArray<string>> = Effect.map(
  Effect.promise(() => import("@scure/bip39/wordlists/english.js")),
  ({ wordlist }) => wordlist
)

/**
 * Returns a new code.
 *
 * @since 0.1.0
 * @category constructors
 */
export const generate: Effect.Effect<Code> = Effect.map(words, (words) => {
  const word = () => words[randomInt(words.length)]!
  return { number: String(randomInt(least, max + 1)), words: [word(), word()] }
})

/**
 * A text that is no code.
 *
 * @since 0.1.0
 * @category errors
 */
export class CodeError extends Schema.TaggedError<CodeError>("@tx3/reach/CodeError")("CodeError", {
  text: Schema.String,
  /** A word that no code has. */
  unknown: Schema.optional(Schema.String)
}) {
  override get message(): string {
    return this.unknown === undefined
      ? `${JSON.stringify(this.text)} is no code; a code has six digits and two words, as 417923-crater-lemon`
      : `no code has the word ${JSON.stringify(this.unknown)}; compare it with what the sender sees`
  }
}

/**
 * Tells whether a text is meant as a code: digits, alone or with words behind them.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isMeant = (text: string): boolean => /^\d{6}$|^\d+([\s.-]+\p{L}+)+$/u.test(text.trim())

/**
 * Reads a code, with hyphens, dots or blanks in it, in letters of any case.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = (text: string): Effect.Effect<Code, CodeError> =>
  Effect.gen(function*() {
    const [number, one, other, ...more] = text.trim().toLowerCase().split(/[\s.-]+/)
    if (number === undefined || !/^[1-9]\d{5}$/.test(number) || !one || !other || more.length > 0) {
      return yield* new CodeError({ text })
    }
    const known = yield* words
    const unknown = [one, other].find((word) => !known.includes(word))
    return unknown === undefined ? { number, words: [one, other] as const } : yield* new CodeError({ text, unknown })
  })

/**
 * Writes a code as people tell it.
 *
 * @since 0.1.0
 * @category conversions
 */
export const format = ({ number, words }: Code): string => [number, ...words].join("-")
