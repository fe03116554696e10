import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, ExecutionStrategy, Exit, Fiber, Scope } from "effect"
import { ConnectionScope } from "../src/internal/connectionScope.js"

/** What every scope of Effect does, tried on Effect's own and on that of a connection. */
const makers: ReadonlyArray<readonly [string, Effect.Effect<Scope.CloseableScope>]> = [
  ["Effect's", Scope.make()],
  ["a connection's", Effect.sync(() => new ConnectionScope())]
]

for (const [name, make] of makers) {
  describe(`a scope: ${name}`, () => {
    const recording = Effect.map(make, (scope) => {
      const log: Array<string> = []
      const note = (text: string) => Effect.sync(() => log.push(text))
      return { log, note, scope }
    })

    it.effect("gives back in the opposite order, once, and tells each with which exit", () =>
      Effect.gen(function*() {
        const { log, note, scope } = yield* recording
        for (const key of ["a", "b", "c"]) {
          yield* Scope.addFinalizerExit(scope, (exit) => note(`${key} ${Exit.isFailure(exit)}`))
        }
        yield* Scope.close(scope, Exit.fail("why"))
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(log, ["c true", "b true", "a true"])
      }))

    it.effect("gives back at once what is added after it was closed", () =>
      Effect.gen(function*() {
        const { log, note, scope } = yield* recording
        yield* Scope.close(scope, Exit.fail("why"))
        yield* Scope.addFinalizerExit(scope, (exit) => note(String(Exit.isFailure(exit))))
        assert.deepStrictEqual(log, ["true"])
      }))

    it.effect("gives back all, and fails with all that failed, in order", () =>
      Effect.gen(function*() {
        const { log, note, scope } = yield* recording
        yield* Scope.addFinalizer(scope, Effect.zipRight(note("a"), Effect.die("first added")))
        yield* Scope.addFinalizer(scope, note("b"))
        yield* Scope.addFinalizer(scope, Effect.die("last added"))
        const exit = yield* Effect.exit(Scope.close(scope, Exit.void))
        assert.deepStrictEqual(log, ["b", "a"])
        assert.isTrue(Exit.isFailure(exit))
        assert.deepStrictEqual(
          Array.from(Cause.defects(Exit.isFailure(exit) ? exit.cause : Cause.empty)),
          ["last added", "first added"]
        )
      }))

    it.effect("waits for one before it gives back the next, and a second close does not wait", () =>
      Effect.gen(function*() {
        const { log, note, scope } = yield* recording
        const free = yield* Deferred.make<void>()
        yield* Scope.addFinalizer(scope, note("a"))
        yield* Scope.addFinalizer(scope, Effect.zipRight(Deferred.await(free), note("b")))
        yield* Scope.addFinalizer(scope, note("c"))
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* Effect.yieldNow()
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(log, ["c"])
        yield* Deferred.succeed(free, undefined)
        yield* Fiber.join(closing)
        assert.deepStrictEqual(log, ["c", "b", "a"])
      }))

    it.effect("closes what was forked from it, which leaves it when it closes by itself", () =>
      Effect.gen(function*() {
        const { log, note, scope } = yield* recording
        yield* Scope.addFinalizer(scope, note("parent"))
        const [first, second] = yield* Effect.all([
          Scope.fork(scope, ExecutionStrategy.sequential),
          Scope.fork(scope, ExecutionStrategy.sequential)
        ])
        yield* Scope.addFinalizer(first, note("first"))
        yield* Scope.addFinalizer(second, note("second"))
        yield* Scope.close(first, Exit.void)
        assert.deepStrictEqual(log, ["first"])
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(log, ["first", "second", "parent"])
        const late = yield* Scope.fork(scope, ExecutionStrategy.sequential)
        yield* Scope.addFinalizer(late, note("late"))
        assert.deepStrictEqual(log.at(-1), "late")
      }))

    it.effect("holds what effects acquire", () =>
      Effect.gen(function*() {
        const { log, note, scope } = yield* recording
        const value = yield* Scope.extend(Effect.acquireRelease(Effect.succeed(1), (n) => note(`released ${n}`)), scope)
        assert.strictEqual(value, 1)
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(log, ["released 1"])
      }))
  })
}

describe("ConnectionScope", () => {
  it("closes without a fiber as far as it can, and gives back the rest in the effect that it returns", async () => {
    const log: Array<string> = []
    const scope = new ConnectionScope()
    const note = (text: string) => () => {
      log.push(text)
      return Effect.void
    }
    scope.add(note("a"))
    scope.add(() => Effect.zipRight(Effect.yieldNow(), Effect.sync(() => log.push("waited"))))
    scope.add(note("b"))
    const rest = scope.closeNow()
    assert.deepStrictEqual(log, ["b"])
    assert.strictEqual(scope.closeNow(), Exit.void)
    await Effect.runPromise(rest)
    assert.deepStrictEqual(log, ["b", "waited", "a"])
  })

  it("returns Exit.void where nothing is left, and what failed otherwise", () => {
    const empty = new ConnectionScope()
    assert.strictEqual(empty.closeNow(), Exit.void)
    const failing = new ConnectionScope()
    let given = 0
    failing.add(() => Effect.sync(() => given++))
    failing.add(() => {
      throw "thrown"
    })
    // Effect's own scope gives back nothing more once a finalizer throws.
    const exit = Effect.runSyncExit(failing.closeNow())
    assert.strictEqual(given, 1)
    assert.deepStrictEqual(exit, Exit.die("thrown"))
  })

  it("holds a place, and passes on the reason why there is none", () => {
    const scope = new ConnectionScope()
    let given = 0
    const place = { giveBack: () => given++ }
    assert.strictEqual(scope.hold(place), place)
    assert.strictEqual(scope.hold("maxInboundPerIp"), "maxInboundPerIp")
    assert.strictEqual(scope.closeNow(), Exit.void)
    assert.strictEqual(given, 1)
  })

  it("takes nothing once it is closed", () => {
    const scope = new ConnectionScope()
    assert.strictEqual(scope.closeNow(), Exit.void)
    assert.throws(() => scope.add(() => Effect.void), "after it has been closed")
  })
})
