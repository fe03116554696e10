/** Debian's OpenSSH server on a port of the system's choice, for the user who runs the tests, and how to log in there. */
import { find } from "@tx3/testing/Programs"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import * as net from "node:net"
import { userInfo } from "node:os"
import { join } from "node:path"
import * as programs from "./builtPrograms.js"

const freePort = Effect.async<number>((resume) => {
  const server = net.createServer()
  server.listen({ host: "127.0.0.1", port: 0 }, () => {
    const { port } = server.address() as net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const keygen = (file: string) =>
  Effect.sync(() => {
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file])
    return file
  })

/** The port may be taken by somebody else before it listens there; then it is another. */
export const startSshd = Effect.suspend(() => Effect.retry(start, { times: 3 }))

const start = Effect.gen(function*() {
  const folder = yield* programs.temporaryFolder
  const port = yield* freePort
  const hostKey = yield* keygen(join(folder, "host"))
  const key = yield* keygen(join(folder, "user"))
  if (userInfo().uid === 0) {
    // Where it locks up what is not logged in yet; Debian makes it when the service starts.
    mkdirSync("/run/sshd", { recursive: true })
  }
  const config = join(folder, "sshd_config")
  writeFileSync(
    config,
    [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${hostKey}`,
      `AuthorizedKeysFile ${key}.pub`,
      "PidFile none",
      "StrictModes no",
      "UsePAM no",
      "PasswordAuthentication no",
      "Subsystem sftp internal-sftp"
    ].join("\n")
  )
  // sshd wants its own whole path.
  const server = yield* programs.startCommand(find("sshd")!, ["-D", "-e", "-f", config], {})
  yield* server.untilStderr(/Server listening/)
  const options = [
    ["-F", "/dev/null"],
    ["-i", key],
    ...[
      "BatchMode=yes",
      "IdentitiesOnly=yes",
      "StrictHostKeyChecking=accept-new",
      `UserKnownHostsFile=${join(folder, "known_hosts")}`,
      "HostKeyAlias=home",
      "LogLevel=ERROR"
    ].map((option) => ["-o", option])
  ].flat()
  return { folder, options, port, user: userInfo().username }
})
