import { assert, describe, it } from "@effect/vitest"
import * as programs from "@tx3/testing/builtPrograms"
import * as packaging from "@tx3/testing/packaging"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import plist from "plist"

const installed = "/usr/local/bin/tx3"
const program = packaging.pathOf("node_modules/.bin/tx3")
const unit = packaging.read("packaging/systemd/tx3-up.service")

withPrograms(["systemd-analyze"], () => {
  describe("tx3-up.service, for systemd", { timeout: 180_000 }, () => {
    it.scoped("is one that systemd takes for a user without a complaint", () =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const file = join(folder, "tx3-up.service")
        writeFileSync(file, unit.replace(`=${installed} `, `=${program} `))
        mkdirSync(join(folder, "run"), { mode: 0o700 })
        const { status, stderr, stdout } = spawnSync(
          "systemd-analyze",
          ["--user", "verify", "--man=no", "--recursive-errors=no", file],
          {
            encoding: "utf8",
            env: { ...process.env, XDG_RUNTIME_DIR: join(folder, "run"), HOME: folder },
            timeout: 30_000
          }
        )
        assert.strictEqual(stdout + stderr, "")
        assert.strictEqual(status, 0)
      }))

    it.scopedLive("runs a command that there is, and ends as the unit expects", () =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const [, command] = /^ExecStart=\S+ (.*)$/m.exec(unit)!
        mkdirSync(join(folder, "tx3"))
        writeFileSync(
          join(folder, "tx3", "tx3.yml"),
          `forward: { web: { to: ["tx3-st://127.0.0.1:1/${"A".repeat(43)}"], listen: "127.0.0.1:0" } }`
        )
        const up = yield* programs.start("tx3", command!.replaceAll("%E", folder).split(" "))
        yield* up.untilStdout(/web 127\.0\.0\.1:\d+/)
        up.kill("SIGTERM")
        assert.strictEqual(String((yield* up.ended).code), /^SuccessExitStatus=(\d+)$/m.exec(unit)![1])

        writeFileSync(join(folder, "tx3", "tx3.yml"), "expose: {}")
        const wrong = yield* programs.run("tx3", command!.replaceAll("%E", folder).split(" "))
        assert.strictEqual(String(wrong.code), /^RestartPreventExitStatus=(\d+)$/m.exec(unit)![1])
      }))
  })
})

describe("tx3-up.plist, for launchd", () => {
  it("is a property list that runs the same command", () => {
    const job = plist.parse(packaging.read("packaging/launchd/tx3-up.plist")) as plist.PlistObject
    const [, command] = /^ExecStart=(.*)$/m.exec(unit)!
    assert.deepStrictEqual(
      (job["ProgramArguments"] as ReadonlyArray<string>).map((word) => word.replace("/Users/YOU/.config", "%E")),
      command!.split(" ")
    )
    assert.strictEqual(job["Label"], "tx3-up")
    assert.isTrue(job["KeepAlive"])
    assert.strictEqual(job["Umask"], 0o077)
  })
})
