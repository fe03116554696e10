/**
 * Signs browsers in to a page: a code in the page's link is exchanged for a session, which requests bear. It keeps both in memory,
 * as their SHA-256 only: codes, each valid for one sign-in within a minute, and the sessions that came of them.
 *
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { createHash, randomBytes, timingSafeEqual } from "node:crypto"

/**
 * A code that signs no browser in: it has been used, or it is too old, or there never was such a code.
 *
 * @since 0.1.0
 * @category errors
 */
export class WrongCode extends Schema.TaggedError<WrongCode>()(
  "WrongCode",
  { message: Schema.String },
  HttpApiSchema.annotations({ status: 401 })
) {}

/**
 * More wrong codes came than are answered in this time.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooManyWrongCodes extends Schema.TaggedError<TooManyWrongCodes>()(
  "TooManyWrongCodes",
  { message: Schema.String },
  HttpApiSchema.annotations({ status: 429 })
) {}

/**
 * `POST /session`, which a page calls without a session: takes the code, once and within a minute, and gives a session.
 *
 * @since 0.1.0
 * @category endpoints
 */
export const endpoint = HttpApiEndpoint.post("session", "/session").setPayload(Schema.Struct({ code: Schema.String }))
  .addSuccess(Schema.Struct({ session: Schema.String, expiresInSeconds: Schema.Number }))
  .addError(WrongCode).addError(TooManyWrongCodes)

/**
 * How long a code can be used, in milliseconds.
 *
 * @since 0.1.0
 * @category constants
 */
export const codeMs = 60_000

/**
 * How long a session lasts, in milliseconds.
 *
 * @since 0.1.0
 * @category constants
 */
export const sessionMs = 24 * 3_600_000

/** Codes and sessions that there can be; one more ends the oldest. */
const codesMax = 16
const sessionsMax = 32
/** Wrong codes that are answered as such within `wrongCodesMs`. */
const wrongCodesMax = 10
const wrongCodesMs = 10_000

interface Entry {
  readonly hash: Buffer
  readonly expiresAt: number
}

/**
 * The codes and sessions of one program's page.
 *
 * @since 0.1.0
 * @category models
 */
export class PageSessions {
  private codes: ReadonlyArray<Entry> = []
  private sessions: ReadonlyArray<Entry> = []
  private wrongSince = -Infinity
  private wrong = 0

  constructor(private readonly monotonicMillis: () => number) {}

  /** A new code. */
  makeCode(): string {
    const [code, codes] = this.withNew(this.codes, codesMax, codeMs)
    this.codes = codes
    return code
  }

  /**
   * The session of a code, which is used up with it. The rate of wrong codes is limited, and their
   * sender is told. The limit does not apply to a right code, so wrong ones lock no user out. A code cannot be guessed.
   */
  exchange(code: string): { readonly session: string } | "wrong" | "tooManyWrong" {
    const entry = this.find(this.codes, code)
    if (entry !== undefined) {
      this.codes = this.codes.filter((other) => other !== entry)
      const [session, sessions] = this.withNew(this.sessions, sessionsMax, sessionMs)
      this.sessions = sessions
      return { session }
    }
    const now = this.monotonicMillis()
    if (now - this.wrongSince >= wrongCodesMs) {
      this.wrongSince = now
      this.wrong = 0
    }
    this.wrong += 1
    return this.wrong > wrongCodesMax ? "tooManyWrong" : "wrong"
  }

  /** Milliseconds that a session lasts yet, if there is one. */
  millisLeft(session: string): number | undefined {
    const entry = this.find(this.sessions, session)
    return entry && entry.expiresAt - this.monotonicMillis()
  }

  private withNew(entries: ReadonlyArray<Entry>, max: number, ms: number): readonly [string, ReadonlyArray<Entry>] {
    const secret = randomBytes(32).toString("base64url")
    const kept = this.live(entries).slice(-(max - 1))
    return [secret, [...kept, { hash: hashOf(secret), expiresAt: this.monotonicMillis() + ms }]]
  }

  private live(entries: ReadonlyArray<Entry>) {
    const now = this.monotonicMillis()
    return entries.filter(({ expiresAt }) => expiresAt > now)
  }

  private find(entries: ReadonlyArray<Entry>, secret: string) {
    const hash = hashOf(secret)
    return this.live(entries).find((entry) => timingSafeEqual(entry.hash, hash))
  }
}

const hashOf = (secret: string) => createHash("sha256").update(secret).digest()

/**
 * Answers {@link endpoint}. Errors name the command that prints a new link.
 *
 * @since 0.1.0
 * @category running
 */
export const signIn = (
  sessions: PageSessions,
  code: string,
  command: string
): Effect.Effect<
  { readonly session: string; readonly expiresInSeconds: number },
  WrongCode | TooManyWrongCodes
> =>
  Effect.gen(function*() {
    const exchanged = sessions.exchange(code)
    if (exchanged === "wrong") {
      return yield* new WrongCode({ message: `that link has been used, or is too old; run ${command}` })
    }
    if (exchanged === "tooManyWrong") {
      return yield* new TooManyWrongCodes({ message: `too many wrong codes; run ${command}` })
    }
    return { session: exchanged.session, expiresInSeconds: sessionMs / 1000 }
  })
