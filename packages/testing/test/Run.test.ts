import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "vitest"

const config = fileURLToPath(new URL("fixtures/vitest.config.ts", import.meta.url))
const vitest = fileURLToPath(new URL("../../../node_modules/vitest/vitest.mjs", import.meta.url))

/**
 * Runs a fixture in a vitest of its own, where no program is installed. It does not block this process: vitest fails a run whose
 * worker does not read its replies for a minute.
 */
const run = async (fixture: string, env: Record<string, string> = {}) => {
  const empty = mkdtempSync(join(tmpdir(), "programs-"))
  try {
    const child = spawn(process.execPath, [vitest, "run", "--config", config, fixture], {
      env: { TMPDIR: empty, PATH: empty, ...env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let said = ""
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => said += String(text))
    }
    const [status] = await once(child, "close")
    return { status: status as number | null, said }
  } finally {
    rmSync(empty, { recursive: true })
  }
}

describe("withPrograms", () => {
  it("skips tests whose programs are missing, and the run ends with a list", async () => {
    const { said, status } = await run("needs")
    assert.strictEqual(status, 0, said)
    assert.match(said, /1 passed \| 2 skipped/)
    assert.include(
      said,
      "3 tests were skipped because these programs are not installed:\n" +
        "  curl (2 tests)\n  promtool (1 test)\n  zsh (1 test)\n" +
        "Install them on Debian: apt-get install curl prometheus zsh\n"
    )
  })

  it("fails where all programs are required", async () => {
    const { said, status } = await run("needs", { TX3_TEST_PROGRAMS: "required" })
    assert.strictEqual(status, 1, said)
    assert.include(said, "curl: not installed; apt-get install curl")
  })
})

describe("openHandles", () => {
  it("fails the file that leaves something open, and no later one of its process", async () => {
    const { said, status } = await run("opens")
    assert.strictEqual(status, 1, said)
    assert.match(said, /FAIL {2}opens\.fixture\.ts/)
    assert.match(
      said,
      /this file leaves open: TCPServerWrap, Timeout; server .*"address":"127/
    )
    assert.match(said, /Test Files {2}1 failed \| 1 passed/)
  })
})

describe("leftovers", () => {
  it("fails a run that leaves a file or a process, names them and removes them", async () => {
    const { said, status } = await run("leaves")
    assert.strictEqual(status, 1, said)
    const [, pid] = /process (\d+): \S*node -e/.exec(said)!
    const [, file] = /file (\S+left)\n/.exec(said)!
    assert.isFalse(existsSync(file!))
    assert.isFalse(existsSync(`/proc/${pid}/exe`))
  })

  it("ends the workers of a run that a signal ends, and removes what they made", async () => {
    const empty = mkdtempSync(join(tmpdir(), "programs-"))
    const vitestRun = spawn(process.execPath, [vitest, "run", "--config", config, "hangs"], {
      env: { TMPDIR: empty, PATH: empty },
      stdio: ["ignore", "pipe", "inherit"]
    })
    try {
      let said = ""
      const [, worker, child, folder] = await new Promise<RegExpExecArray>((resolve, reject) => {
        vitestRun.stdout.setEncoding("utf8").on("data", (text) => {
          said += String(text)
          const started = /worker (\d+) child (\d+) in (\S+)/.exec(said)
          if (started !== null) {
            resolve(started)
          }
        }).once("end", () => reject(new Error(`it did not hang: ${said}`)))
      })
      vitestRun.kill("SIGTERM")
      const [code] = await once(vitestRun, "exit")
      assert.strictEqual(code, 143)
      for (const pid of [worker, child]) {
        // A busy machine takes a moment to end what is killed.
        while (existsSync(`/proc/${pid}/exe`)) {
          await setTimeout(50)
        }
      }
      assert.isFalse(existsSync(folder!))
    } finally {
      vitestRun.kill("SIGKILL")
      rmSync(empty, { recursive: true })
    }
  })

  it("passes a run that leaves nothing", async () => {
    const { said, status } = await run("needs")
    assert.strictEqual(status, 0, said)
    assert.notInclude(said, "left behind")
  })
})
