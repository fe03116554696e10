/** Debian's nats-server as a process of the test, which is killed with the scope. */
import * as programs from "@tx3/testing/builtPrograms"
import { find } from "@tx3/testing/Programs"
import { Effect, Schedule } from "effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"

/**
 * One that listens at 127.0.0.1 and notices dead clients soon. `more` goes into its file. A port that another program's outgoing
 * connection has is waited for.
 */
export const natsServer = (port = -1, more = "", env: Record<string, string> = {}, host = "127.0.0.1") =>
  Effect.retry(start(port, more, env, host), {
    while: () => port !== -1,
    schedule: Schedule.spaced("250 millis"),
    times: 40
  })

const start = (port: number, more: string, env: Record<string, string>, host: string) =>
  Effect.gen(function*() {
    const folder = yield* programs.temporaryFolder
    const file = join(folder, "nats.conf")
    writeFileSync(file, `listen: "${host}:${port}"\nping_interval: "1s"\nping_max: 2\n${more}`)
    const program = yield* programs.startCommand(find("nats-server")!, ["-c", file], { env })
    const [, bound] = yield* program.untilStderr(/client connections on [\d.]+:(\d+)/)
    yield* program.untilStderr(/Server is ready/)
    return { ...program, port: Number(bound), url: `nats://127.0.0.1:${bound}` }
  })
