/**
 * A program as a service that starts by itself: the unit of systemd or the job of launchd that runs it, its installation, its
 * removal, and its state. A file is replaced or removed only if it is as this module wrote it, which its last line proves. It owns
 * nothing; what it writes stays until it is uninstalled.
 *
 * @since 0.1.0
 */
import { isOneFile } from "@tx3/sockets/Executable"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { UsageError } from "./UsageError.js"

/**
 * Whose service it is: one of the whole machine, which root installs, or one of a user.
 *
 * @since 0.1.0
 * @category models
 */
export type Scope = "system" | "user"

/**
 * A command as a service. `args` are those of the program `program`, `name` is the unit's, and `unit` is the text of the unit
 * that runs a command line of systemd.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly name: string
  readonly program: string
  readonly args: ReadonlyArray<string>
  readonly unit: (command: (args: ReadonlyArray<string>) => string) => string
}

/**
 * The machine: what a service is installed into. {@link here} is this one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Machine {
  readonly platform: NodeJS.Platform
  readonly uid: number
  readonly home: string
  readonly configHome: string | undefined
  /** Node, or the program where it is one file. */
  readonly executable: string
  /** The script that Node runs; undefined where the program is one file. */
  readonly script: string | undefined
  /** The folder that all files of a service of the system are in. */
  readonly root: string
}

/**
 * Returns this machine.
 *
 * @since 0.1.0
 * @category constructors
 */
export const here = (): Machine => ({
  platform: process.platform,
  uid: process.getuid?.() ?? 0,
  home: homedir(),
  configHome: process.env["XDG_CONFIG_HOME"],
  executable: process.execPath,
  script: isOneFile() ? undefined : process.argv[1],
  root: "/"
})

/** Folders from which a package manager runs a program once, and which it empties. */
const cache = /[\\/](_npx|dlx-[^\\/]*|bunx-[^\\/]*|xfs-[^\\/]*)[\\/]/

const whole = (path: string) => {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

/**
 * Returns the words that run the program, each path absolute and one that stays: fails for a program in a cache of npx, or in a
 * folder for temporary files.
 *
 * @since 0.1.0
 * @category getters
 */
export const commandOf = (
  { executable, script }: Machine,
  program: string
): Effect.Effect<ReadonlyArray<string>, UsageError> => {
  const file = whole(script ?? executable)
  const install = `install it, as with npm install --global ${program}, and run ${program} service install again`
  if (cache.test(file)) {
    return new UsageError({
      message: `this ${program} runs from a cache that is emptied, ${dirname(file)}; ${install}`
    })
  }
  if (file.startsWith(join(whole(tmpdir()), "/"))) {
    return new UsageError({ message: `this ${program} is in ${dirname(file)}, where nothing stays; ${install}` })
  }
  return Effect.succeed(script === undefined ? [executable] : [executable, script])
}

/** A word of a command line in a unit (systemd.service(5), systemd.unit(5)). */
const systemdWord = (text: string) => {
  const escaped = text.replace(/[\\"]/g, "\\$&").replaceAll("%", "%%").replaceAll("$", "$$$$")
  return /^[\w@%+=:,./$-]+$/.test(escaped) ? escaped : `"${escaped}"`
}

const xml = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

/** The job of launchd. launchd's own PATH does not have the folder of Node, and it knows no ~. */
const plistOf = ({ args, name }: Service, command: ReadonlyArray<string>, log: string) =>
  `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>${name}</string>
  <key>ProgramArguments</key>
  <array>
${[...command, ...args].map((word) => `    <string>${xml(word)}</string>`).join("\n")}
  </array>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <true/>
  <key>ThrottleInterval</key>
  <integer>30</integer>
  <key>Umask</key>
  <integer>63</integer>
  <key>StandardOutPath</key>
  <string>${xml(log)}</string>
  <key>StandardErrorPath</key>
  <string>${xml(log)}</string>
</dict>
</plist>
`

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex")

/** The last line, which says who wrote the lines above and proves that they are as they were written. */
const signed = (text: string, { program }: Service, [open, close]: readonly [string, string]) =>
  `${text}${open}Written by ${program} service install. It changes no file that differs from sha256 ${
    hashOf(text)
  }${close}\n`

const signature = /(?:^|\n)(?:# |<!-- )Written by \S+ service install\. .*sha256 ([0-9a-f]{64})(?: -->)?\n$/

/** Whether a file is as it was written here. */
const isOwn = (text: string) => {
  const match = signature.exec(text)
  return match !== null && hashOf(text.slice(0, match.index + (match[0].startsWith("\n") ? 1 : 0))) === match[1]
}

/** How the service manager of a machine is told. */
interface Manager {
  /** The file of the service, and a unit that a package has brought. */
  readonly file: string
  readonly packaged: string | undefined
  readonly text: (command: ReadonlyArray<string>) => string
  /** Fails where the manager is not there, before anything is written. */
  readonly probe: ReadonlyArray<string>
  readonly begin: ReadonlyArray<ReadonlyArray<string>>
  readonly end: ReadonlyArray<ReadonlyArray<string>>
  readonly afterwards: ReadonlyArray<ReadonlyArray<string>>
  readonly state: ReadonlyArray<string>
  readonly hints: ReadonlyArray<string>
  /** What a person does to change the service without changing the file. */
  readonly change: string
}

const systemd = (service: Service, machine: Machine, scope: Scope): Manager => {
  const { configHome, home, root } = machine
  const user = scope === "user" ? ["--user"] : []
  const unit = `${service.name}.service`
  const folder = scope === "user"
    ? join(configHome ?? join(home, ".config"), "systemd/user")
    : join(root, "etc/systemd/system")
  const systemctl = (...words: ReadonlyArray<string>) => ["systemctl", ...user, ...words]
  return {
    file: join(folder, unit),
    packaged: scope === "user" ? undefined : join(root, "usr/lib/systemd/system", unit),
    text: (command) =>
      signed(service.unit((args) => [...command, ...args].map(systemdWord).join(" ")), service, ["# ", ""]),
    probe: systemctl("daemon-reload"),
    begin: [systemctl("daemon-reload"), systemctl("enable", unit), systemctl("restart", unit)],
    end: [systemctl("disable", "--now", unit)],
    afterwards: [systemctl("daemon-reload")],
    state: systemctl("is-active", unit),
    hints: [
      `${systemctl("status", unit).join(" ")} says how it is, journalctl ${
        [...user, "--unit", service.name].join(" ")
      } ` +
      "shows its log",
      ...scope === "user" ? ["loginctl enable-linger starts it with the machine, and not only when you log in"] : []
    ],
    change: systemctl("edit", unit).join(" ")
  }
}

const launchd = (service: Service, machine: Machine, scope: Scope): Manager => {
  const { home, root, uid } = machine
  const domain = scope === "user" ? `gui/${uid}` : "system"
  const file = join(
    scope === "user" ? join(home, "Library/LaunchAgents") : join(root, "Library/LaunchDaemons"),
    `${service.name}.plist`
  )
  const log = join(scope === "user" ? home : root, "Library/Logs", `${service.name}.log`)
  return {
    file,
    packaged: undefined,
    text: (command) => signed(plistOf(service, command, log), service, ["<!-- ", " -->"]),
    probe: ["launchctl", "print", domain],
    begin: [["launchctl", "bootstrap", domain, file]],
    end: [["launchctl", "bootout", `${domain}/${service.name}`]],
    afterwards: [],
    state: ["launchctl", "print", `${domain}/${service.name}`],
    hints: [`its log is ${log}`],
    change: `a copy of ${file} under another name`
  }
}

/** Returns the manager of a machine, or says what to do where there is none that this module knows. */
const managerOf = (service: Service, machine: Machine, scope: Scope): Effect.Effect<Manager, UsageError> => {
  if (scope === "system" && machine.uid !== 0) {
    return new UsageError({
      message: `a service of the whole machine needs root; with sudo, or for your user alone with --user`
    })
  }
  switch (machine.platform) {
    case "linux":
      return Effect.succeed(systemd(service, machine, scope))
    case "darwin":
      return Effect.succeed(launchd(service, machine, scope))
    default:
      return Effect.flatMap(commandOf(machine, service.program), (command) => {
        const line = [...command, ...service.args].map((word) => `\\"${word}\\"`).join(" ")
        return new UsageError({
          message: machine.platform === "win32"
            ? `on Windows let the Task Scheduler start it: schtasks /create /tn ${service.name} /sc onlogon /tr "${line}"; ` +
              `schtasks /delete /tn ${service.name} takes it back`
            : `there are services for systemd and launchd; let what starts programs here run: ${
              line.replaceAll("\\\"", "\"")
            }`
        })
      })
  }
}

interface Told {
  readonly code: number
  readonly text: string
}

/** Runs a command of the service manager. */
const tell = ([file, ...args]: ReadonlyArray<string>) =>
  Effect.async<Told, UsageError>((resume) => {
    execFile(file!, args, { encoding: "utf8" }, (error, stdout, stderr) => {
      const cause = error as NodeJS.ErrnoException & { readonly code?: number | string } | null
      resume(
        cause?.code === "ENOENT"
          ? new UsageError({
            message: `there is no ${file} here; let what starts programs on this machine run the command`
          })
          : Effect.succeed({ code: cause === null ? 0 : 1, text: `${stdout}${stderr}`.trim() })
      )
    })
  })

const mustDo = (words: ReadonlyArray<string>) =>
  Effect.filterOrFail(
    tell(words),
    ({ code }) => code === 0,
    ({ text }) => new UsageError({ message: `${words.join(" ")}: ${text.split("\n")[0] || "failed"}` })
  )

const contentOf = (file: string) =>
  Effect.try({
    try: () => existsSync(file) ? readFileSync(file, "utf8") : undefined,
    catch: (cause) => new UsageError({ message: `cannot read ${file}: ${(cause as Error).message}` })
  })

/** The file of a service, and the unit that its package has brought; undefined where there is none. */
const presentOf = ({ file, packaged }: Manager) =>
  Effect.all({ present: contentOf(file), ofPackage: packaged === undefined ? Effect.void : contentOf(packaged) })

const changed = (file: string, { change }: Manager, then: string) =>
  new UsageError({
    message:
      `${file} is not as this program wrote it, and is left as it is; put changes into ${change}, move the file away, and ${then}`
  })

/**
 * Writes the file of a service, enables it and starts it, or starts it again with a new file. Does nothing to a file that a
 * person wrote or changed. A unit of a package is enabled, and no other is written in front of it.
 *
 * @since 0.1.0
 * @category running
 */
export const install = (
  service: Service,
  scope: Scope,
  machine: Machine = here()
): Effect.Effect<void, UsageError> =>
  Effect.gen(function*() {
    const manager = yield* managerOf(service, machine, scope)
    const { begin, file, hints, packaged, probe, text } = manager
    const command = yield* commandOf(machine, service.program)
    const { ofPackage, present } = yield* presentOf(manager)
    if (present !== undefined && !isOwn(present)) {
      return yield* changed(file, manager, `run ${service.program} service install again`)
    }
    yield* mustDo(probe)
    if (present === undefined && ofPackage !== undefined) {
      yield* Console.log(`the package has brought ${packaged}`)
    } else {
      yield* Effect.try({
        try: () => {
          mkdirSync(dirname(file), { recursive: true })
          writeFileSync(file, text(command), { mode: 0o644 })
        },
        catch: (cause) => new UsageError({ message: `cannot write ${file}: ${(cause as Error).message}` })
      })
      yield* Console.log(`wrote ${file}`)
      if (machine.platform === "darwin" && present !== undefined) {
        yield* Effect.forEach(manager.end, tell, { discard: true })
      }
    }
    yield* Effect.forEach(begin, mustDo, { discard: true })
    yield* Console.log([`enabled and started ${service.name}`, ...hints].join("\n"))
  })

/**
 * Stops and disables a service, and removes its file if it is as it was written here.
 *
 * @since 0.1.0
 * @category running
 */
export const uninstall = (
  service: Service,
  scope: Scope,
  machine: Machine = here()
): Effect.Effect<void, UsageError> =>
  Effect.gen(function*() {
    const manager = yield* managerOf(service, machine, scope)
    const { afterwards, end, file, packaged } = manager
    const { ofPackage, present } = yield* presentOf(manager)
    if (present === undefined && ofPackage === undefined) {
      return yield* new UsageError({ message: `${service.name} is not installed: there is no ${file}` })
    }
    if (present !== undefined && !isOwn(present)) {
      return yield* changed(file, manager, `run ${service.program} service uninstall again`)
    }
    yield* Effect.forEach(end, mustDo, { discard: true })
    if (present !== undefined) {
      yield* Effect.sync(() => rmSync(file))
    }
    yield* Effect.forEach(afterwards, mustDo, { discard: true })
    yield* Console.log(
      `stopped and disabled ${service.name}` +
        (present === undefined ? `; its package has ${packaged}` : `, and removed ${file}`)
    )
  })

/**
 * Says whether a service is installed, whether its file was changed, and whether it runs.
 *
 * @since 0.1.0
 * @category running
 */
export const status = (
  service: Service,
  scope: Scope,
  machine: Machine = here()
): Effect.Effect<void, UsageError> =>
  Effect.gen(function*() {
    const manager = yield* managerOf(service, machine, scope)
    const { file, packaged, state } = manager
    const { ofPackage, present } = yield* presentOf(manager)
    if (present === undefined && ofPackage === undefined) {
      return yield* Console.log(`not installed: there is no ${file}; ${service.program} service install makes it`)
    }
    const { code, text } = yield* tell(state)
    const isActive = machine.platform === "darwin" ? code === 0 : text.split("\n")[0] === "active"
    yield* Console.log([
      present === undefined
        ? `${packaged}: of the package`
        : `${file}: ${isOwn(present) ? "as it was written" : "written or changed by somebody, and left as it is"}`,
      isActive ? "it runs" : `it does not run${text === "" ? "" : `: ${text.split("\n")[0]}`}`
    ].join("\n"))
  })

/**
 * The three of them, by name.
 *
 * @since 0.1.0
 * @category running
 */
export const actions = { install, status, uninstall } as const
