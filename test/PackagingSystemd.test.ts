import { assert, describe, it } from "@effect/vitest"
import { RelayConfig, RelayFile } from "@tx3/relay"
import * as programs from "@tx3/testing/builtPrograms"
import * as packaging from "@tx3/testing/packaging"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, Either } from "effect"
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const unit = packaging.read("packaging/systemd/tx3-relay.service")
const installed = "/usr/local/bin/tx3-relay"
const program = packaging.pathOf("node_modules/.bin/tx3-relay")

/** All values that the unit gives to a key. */
const valuesOf = (key: string) => Array.from(unit.matchAll(new RegExp(`^${key}=(.*)$`, "gm")), ([, value]) => value!)
const valueOf = (key: string) => {
  const [value, ...others] = valuesOf(key)
  assert.deepStrictEqual(others, [], key)
  assert.isDefined(value, key)
  return value!
}

const services = ["tx3-relay.service", "tx3-relay-probe.service"]

/** The units for a machine where the program lies elsewhere, in a folder of their own. */
const installedUnits = Effect.map(
  programs.temporaryFolder,
  (folder) =>
    [...services, "tx3-relay-probe.timer"].map((name) => {
      const file = join(folder, name)
      writeFileSync(file, packaging.read(`packaging/systemd/${name}`).replaceAll(`=${installed} `, `=${program} `))
      return file
    })
)

/** The system calls in a set of systemd's, and in the sets within it. */
const systemCalls = (set: string): ReadonlyArray<string> =>
  !set.startsWith("@") ? [set] : packaging.output("systemd-analyze", "syscall-filter", set).split("\n").slice(1)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .flatMap(systemCalls)

const allowedSystemCalls = () => {
  const allowed = new Set<string>()
  for (const filter of valuesOf("SystemCallFilter")) {
    const calls = filter.replace(/^~/, "").split(" ").flatMap(systemCalls)
    calls.forEach((call) => filter.startsWith("~") ? allowed.delete(call) : allowed.add(call))
  }
  return Array.from(allowed)
}

const nobody = 65534
const isRoot = process.getuid!() === 0
/** Where nobody may not look into the folder of the tests, whoever runs them has to do. */
const asNobody = isRoot && packaging.judge(
      "setpriv",
      `--reuid=${nobody}`,
      `--regid=${nobody}`,
      "--clear-groups",
      "sh",
      "-c",
      `test -r ${program} && test -x ${process.execPath}`
    ).code === 0

describe("the sysctl file", () => {
  it("reserves the relay's port and its page's, which the kernel would give to outgoing connections", () =>
    assert.include(
      packaging.read("packaging/sysctl/60-tx3-relay.conf"),
      `net.ipv4.ip_local_reserved_ports = ${RelayFile.defaultPort},${RelayFile.defaultPort + 1}\n`
    ))
})

withPrograms(["systemd-analyze"], () => {
  describe("the systemd units", { timeout: 120_000 }, () => {
    it.scopedLive("are some that systemd takes without a complaint", () =>
      Effect.gen(function*() {
        const { code, said } = packaging.judge("systemd-analyze", "verify", "--man=no", ...yield* installedUnits)
        assert.strictEqual(said, "")
        assert.strictEqual(code, 0)
      }))

    withPrograms(["systemd-analyze"], () => {
      for (const [index, service] of services.entries()) {
        it.scopedLive(`leave ${service} an exposure of 2.0 at most`, () =>
          Effect.gen(function*() {
            const { code, said } = packaging.judge(
              "systemd-analyze",
              "security",
              "--no-pager",
              "--offline=true",
              "--threshold=20",
              (yield* installedUnits)[index]!
            )
            assert.strictEqual(code, 0, said)
            const [, exposure] = /Overall exposure level for ([\w.-]+): ([\d.]+)/.exec(said)!.slice(1)
            assert.isAtMost(Number(exposure), 2)
          }))
      }
    })

    it("share the user that may talk to the admin server, and what they may not do", () => {
      const probe = packaging.read("packaging/systemd/tx3-relay-probe.service")
      const hardening = unit.slice(unit.indexOf("NoNewPrivileges")).match(/^\w+=.*$/gm)!
        .filter((line) => !/^(RestrictAddressFamilies|WantedBy)=/.test(line))
      hardening.forEach((line) => assert.include(probe, `\n${line}\n`))
      assert.include(probe, "\nUser=tx3-relay\n")
      assert.include(probe, `\nEnvironment=${valuesOf("Environment")[0]}\n`)
    })

    it("is not told as failed when a probe is stopped: systemd takes SIGTERM of a oneshot for a failure", () => {
      const probe = packaging.read("packaging/systemd/tx3-relay-probe.service")
      assert.include(probe, "\nType=oneshot\n")
      assert.include(probe, "\nSuccessExitStatus=SIGTERM\n")
    })

    it("waits longer for the end than the relay does for its splices", () => {
      const { drainTimeoutMs } = Either.getOrThrow(
        RelayConfig.decode([{ place: (key) => key, values: { bind: ["tx3-rst://127.0.0.1:0"] } }])
      )
      assert.isAbove(Number(valueOf("TimeoutStopSec")) * 1000, drainTimeoutMs + 5_000)
    })

    withPrograms(["strace", "systemd-analyze"], () => {
      it.scopedLive(`starts, answers, reloads and stops as ${asNobody ? "nobody" : "this user"}, with its calls only`, () =>
        Effect.gen(function*() {
          const folder = yield* programs.temporaryFolder
          chmodSync(folder, 0o755)
          const folders = ["CONFIGURATION", "CREDENTIALS", "STATE", "RUNTIME"].map((name) => {
            const path = join(folder, name)
            mkdirSync(path)
            return [name, path] as const
          })
          const { CONFIGURATION, CREDENTIALS, RUNTIME, STATE } = Object.fromEntries(folders)
          const identity = join(CREDENTIALS!, "identity.pem")
          const config = join(CONFIGURATION!, "relay.yml")
          const init = yield* programs.run("tx3-relay", [
            "--init",
            "--config",
            config,
            "--identity",
            identity,
            "--bind",
            "tx3-rst://127.0.0.1:0"
          ])
          assert.strictEqual(init.code, 0, init.stderr)

          // As systemd does it: folders of the service's own, and a credential it may read because of its group.
          chmodSync(identity, 0o440)
          chmodSync(RUNTIME!, Number.parseInt(valueOf("RuntimeDirectoryMode"), 8))
          if (asNobody) {
            chownSync(identity, 0, nobody)
            chownSync(RUNTIME!, nobody, nobody)
            chownSync(STATE!, nobody, nobody)
          }
          const variables = valuesOf("Environment").map((assignment) => assignment.split("=", 2) as [string, string])
          const env = {
            ...Object.fromEntries(folders.map(([name, path]) => [`${name}_DIRECTORY`, path])),
            ...Object.fromEntries(variables.map(([name, value]) => [
              name,
              value.replace("/run/tx3-relay", RUNTIME!).replace(":38142", ":0").replace("/var/lib/tx3-relay", STATE!)
            ])),
            ALLOWED: allowedSystemCalls().map((call) => `?${call}`).join(","),
            DENIED: join(STATE!, "denied")
          }

          // Whatever the filter does not let through fails as it does there, and is written down.
          const relay = yield* programs.startCommand("setpriv", [
            "--no-new-privs",
            ...asNobody
              ? [`--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
              : [],
            "sh",
            "-c",
            `umask ${valueOf("UMask")}; cd /; ` +
            `exec strace -D -f --seccomp-bpf -qq -o $DENIED -e signal=none -e trace=!$ALLOWED -e inject=!$ALLOWED:error=EPERM ` +
            `${process.execPath} ${valueOf("ExecStart").replace(installed, program)}`
          ], { env })
          yield* relay.untilStdout(/address list end/)
          yield* relay.untilStderr(/admin server listening/)

          const ask = (command: string) => programs.run("tx3-relay", [command], { cwd: folder, env })
          const status = yield* ask("status")
          assert.strictEqual(status.code, 0, status.stderr)
          assert.include(status.stdout.toString(), "kernel transport")

          assert.strictEqual(valueOf("ExecReload"), `${installed} reload`)
          chmodSync(config, 0o644)
          writeFileSync(config, "bind: [tx3-rst://127.0.0.1:0]\nmaxControlStreams: 21\n")
          const reload = yield* ask("reload")
          assert.match(reload.stdout.toString(), /maxControlStreams\s+320\s+21/, reload.stderr)
          writeFileSync(config, "bind: [tx3-rst://127.0.0.1:0]\nmaxControlStreams: many\n")
          const broken = yield* ask("reload")
          assert.strictEqual(broken.code, 1)
          assert.include(broken.stderr, "maxControlStreams: must be a whole number")

          relay.kill("SIGTERM")
          const { code, stderr } = yield* relay.ended
          assert.strictEqual(code, 0, stderr)
          const denied = readFileSync(env.DENIED, "utf8").match(/(?<=^\d+ +)\w+(?=\()/gm) ?? []
          // V8 protects its code with memory keys where it gets one. libuv uses io_uring where it gets one (Node 24 and newer).
          assert.deepStrictEqual(denied.filter((call) => !["io_uring_setup", "pkey_alloc"].includes(call)), [])
        }))
    })
  })
})
