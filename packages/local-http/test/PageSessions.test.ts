import { assert, describe, it } from "@effect/vitest"
import { codeMs, PageSessions, sessionMs } from "@tx3/local-http/PageSessions"

/** At a time of the test's choice. */
const make = () => {
  const clock = { ms: 1000 }
  const sessions = new PageSessions(() => clock.ms)
  const signIn = () => {
    const exchanged = sessions.exchange(sessions.makeCode())
    return typeof exchanged === "string" ? assert.fail(exchanged) : exchanged.session
  }
  return { clock, sessions, signIn }
}

describe("PageSessions", () => {
  it("a code signs in once", () => {
    const { sessions } = make()
    const code = sessions.makeCode()
    const exchanged = sessions.exchange(code)
    assert.isObject(exchanged)
    assert.strictEqual(sessions.exchange(code), "wrong")
    assert.strictEqual(sessions.millisLeft((exchanged as { session: string }).session), sessionMs)
    assert.isUndefined(sessions.millisLeft(code))
  })

  it("a code is good for a minute, a session for a day", () => {
    const { clock, sessions, signIn } = make()
    const [early, late] = [sessions.makeCode(), sessions.makeCode()]
    clock.ms += codeMs - 1
    assert.isObject(sessions.exchange(early))
    clock.ms += 1
    assert.strictEqual(sessions.exchange(late), "wrong")
    const session = signIn()
    clock.ms += sessionMs - 1
    assert.strictEqual(sessions.millisLeft(session), 1)
    clock.ms += 1
    assert.isUndefined(sessions.millisLeft(session))
  })

  it("no two codes are alike, and none is a session", () => {
    const { sessions, signIn } = make()
    const secrets = Array.from({ length: 8 }, () => [sessions.makeCode(), signIn()]).flat()
    assert.strictEqual(new Set(secrets).size, 16)
    secrets.forEach((secret) => assert.match(secret, /^[\w-]{43}$/))
    assert.strictEqual(sessions.exchange(""), "wrong")
    assert.isUndefined(sessions.millisLeft(""))
  })

  it("codes and sessions are bounded: one more ends the oldest", () => {
    const { sessions, signIn } = make()
    const codes = Array.from({ length: 17 }, () => sessions.makeCode())
    assert.strictEqual(sessions.exchange(codes[0]!), "wrong")
    assert.isObject(sessions.exchange(codes[1]!))
    const signedIn = Array.from({ length: 33 }, signIn)
    assert.isUndefined(sessions.millisLeft(signedIn[0]!))
    signedIn.slice(1).forEach((session) => assert.isDefined(sessions.millisLeft(session)))
  })

  it("ten wrong codes in ten seconds are answered as such, and none of them keeps a right one out", () => {
    const { clock, sessions } = make()
    const wrong = (times: number) => Array.from({ length: times }, () => sessions.exchange("wrong"))
    assert.deepStrictEqual(wrong(10), Array(10).fill("wrong"))
    assert.deepStrictEqual(wrong(5), Array(5).fill("tooManyWrong"))
    assert.isObject(sessions.exchange(sessions.makeCode()))
    clock.ms += 10_000
    assert.deepStrictEqual(wrong(1), ["wrong"])
  })
})
