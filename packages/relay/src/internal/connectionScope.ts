/**
 * The scope of one connection: what was added last is given back first, and each once. It is an Effect `Scope`, so an effect can
 * acquire into it. A connection that needs no fiber adds to it and closes it by plain calls, which is most of what makes
 * a connection cheap.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Pipeable from "effect/Pipeable"
import * as Scope from "effect/Scope"
import { outcomeOf } from "./outcome.js"

/** A place of the limiter. It is kept as it is: a finalizer around it would be another closure for each connection. */
interface Place {
  readonly giveBack: () => void
}

export class ConnectionScope implements Scope.CloseableScope {
  readonly [Scope.ScopeTypeId]: typeof Scope.ScopeTypeId = Scope.ScopeTypeId
  readonly [Scope.CloseableScopeTypeId]: typeof Scope.CloseableScopeTypeId = Scope.CloseableScopeTypeId
  readonly strategy = ExecutionStrategy.sequential
  private readonly finalizers: Array<Scope.Scope.Finalizer | Place> = []
  private closedWith: Exit.Exit<unknown, unknown> | undefined

  /** Adds to a scope that is open. */
  add(finalizer: Scope.Scope.Finalizer | Place) {
    if (this.closedWith !== undefined) {
      throw new Error("a connection takes something after it has been closed")
    }
    this.finalizers.push(finalizer)
  }

  /** Adds a place of the limiter, unless it is the reason why there is none. */
  hold<A extends Place | string>(place: A): A {
    if (typeof place !== "string") {
      this.add(place)
    }
    return place
  }

  addFinalizer(finalizer: Scope.Scope.Finalizer): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.closedWith !== undefined) {
        return Effect.asVoid(finalizer(this.closedWith))
      }
      this.add(finalizer)
      return Effect.void
    })
  }

  fork(strategy: ExecutionStrategy.ExecutionStrategy): Effect.Effect<Scope.CloseableScope> {
    return Effect.tap(Scope.make(strategy), (child) => {
      const close: Scope.Scope.Finalizer = (exit) => Scope.close(child, exit)
      const leave = Effect.sync(() => {
        const index = this.finalizers.indexOf(close)
        if (index >= 0) {
          this.finalizers.splice(index, 1)
        }
      })
      return Effect.zipRight(this.addFinalizer(close), Scope.addFinalizer(child, leave))
    })
  }

  close(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.suspend(() => this.closeNow(exit))
  }

  /**
   * Gives back as much as it can in this step. It returns `Exit.void` if that was all and nothing failed, and otherwise the
   * effect that gives back the rest, and fails with what failed.
   */
  closeNow(exit: Exit.Exit<unknown, unknown> = Exit.void): Effect.Effect<void> {
    if (this.closedWith !== undefined) {
      return Exit.void
    }
    this.closedWith = exit
    return this.giveBack(exit, Exit.void)
  }

  private giveBack(exit: Exit.Exit<unknown, unknown>, outcome: Exit.Exit<void>): Effect.Effect<void> {
    for (let finalizer; (finalizer = this.finalizers.pop()) !== undefined;) {
      const given = call(finalizer, exit)
      const ended = outcomeOf(given)
      if (ended === undefined) {
        return Effect.flatMap(Effect.exit(given), (ended) => this.giveBack(exit, both(outcome, ended)))
      }
      outcome = both(outcome, ended)
    }
    return outcome
  }

  pipe() {
    // eslint-disable-next-line prefer-rest-params
    return Pipeable.pipeArguments(this, arguments)
  }
}

const call = (finalizer: Scope.Scope.Finalizer | Place, exit: Exit.Exit<unknown, unknown>): Effect.Effect<unknown> => {
  try {
    if (typeof finalizer === "function") {
      return finalizer(exit)
    }
    finalizer.giveBack()
    return Exit.void
  } catch (defect) {
    return Exit.die(defect)
  }
}

const both = (first: Exit.Exit<void>, second: Exit.Exit<unknown>): Exit.Exit<void> =>
  Exit.isSuccess(second)
    ? first
    : Exit.isSuccess(first)
    ? Exit.asVoid(second)
    : Exit.failCause(Cause.sequential(first.cause, second.cause))
