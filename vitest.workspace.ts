// Vitest's configuration (`vitest --config vitest.workspace.ts`): one project per package, run on the sources, the relay's on each
// transport; and one for the examples, which runs what is built.
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

const packages = fileURLToPath(new URL("packages/", import.meta.url))
const leftovers = `${packages}testing/src/leftovers.ts`

const project = (name: string, folder: string, env: Record<string, string> = {}) => ({
  extends: true as const,
  test: {
    name,
    env,
    include: [`packages/${folder}/test/**/*.test.ts`],
    globalSetup: leftovers
  }
})

/** Files that take long for their size: most of them wait for the system, and others run meanwhile. */
const long = /(DeadEnds|DeadPeers|\w+Transport\w*|Packages|Readme|Rpc|Run)\.test\.ts$/

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
    sequence: { sequencer: LongFirst, concurrent: false, hooks: "stack", shuffle: false },
    retry: 0,
    reporters: ["default", `${packages}testing/src/missingPrograms.ts`],
    // a bound for what hangs, not for what is slow: some tests start a dozen processes, on machines that are busy
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: "forks",
    // tests wait for sockets and for programs, so three files share the two cores of a small machine
    fileParallelism: true,
    minWorkers: 1,
    maxWorkers: 3,
    projects: [
      ...[
        "protocol",
        "sockets",
        "files",
        "local-http",
        "transport",
        "policy",
        "operate",
        "node",
        "reach",
        "command",
        "tx3-relay",
        "tx3",
        "testing"
      ].map((name) => project(name, name)),
      ...["kernel", "portable"].map((transport) =>
        project(`relay, ${transport}`, "relay", { TX3_TEST_TRANSPORT: transport })
      ),
      { extends: true, test: { name: "bench", globalSetup: leftovers, include: ["bench/test/**/*.test.ts"] } },
      { extends: true, test: { name: "repository", globalSetup: leftovers, include: ["test/**/*.test.ts"] } },
      {
        extends: true,
        test: {
          name: "examples",
          globalSetup: [leftovers, `${packages}testing/src/bundledExamples.ts`],
          include: ["examples/test/**/*.test.ts"],
          maxConcurrency: 2
        }
      }
    ]
  }
})
