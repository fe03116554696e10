/**
 * Keeps the sign-ins of the operator's page in memory: codes, each valid for one sign-in within a minute, and the sessions that
 * came of them. It keeps only their SHA-256.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto"

/** Milliseconds in which a code must be used. */
export const codeMs = 60_000
/** Milliseconds that a session lasts. */
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
   * sender is told. The limit does not apply to a right code, so wrong ones lock no operator out. A code cannot be guessed.
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
