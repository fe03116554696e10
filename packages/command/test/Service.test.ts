/**
 * Services in a folder in place of the root of a machine, with a systemctl that notes how it is called.
 */
import { assert, describe, it } from "@effect/vitest"
import { Service } from "@tx3/command"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Console, Effect, Option } from "effect"
import { spawnSync } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import plist from "plist"
import { up } from "../../tx3/src/internal/commands/service.js"
import { relay, relayOfMachine } from "../../tx3-relay/src/internal/service.js"

const packaging = (path: string) => readFileSync(new URL(`../../../packaging/${path}`, import.meta.url), "utf8")

/** From its first section on, without the comment on how to install it. */
const sections = (unit: string) => unit.slice(unit.indexOf("[Unit]"))

const withoutSignature = (text: string) => text.replace(/# Written by .*\n$/, "")

/** A machine in a folder, whose managers of services note their calls and answer what the test wants. */
const machine = (changes: Partial<Service.Machine> = {}) =>
  Effect.gen(function*() {
    const root = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-service-"))),
      (root) => Effect.sync(() => rmSync(root, { recursive: true, force: true }))
    )
    const calls = join(root, "calls")
    const bin = join(root, "bin")
    mkdirSync(bin)
    for (const name of ["systemctl", "launchctl"]) {
      const file = join(bin, name)
      writeFileSync(
        file,
        `#!/bin/sh\necho "${name} $*" >> ${calls}\ncat ${root}/answer 2>/dev/null\ntest ! -e ${root}/refuse\n`
      )
      chmodSync(file, 0o755)
    }
    const path = process.env["PATH"]
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        process.env["PATH"] = `${bin}:${path}`
      }),
      () =>
        Effect.sync(() => {
          process.env["PATH"] = path
        })
    )
    const lines: Array<string> = []
    const self: Service.Machine = {
      platform: "linux",
      uid: 1000,
      home: join(root, "home"),
      configHome: undefined,
      executable: "/usr/bin/node",
      script: "/usr/local/bin/tx3",
      root,
      ...changes
    }
    const service = up(join(self.home, "my files/50%.yml"), "user", undefined)
    return {
      root,
      self,
      lines,
      service,
      unit: join(self.home, ".config/systemd/user/tx3-up.service"),
      answer: (text: string) => writeFileSync(join(root, "answer"), text),
      refuse: (text: string) => {
        writeFileSync(join(root, "answer"), text)
        writeFileSync(join(root, "refuse"), "")
      },
      /** The calls since the last time. */
      calls: () => {
        const all = existsSync(calls) ? readFileSync(calls, "utf8").trim().split("\n") : []
        rmSync(calls, { force: true })
        return all
      },
      run: (
        action: keyof typeof Service.actions,
        which: Service.Service = service,
        scope: Service.Scope = "user"
      ) =>
        Effect.gen(function*() {
          const console = yield* Console.consoleWith(Effect.succeed)
          yield* Effect.withConsole(Service.actions[action](which, scope, self), {
            ...console,
            log: (text: string) => Effect.sync(() => void lines.push(...text.split("\n")))
          })
        })
    }
  })

describe("a service of systemd", () => {
  it.scopedLive("is written, enabled and started; another time it is written anew; and then removed", () =>
    Effect.gen(function*() {
      const { calls, lines, run, self, service, unit } = yield* machine()
      yield* run("status")
      assert.match(lines.pop()!, /^not installed: there is no .*; tx3 service install makes it$/)
      yield* run("install")
      assert.deepStrictEqual(calls(), [
        "systemctl --user daemon-reload",
        "systemctl --user daemon-reload",
        "systemctl --user enable tx3-up.service",
        "systemctl --user restart tx3-up.service"
      ])
      assert.deepStrictEqual(lines.slice(0, 2), [`wrote ${unit}`, "enabled and started tx3-up"])
      assert.include(lines.join(), "loginctl enable-linger")
      assert.strictEqual(statSync(unit).mode & 0o777, 0o644)
      const before = readFileSync(unit, "utf8")
      assert.include(
        before,
        `ExecStart=/usr/bin/node /usr/local/bin/tx3 up --config "${self.home}/my files/50%%.yml"\n`
      )

      // a newer version writes another unit
      yield* run("install", {
        ...service,
        unit: (command) => service.unit(command).replace("RestartSec=5", "RestartSec=9")
      })
      assert.include(readFileSync(unit, "utf8"), "RestartSec=9")
      yield* run("install")
      assert.strictEqual(readFileSync(unit, "utf8"), before)
      calls()
      yield* run("uninstall")
      assert.deepStrictEqual(calls(), [
        "systemctl --user disable --now tx3-up.service",
        "systemctl --user daemon-reload"
      ])
      assert.isFalse(existsSync(unit))
      assert.match((yield* Effect.flip(run("uninstall"))).message, /^tx3-up is not installed: there is no /)
    }))

  it.scopedLive("is left as it is where a person wrote or changed it, and that says what to do", () =>
    Effect.gen(function*() {
      const { answer, calls, lines, run, unit } = yield* machine()
      yield* run("install")
      const written = readFileSync(unit, "utf8")
      for (
        const mine of [
          written.replace("RestartSec=5", "RestartSec=1"),
          `${written}Nice=5\n`,
          `# mine\n${written}`,
          withoutSignature(written),
          "[Service]\n",
          ""
        ]
      ) {
        writeFileSync(unit, mine)
        calls()
        for (const action of ["install", "uninstall"] as const) {
          const { message } = yield* Effect.flip(run(action))
          assert.strictEqual(
            message,
            `${unit} is not as this program wrote it, and is left as it is; put changes into systemctl --user edit ` +
              `tx3-up.service, move the file away, and run tx3 service ${action} again`
          )
        }
        assert.strictEqual(readFileSync(unit, "utf8"), mine)
        assert.deepStrictEqual(calls(), [])
      }
      answer("inactive")
      lines.length = 0
      yield* run("status")
      assert.deepStrictEqual(lines, [
        `${unit}: written or changed by somebody, and left as it is`,
        "it does not run: inactive"
      ])
    }))

  it.scopedLive("writes nothing where systemd does not run, or a user may not", () =>
    Effect.gen(function*() {
      const { refuse, run, unit } = yield* machine()
      refuse("Failed to connect to bus: No medium found")
      const { message } = yield* Effect.flip(run("install"))
      assert.strictEqual(message, "systemctl --user daemon-reload: Failed to connect to bus: No medium found")
      assert.isFalse(existsSync(unit))
      assert.strictEqual(
        (yield* Effect.flip(run("install", relayOfMachine, "system"))).message,
        "a service of the whole machine needs root; with sudo, or for your user alone with --user"
      )
    }))

  it.scopedLive("of a package is enabled, and no unit is written in front of it", () =>
    Effect.gen(function*() {
      const { calls, lines, root, run } = yield* machine({
        uid: 0,
        executable: "/usr/bin/tx3-relay",
        script: undefined
      })
      const packaged = join(root, "usr/lib/systemd/system/tx3-relay.service")
      mkdirSync(dirname(packaged), { recursive: true })
      writeFileSync(packaged, packaging("systemd/tx3-relay.service"))
      yield* run("install", relayOfMachine, "system")
      assert.strictEqual(lines[0], `the package has brought ${packaged}`)
      assert.include(calls(), "systemctl enable tx3-relay.service")
      assert.isFalse(existsSync(join(root, "etc/systemd/system/tx3-relay.service")))
      yield* run("uninstall", relayOfMachine, "system")
      assert.isTrue(existsSync(packaged))
    }))

  it.scopedLive("has the text of packaging/, for the machine and for a user", () =>
    Effect.gen(function*() {
      const { root, run } = yield* machine({ uid: 0, executable: "/usr/local/bin/tx3-relay", script: undefined })
      yield* run("install", relayOfMachine, "system")
      assert.strictEqual(
        withoutSignature(readFileSync(join(root, "etc/systemd/system/tx3-relay.service"), "utf8")),
        sections(packaging("systemd/tx3-relay.service"))
      )
      assert.strictEqual(
        up("%E/tx3/tx3.yml", "user", undefined).unit((args) => ["/usr/local/bin/tx3", ...args].join(" ")),
        sections(packaging("systemd/tx3-up.service"))
      )
      const ofMachine = up("/srv/tx3.yml", "system", 1000).unit((args) => ["/usr/local/bin/tx3", ...args].join(" "))
      assert.match(ofMachine, /^User=1000$/m)
      assert.match(ofMachine, /^WantedBy=multi-user\.target$/m)
    }))

  withPrograms(["systemd-analyze"], () => {
    it.scopedLive("is one that systemd takes without a complaint, whatever is in a path", () =>
      Effect.gen(function*() {
        const { root, run, self } = yield* machine({ executable: process.execPath, script: undefined })
        const services = [
          up(join(self.home, "a \"b\" $c\\d %e/tx3.yml"), "user", undefined),
          relay(join(self.home, "relay.yml"), Option.some(join(self.home, "my identity.pem")))
        ]
        for (const service of services) {
          yield* run("install", service)
        }
        mkdirSync(join(root, "run"), { mode: 0o700 })
        const { status, stderr, stdout } = spawnSync("systemd-analyze", [
          "--user",
          "verify",
          "--man=no",
          "--recursive-errors=no",
          ...services.map(({ name }) => join(self.home, `.config/systemd/user/${name}.service`))
        ], {
          encoding: "utf8",
          env: { ...process.env, HOME: root, XDG_RUNTIME_DIR: join(root, "run") },
          timeout: 30_000
        })
        assert.strictEqual(stdout + stderr, "")
        assert.strictEqual(status, 0)
      }))
  })
})

describe("a service of launchd", () => {
  it.scopedLive("is a job that runs the same command, and is left as it is where a person changed it", () =>
    Effect.gen(function*() {
      const { calls, run, self } = yield* machine({ platform: "darwin", script: "/opt/homebrew/bin/tx3" })
      yield* run("install")
      const file = join(self.home, "Library/LaunchAgents/tx3-up.plist")
      const text = readFileSync(file, "utf8")
      const job = plist.parse(text) as plist.PlistObject
      assert.deepStrictEqual(job["ProgramArguments"], [
        "/usr/bin/node",
        "/opt/homebrew/bin/tx3",
        "up",
        "--config",
        join(self.home, "my files/50%.yml")
      ])
      assert.deepStrictEqual(calls(), ["launchctl print gui/1000", `launchctl bootstrap gui/1000 ${file}`])
      writeFileSync(file, text.replace("30", "60"))
      assert.match((yield* Effect.flip(run("uninstall"))).message, /is left as it is/)
      writeFileSync(file, text)
      yield* run("uninstall")
      assert.deepStrictEqual(calls(), ["launchctl bootout gui/1000/tx3-up"])
      assert.isFalse(existsSync(file))
    }))
})

describe("a service cannot", () => {
  const refused = (changes: Partial<Service.Machine>) =>
    Effect.flatMap(machine(changes), ({ run }) => Effect.map(Effect.flip(run("install")), ({ message }) => message))

  it.scopedLive("run from a cache or a folder of temporary files, nor without a manager of services", () =>
    Effect.gen(function*() {
      const install = "install it, as with npm install --global tx3, and run tx3 service install again"
      assert.strictEqual(
        yield* refused({ script: "/home/me/.npm/_npx/0123abcd/node_modules/.bin/tx3" }),
        `this tx3 runs from a cache that is emptied, /home/me/.npm/_npx/0123abcd/node_modules/.bin; ${install}`
      )
      assert.strictEqual(
        yield* refused({ executable: join(tmpdir(), "downloads/tx3"), script: undefined }),
        `this tx3 is in ${join(tmpdir(), "downloads")}, where nothing stays; ${install}`
      )
      assert.match(
        yield* refused({ platform: "win32", executable: "C:\\node.exe", script: "C:\\tx3.js" }),
        /^on Windows let the Task Scheduler start it: schtasks \/create \/tn tx3-up \/sc onlogon \/tr "\\"C:\\node\.exe\\" .*\\"up\\"/
      )
      assert.match(
        yield* refused({ platform: "freebsd" }),
        /let what starts programs here run: "\/usr\/bin\/node" "\/usr\/local\/bin\/tx3" "up" "--config"/
      )
    }))
})
