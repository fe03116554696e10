/** The work of `tx3 service`: `tx3 up` as a service of systemd or launchd. */
import * as Service from "@tx3/command/Service"
import * as UpFile from "@tx3/reach/UpFile"
import * as Effect from "effect/Effect"
import { statSync } from "node:fs"
import { resolve } from "node:path"

export const run = ({ action, config, user }: {
  readonly action: keyof typeof Service.actions
  readonly config: string
  readonly user: boolean
}) =>
  Effect.gen(function*() {
    const scope = user || process.getuid?.() !== 0 ? "user" : "system"
    const file = resolve(config)
    if (action === "install") {
      yield* UpFile.read(file)
    }
    const owner = scope === "system" ? statSync(file, { throwIfNoEntry: false })?.uid : undefined
    yield* Service.actions[action](up(file, scope, owner), scope)
  })

/** The service of a file, which runs as the user who owns the file. */
export const up = (file: string, scope: Service.Scope, owner: number | undefined): Service.Service => ({
  name: "tx3-up",
  program: "tx3",
  args: ["up", "--config", file],
  unit: (command) => unit(command(["up", "--config", file]), scope, owner)
})

/** packaging/systemd/tx3-up.service has the same text. */
const unit = (command: string, scope: Service.Scope, owner: number | undefined) =>
  `[Unit]
Description=tx3 up: what this machine exposes and forwards
Documentation=man:tx3(1)
# It waits for the network and for its relays itself. If it crashes it is started again for ever, every RestartSec.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${command}
ExecReload=/bin/kill -HUP $MAINPID
# What a program ends with that SIGTERM has ended.
SuccessExitStatus=143
Restart=on-failure
RestartSec=5
# The file or what it names is wrong: starting again mends nothing.
RestartPreventExitStatus=2
${owner === undefined ? "" : `User=${owner}\n`}
# What can be had without being root.
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
# AF_NETLINK is how a program asks for this machine's addresses, by which it notices another network.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=${scope === "user" ? "default.target" : "multi-user.target"}
`
