/** The work of `tx3-relay service`: a relay as a service of systemd or launchd. */
import * as Service from "@tx3/command/Service"
import { UsageError } from "@tx3/command/UsageError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { existsSync, realpathSync } from "node:fs"
import { resolve } from "node:path"
import { load } from "./load.js"
import type { WhichFlags } from "./relayCommand.js"
import { defaultFile } from "./relayCommand.js"

export const run = ({ action, user, which }: {
  readonly action: keyof typeof Service.actions
  readonly user: boolean
  readonly which: Pick<WhichFlags, "identity"> & { readonly file: string }
}) =>
  Effect.gen(function*() {
    const machine = Service.here()
    // The job of launchd has no user of its own, and takes the files as they are named.
    if (user || machine.uid !== 0 || machine.platform !== "linux") {
      const file = resolve(which.file)
      const identity = Option.map(which.identity, (identity) => resolve(identity))
      if (action === "install") {
        yield* load({ bind: [], file, identity })
      }
      const scope = user || machine.uid !== 0 ? "user" : "system"
      return yield* Service.actions[action](relay(file, identity), scope, machine)
    }
    if (action === "install") {
      yield* inItsFolder(which)
      yield* outOfHomes(machine)
    }
    yield* Service.actions[action](relayOfMachine, "system", machine)
  })

/** The files of a relay that runs as a user of its own. The identity is for root only, and systemd passes it on. */
export const files = { config: "/etc/tx3-relay/relay.yml", identity: "/etc/tx3-relay/identity.pem" }

/** Where the commands find the service of the machine: a socket in its RuntimeDirectory. */
export const socket = "/run/tx3-relay/admin.sock"

const inItsFolder = ({ file, identity }: { readonly file: string; readonly identity: Option.Option<string> }) => {
  const others = [file === defaultFile ? files.config : file, Option.getOrElse(identity, () => files.identity)]
    .filter((path) => !Object.values(files).includes(resolve(path)))
  const missing = Object.values(files).filter((path) => !existsSync(path))
  return others.length > 0
    ? new UsageError({
      message: `a service of the machine has its files in /etc/tx3-relay, as relay.yml and identity.pem, and not ${
        others.join(" and ")
      }; move them there, or install it for this user alone with --user`
    })
    : missing.length > 0
    ? new UsageError({
      message: `there is no ${
        missing.join(" and no ")
      }; make them: tx3-relay --init --config ${files.config} --identity ${files.identity}`
    })
    : load({ bind: [], file: files.config, identity: Option.some(files.identity) })
}

/** The unit sees no home directories. */
const outOfHomes = ({ executable, script }: Service.Machine) => {
  const hidden = [executable, ...script === undefined ? [] : [script]].map((path) => realpathSync(path)).find((path) =>
    /^\/(home|root|run\/user)\//.test(path)
  )
  return hidden === undefined ? Effect.void : new UsageError({
    message:
      `the service sees no home directories, and so not ${hidden}; install tx3-relay and Node in /usr or /usr/local`
  })
}

/** The service of a user. */
export const relay = (file: string, identity: Option.Option<string>): Service.Service => {
  const args = [
    "--config",
    file,
    ...Option.match(identity, { onNone: () => [], onSome: (identity) => ["--identity", identity] })
  ]
  return {
    name: "tx3-relay",
    program: "tx3-relay",
    args,
    unit: (command) =>
      `[Unit]
Description=tx3 relay
Documentation=man:tx3-relay(1)
# A relay that crashes is started again for ever, every RestartSec.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${command(args)}
# Fails with the reason, and changes nothing, if the file is broken. SIGHUP would only say so in the log.
ExecReload=${command(["reload", "--config", file])}
# SIGTERM lets running splices end for drainTimeoutMs, 10 s unless it is set; TimeoutStopSec must be longer.
KillMode=mixed
TimeoutStopSec=30
Restart=on-failure
RestartSec=5
# Flags, file or settings are wrong: starting again mends nothing.
RestartPreventExitStatus=2
LimitNOFILE=65536

# What can be had without being root.
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native

[Install]
WantedBy=default.target
`
  }
}

/** The service of the machine. packaging/systemd/tx3-relay.service has the same text. */
export const relayOfMachine: Service.Service = {
  name: "tx3-relay",
  program: "tx3-relay",
  args: [],
  unit: (command) => unit(command([]))
}

const unit = (command: string) =>
  `[Unit]
Description=tx3 relay
Documentation=man:tx3-relay(1)
After=network-online.target
Wants=network-online.target
# A relay that crashes is started again for ever, every RestartSec.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${command} --config \${CONFIGURATION_DIRECTORY}/relay.yml --identity \${CREDENTIALS_DIRECTORY}/identity.pem
# Fails with the reason, and changes nothing, if the file is broken. SIGHUP would only say so in the log.
ExecReload=${command} reload
# The service cannot write beside its file, so the socket for the commands is in /run. Root and the service use it. The page
# signs in browsers that have a link of tx3-relay page. EnvironmentFile is read by systemd, so mode 0600 is enough for it;
# TX3_RELAY_METRICS=http://127.0.0.1:38143 in it is for Prometheus.
Environment=TX3_RELAY_ADMIN=unix:${socket},http://127.0.0.1:38142
Environment=TX3_RELAY_MONTHLY_BYTES_FILE=/var/lib/tx3-relay/month.json
EnvironmentFile=-/etc/tx3-relay/environment
# SIGTERM lets running splices end for drainTimeoutMs, 10 s unless it is set; TimeoutStopSec must be longer.
KillMode=mixed
TimeoutStopSec=30
Restart=on-failure
RestartSec=5
# Flags, file or settings are wrong: starting again mends nothing.
RestartPreventExitStatus=2

# Who it is, and what it has.
DynamicUser=yes
LoadCredential=identity.pem:/etc/tx3-relay/identity.pem
ConfigurationDirectory=tx3-relay
StateDirectory=tx3-relay
StateDirectoryMode=0700
RuntimeDirectory=tx3-relay
RuntimeDirectoryMode=0750
WorkingDirectory=/var/lib/tx3-relay
UMask=0077
# Two descriptors for each splice and one for each node, and pipes: docs/operating.md has the arithmetic.
LimitNOFILE=65536

# What it cannot do.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
PrivateUsers=yes
PrivateMounts=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
# AF_NETLINK is how a program asks for this machine's addresses, which a relay on 0.0.0.0 or [::] publishes.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @keyring @memlock @aio
# What is not allowed fails, and does not kill: Node tries some calls just to see.
SystemCallErrorNumber=EPERM
# The one hardening that cannot be had: Node compiles JavaScript to machine code in memory that it then executes.
MemoryDenyWriteExecute=no

[Install]
WantedBy=multi-user.target
`
