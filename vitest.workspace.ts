// Vitest's configuration (`vitest --config vitest.workspace.ts`): tests run on the sources, the relay's on each transport. The
// examples' tests run what is built.
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

const packages = fileURLToPath(new URL("packages/", import.meta.url))
const leftovers = `${packages}testing/src/leftovers.ts`

const project = (
  name: string,
  folders: ReadonlyArray<string>,
  { env = {}, exclude = [], include = [], setup = [] }: {
    readonly env?: Record<string, string>
    readonly exclude?: Array<string>
    readonly include?: ReadonlyArray<string>
    readonly setup?: ReadonlyArray<string>
  } = {}
) => ({
  extends: true as const,
  test: {
    name,
    env,
    exclude,
    globalSetup: [leftovers, ...setup],
    setupFiles: [`${packages}testing/src/openHandles.ts`],
    include: [...folders.map((folder) => `${folder}/test/**/*.test.ts`), ...include]
  }
})

/** Tests of the relay that wait for most of their time: they are among the first, and name their transports themselves. */
const waiting = ["KernelDeadEnds", "PortableDeadEnds"].map((name) => `packages/relay/test/${name}.test.ts`)

/** Tests of the relay that use no sockets: they run once. */
const withoutSockets = [
  "ConnectionScope",
  "ControlSession",
  "Deadlines",
  "Mailbox",
  "Metrics",
  "PendingSplices",
  "Portion",
  "RelayConfig",
  "Simulation",
  "Splices",
  "ThrottledLog",
  "TokenBuckets",
  "Turns"
].map((name) => `packages/relay/test/${name}.test.ts`)

/** Tests that take too long for every run: `npm run cluster:test`. */
const slow = process.env["TX3_TEST_SLOW"] === undefined ? [] : ["packages/*/test/**/*.slow.ts"]

/** Files that take long for their size: most of them wait for the system, and others run meanwhile. */
const long =
  /(AdminPage|DeadEnds|DeadPeers|Deviations|examples|FileTransfer|\w+Program|\w+Transport\w*|Packages|Readme|Rpc|Run|Truncation|UpPage)\.test\.ts$/

class LongFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>) {
    const isLong = ({ moduleId }: TestSpecification) => long.test(moduleId)
    const sorted = await super.sort(files)
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))]
  }
}

export default defineConfig({
  resolve: {
    alias: [
      { find: /^(tx3|tx3-relay)$/, replacement: `${packages}$1/src/index.ts` },
      { find: /^(tx3|tx3-relay)\/(.+)$/, replacement: `${packages}$1/src/$2.ts` },
      { find: /^@tx3\/([^/]+)$/, replacement: `${packages}$1/src/index.ts` },
      { find: /^@tx3\/([^/]+)\/(.+)$/, replacement: `${packages}$1/src/$2.ts` }
    ]
  },
  test: {
    // within the two groups, test files run in the order of their size, whatever happened in an earlier run
    cache: false,
    // the tests of the examples run side by side, and each of them starts several programs
    maxConcurrency: 2,
    sequence: { sequencer: LongFirst, concurrent: false, hooks: "stack", shuffle: false },
    retry: 0,
    reporters: ["default", `${packages}testing/src/missingPrograms.ts`],
    // a bound for what hangs, not for what is slow: some tests start a dozen processes, on machines that are busy
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: "forks",
    // A worker process runs one file after another: half of the time would go into starting processes and importing modules.
    // So a file finds what earlier files of its project left in modules, metrics and globals.
    poolOptions: { forks: { isolate: false } },
    // Tests wait for sockets and for programs, so five files share the two cores of a small machine. The minimum is the
    // maximum because Vitest 3.2 ends idle workers above the minimum while it gives them files: "Terminating worker thread".
    minWorkers: 5,
    maxWorkers: 5,
    projects: [
      project("packages", ["packages/!(relay)", "bench", "examples", "."], {
        include: [...waiting, ...slow],
        setup: [`${packages}testing/src/bundledExamples.ts`]
      }),
      project("relay, kernel", ["packages/relay"], { env: { TX3_TEST_TRANSPORT: "kernel" }, exclude: waiting }),
      project("relay, portable", ["packages/relay"], {
        env: { TX3_TEST_TRANSPORT: "portable" },
        exclude: [...waiting, ...withoutSockets]
      })
    ]
  }
})
