/**
 * Runs a plan: starts each subject when it is first measured, takes the steps in order, and collects what they give. A
 * subject that fails is told of, started again for its next step, and given up after the third time; the others go on.
 * Everything that was started ends with the scope.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { BenchError } from "./BenchError.js"
import type * as Figure from "./Figure.js"
import * as Measure from "./Measure.js"
import * as Plan from "./Plan.js"
import type * as Progress from "./Progress.js"
import * as Results from "./Results.js"
import * as Session from "./Session.js"
import * as Statistics from "./Statistics.js"
import type { Subject } from "./Subject.js"

const failuresAllowed = 3

const startSeconds = 1

/** A step may take four times its estimate, and this much more: the bound is for a step that hangs, not for a busy machine. */
const hangsAfterMs = 120_000

export interface Outcome {
  readonly figures: Results.Results["figures"]
  readonly failures: Results.Results["failures"]
}

/** Measures these subjects, and the programs of (h), with their files in `folder`. `makeProgress` is told how many seconds it will take. */
export const run = (
  settings: Plan.Settings,
  subjects: ReadonlyArray<Subject>,
  folder: string,
  makeProgress: (totalSeconds: number) => Progress.Progress
): Effect.Effect<Outcome, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const rounds = Array.from({ length: Plan.rounds(settings) }, (_, number) => Plan.round(settings, subjects, number))
    const warmUpMs = settings.warmUpSeconds * 1000
    const failures: Array<Results.Results["failures"][number]> = []
    const values = new Map<
      string,
      { readonly figure: Figure.Figure; readonly rounds: Map<string, Array<Array<number>>> }
    >()
    const sessions = new Map<
      Plan.Step["subject"],
      { readonly session: Session.Session; readonly scope: Scope.CloseableScope }
    >()

    const steps = rounds.flat()
    const lasting = new Set(steps.filter(({ fresh }) => !fresh).map(({ subject }) => subject))
    const progress = makeProgress(
      steps.reduce((sum, { seconds }) => sum + seconds, 0) + lasting.size * (startSeconds + 2 * warmUpMs / 1000)
    )

    /** The subject's lasting session, started if it is not there. */
    const lastingSession = (subject: Subject) =>
      Effect.gen(function*() {
        const existing = sessions.get(subject)
        if (existing !== undefined) {
          return existing.session
        }
        yield* progress.begin(`starting ${subject.name}`, startSeconds + 2 * warmUpMs / 1000)
        const own = yield* Scope.fork(scope, exitStrategy)
        const session = yield* Session.start(subject, folder).pipe(
          Scope.extend(own),
          Effect.tap((session) => Measure.warmUp(session, warmUpMs)),
          Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
        )
        sessions.set(subject, { session, scope: own })
        return session
      })

    const endSession = (subject: Plan.Step["subject"]) =>
      Effect.suspend(() => {
        const existing = sessions.get(subject)
        sessions.delete(subject)
        return existing === undefined ? Effect.void : Scope.close(existing.scope, Exit.void)
      })

    const inTime = (step: Plan.Step) =>
      Effect.timeoutFail({
        duration: step.seconds * 4_000 + hangsAfterMs,
        onTimeout: () => new BenchError({ message: "took far too long" })
      })

    const measure = (step: Plan.SubjectStep, session: Session.Session) =>
      step.measure(session).pipe(
        // What the load programs saw is often only that the subject has ended.
        Effect.catchAll((error) =>
          Effect.flatMap(
            session.ending,
            (ending) =>
              new BenchError({ message: ending ?? `${error.message}; its log: ${session.running.process.log}` })
          )
        ),
        inTime(step)
      )

    const take = (step: Plan.Step) =>
      "run" in step
        ? inTime(step)(step.run(folder))
        : step.fresh
        ? Effect.scoped(Effect.flatMap(Session.start(step.subject, folder), (session) => measure(step, session)))
        : Effect.flatMap(lastingSession(step.subject), (session) => measure(step, session))

    const record = (subject: Plan.Step["subject"], round: number, measured: Measure.Values) => {
      for (const [figure, value] of measured) {
        const entry = values.get(figure.id) ?? { figure, rounds: new Map<string, Array<Array<number>>>() }
        values.set(figure.id, entry)
        const own = entry.rounds.get(subject.name) ?? rounds.map(() => [])
        entry.rounds.set(subject.name, own)
        own[round]!.push(value)
      }
    }

    for (const [round, steps] of rounds.entries()) {
      for (const step of steps) {
        const { subject, what } = step
        if (failures.filter((failure) => failure.subject === subject.name).length >= failuresAllowed) {
          continue
        }
        const describe = `round ${round + 1} of ${rounds.length}, ${subject.name}: ${what}`
        yield* progress.begin(describe, step.seconds)
        const result = yield* Effect.either(take(step))
        if (result._tag === "Right") {
          record(subject, round, result.right)
        } else {
          const problem = result.left.message
          failures.push({ subject: subject.name, round: round + 1, what, problem })
          yield* progress.note(`${describe} failed: ${problem}`)
          yield* endSession(subject)
        }
      }
    }
    yield* progress.end

    return {
      failures,
      figures: Array.from(values.values(), ({ figure, rounds }) => ({
        ...figure,
        subjects: Object.fromEntries(
          Array.from(rounds, ([name, values]) => [
            name,
            // What a round measured several times counts with its median.
            Results.measured(values.map((repeated) => Statistics.median(repeated) ?? null))
          ])
        )
      }))
    }
  })

const exitStrategy = { _tag: "Sequential" } as const
