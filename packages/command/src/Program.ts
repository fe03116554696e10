/**
 * Runs a program of this project: it takes the arguments, gives the exit code, and writes results to stdout and everything
 * else to stderr. It runs one command to its end. SIGINT, SIGTERM and a closed stdout interrupt the command, and its finalizers
 * run. A second signal ends the process at once.
 *
 * @since 0.1.0
 */
import type * as CliApp from "@effect/cli/CliApp"
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { OutputError } from "@tx3/files/OutputError"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as os from "node:os"
import * as Util from "node:util"
import * as Help from "./Help.js"
import * as CommandLine from "./internal/commandLine.js"
import { mended } from "./internal/completions.js"
import { layer as terminal } from "./internal/terminal.js"
import { printable, printableLines } from "./Printable.js"
import { withSeparateValues } from "./Repeatable.js"
import { UsageError } from "./UsageError.js"
import * as Version from "./Version.js"

/** The exit codes, which the help of both programs lists. */
const done = 0
const failed = 1
const calledWrongly = 2
/** The exit code of a program that a signal ended, as shells have it. */
const endedBy = (signal: NodeJS.Signals) => 128 + os.constants.signals[signal]

/** How long a signal may come again as its own echo. */
const signalEchoMs = 300

/** How often the parent is looked for. */
const parentEveryMs = 1_000

/** npx starts a program through a shell, and a signal that ends npx ends the shell, but does not reach the program. */
const endWithParent = () => {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid !== parent) {
      clearInterval(timer)
      process.kill(process.pid, "SIGTERM")
    }
  }, parentEveryMs).unref()
}

/** Whether the command does its work when its stdout fails. Others end then: what they print is what they are for. */
let goesOnWithoutStdout = false

/**
 * Lets the command go on when stdout fails, from now on and until the process ends: a relay serves without it.
 *
 * @since 0.1.0
 * @category running
 */
export const goOnWithoutStdout: Effect.Effect<void> = Effect.sync(() => {
  goesOnWithoutStdout = true
})

/**
 * An error with a message for people.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reportable {
  readonly _tag: string
  readonly message: string
}

/**
 * Returns what runs a command with a process's arguments, the first two being node and the script. `more` is what its help says
 * beyond what @effect/cli knows.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cli = <Name extends string, R, E, A>(
  command: Command.Command<Name, R, E, A>,
  build: Version.Build,
  more: ReadonlyArray<Help.Section> = []
) =>
(argv: ReadonlyArray<string>): Effect.Effect<void, E | UsageError, CliApp.CliApp.Environment | R> =>
  Effect.gen(function*() {
    const [node, script, ...given] = argv as [string, string, ...Array<string>]
    const { args, isHelpAsked, words } = yield* CommandLine.read(command, build.name, given)
    if (isHelpAsked) {
      const help = CommandLine.helpOf(command, words)
      return yield* Console.log(Help.render(help, words.length === 1 ? [...builtIn, ...more] : []))
    }
    const console = yield* Effect.console
    const run = Command.run(Command.transformHandler(command, Effect.withConsole(console)), {
      name: build.name,
      version: args.includes("--version") ? Version.text(build) : build.version
    })
    return yield* run([node, script, ...args]).pipe(
      // @effect/cli says on stderr what is wrong with the arguments, without the program's name, the place or the remedy.
      Effect.withConsole({ ...console, error: () => Effect.void }),
      Effect.catchIf(ValidationError.isValidationError, ({ error }) => {
        const problem = CommandLine.problemIn(HelpDoc.toAnsiText(error))
        const { usage } = CommandLine.helpOf(command, words)
        return new UsageError({ message: `${problem}\nusage: ${usage}\n${words.join(" ")} --help says more` })
      })
    )
  })

/** The options that every program takes. */
const builtIn: ReadonlyArray<Help.Section> = [{
  title: "WITH EVERY COMMAND",
  items: [
    { term: "-h, --help", text: "Print what the command does and takes" },
    { term: "--version", text: "Print the version, its commit and what it runs on" },
    {
      term: "--log-level LEVEL",
      text: "Print log messages of this level and above: all, trace, debug, info, warning, error, fatal, none"
    },
    { term: "--completions SHELL", text: "Print completions for bash, zsh, fish or sh" }
  ]
}]

/** The services that the commands of a program need. */
const environment = Layer.mergeAll(
  NodeFileSystem.layer,
  NodePath.layer,
  terminal,
  CliConfig.layer({ showBuiltIns: false })
)

/**
 * Returns what a program prints on a terminal for these arguments. Bundles have it in store for `--help`.
 *
 * @since 0.1.0
 * @category running
 */
export const printed = <E>(
  cli: (argv: ReadonlyArray<string>) => Effect.Effect<void, E, CliApp.CliApp.Environment>,
  args: ReadonlyArray<string>
): Effect.Effect<string, E> => {
  let text = ""
  return Console.consoleWith((console) =>
    Effect.withConsole(cli(["node", "program", ...args]), {
      ...console,
      log: (...more) =>
        Effect.sync(() => {
          text += more.join(" ")
        })
    })
  ).pipe(Effect.map(() => text), Effect.provide(environment))
}

/**
 * Runs a program's command to its end, and ends the process with its exit code.
 *
 * @since 0.1.0
 * @category running
 */
export const run = <E extends Reportable>(options: {
  readonly name: string
  /** A service does what it was started for until a signal ends it. */
  readonly isService: boolean
  /** The level of the log without --log-level. */
  readonly logLevel: LogLevel.LogLevel
  /** Tags of the errors which mean that the program was called or configured wrongly. */
  readonly usageErrors: ReadonlyArray<string>
  /** The words of codes, which completions hold. It runs only for those. */
  readonly codeWords?: Effect.Effect<ReadonlyArray<string>>
  readonly cli: (
    argv: ReadonlyArray<string>
  ) => Effect.Effect<void, E, CliApp.CliApp.Environment>
}): void => {
  const { isService, name, usageErrors } = options

  const report = (cause: Cause.Cause<E | UsageError>): Effect.Effect<number> => {
    const failure = Option.getOrUndefined(Cause.failureOption(cause))
    if (failure === undefined) {
      return Effect.as(Console.error(`${name}: a bug, please report it:\n${Cause.pretty(cause)}`), failed)
    }
    return Effect.as(
      Console.error(printableLines(`${name}: ${failure.message}`)),
      usageErrors.includes(failure._tag) ? calledWrongly : failed
    )
  }

  let codeOfInterruption = done
  let hasToldOfStdout = false
  const onSignal = (signal: NodeJS.Signals) => {
    codeOfInterruption = isService ? done : endedBy(signal)
    // A second signal ends the program, but not the same one again: npm and npx pass on what the terminal sent already.
    setTimeout(() => process.off("SIGINT", onSignal).off("SIGTERM", onSignal), signalEchoMs).unref()
  }
  const watch = Effect.withFiberRuntime<void>((fiber) => {
    process.on("SIGINT", onSignal).on("SIGTERM", onSignal)
    if (isService && !process.stdin.isTTY) {
      // A SIGHUP asks for a reload. It must not end a program that starts or stops.
      process.on("SIGHUP", () => {})
    }
    if (process.env["npm_lifecycle_event"] === "npx") {
      endWithParent()
    }
    process.stdout.on("error", (cause) => {
      const error = new OutputError({ cause })
      if (goesOnWithoutStdout) {
        if (!error.isClosed && !hasToldOfStdout) {
          hasToldOfStdout = true
          process.stderr.write(`${name}: ${error.message}; going on without it\n`)
        }
        return
      }
      if (!error.isClosed) {
        process.stderr.write(`${name}: ${error.message}\n`)
      }
      // As by SIGPIPE, which Windows does not have.
      codeOfInterruption = error.isClosed ? 141 : failed
      fiber.unsafeInterruptAsFork(fiber.id())
    })
    // A message that cannot be written must not end the program.
    process.stderr.on("error", () => {})
    return Effect.void
  })

  watch.pipe(
    Effect.zipRight(withSeparateValues(process.argv)),
    Effect.flatMap(options.cli),
    Effect.zipLeft(stdoutTaken),
    Effect.as(done),
    Effect.catchAllCause((cause) => Cause.isInterruptedOnly(cause) ? Effect.interrupt : report(cause)),
    (effect) => withPlainConsole(effect, options.codeWords ?? Effect.succeed([])),
    Logger.withMinimumLogLevel(options.logLevel),
    Effect.provide([stderrLogger, environment]),
    NodeRuntime.runMain({
      disableErrorReporting: true,
      disablePrettyLogger: true,
      teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? Number(exit.value) : codeOfInterruption)
    })
  )
}

/**
 * Runs an action for each SIGHUP until the scope closes; several that come while it runs are one. In a terminal the
 * signal means that the terminal is gone, and ends the program.
 *
 * @since 0.1.0
 * @category running
 */
export const onHangUp = <E>(action: Effect.Effect<unknown, E>): Effect.Effect<void, never, Scope.Scope> =>
  process.stdin.isTTY
    ? Effect.void
    : Stream.asyncPush<void>((emit) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const listener = () => emit.single()
          process.on("SIGHUP", listener)
          return listener
        }),
        (listener) => Effect.sync(() => process.off("SIGHUP", listener))
      ), { bufferSize: 1, strategy: "sliding" }).pipe(
        // The action has logged its failure. A defect in it must not end the handling of signals.
        Stream.runForEach(() => Effect.exit(action)),
        Effect.forkScoped,
        Effect.asVoid
      )

const stderrLogger = Logger.replace(
  Logger.defaultLogger,
  process.stderr.isTTY
    ? Logger.prettyLogger({ stderr: true })
    : Logger.withConsoleError(Logger.map(Logger.logfmtLogger, printable))
)

/** Waits until all of stdout is written, or its failure is known. */
const stdoutTaken = Effect.async<void>((resume) => {
  process.stdout.write("", () => setImmediate(() => resume(Effect.void)))
})

/** @effect/cli colours all it prints; only a terminal gets it so. */
const withPlainConsole = <A, E, R>(effect: Effect.Effect<A, E, R>, codeWords: Effect.Effect<ReadonlyArray<string>>) =>
  Console.consoleWith((console) =>
    Effect.withConsole(effect, {
      ...console,
      log: (...texts) =>
        process.stdout.isTTY
          ? console.log(...texts)
          : Effect.flatMap(Effect.forEach(texts.map(plain), mended(codeWords)), (texts) => console.log(...texts)),
      error: (...texts) => console.error(...process.stderr.isTTY ? texts : texts.map(plain))
    })
  )

const plain = (text: unknown) => typeof text === "string" ? Util.stripVTControlCharacters(text) : text
