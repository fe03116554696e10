// `npm run chaos -- [--only NAME] [--write FILE]`: what happens to a registered node and to a transfer when the network between them
// and the relay fails. Network namespaces on this machine, as root: a node, a peer and a relay, each behind a router of its own link,
// at 20 Mbit/s. Each way to fail has its own network, lasts a bounded time, and leaves nothing behind. Prints a table; fails if a
// transfer neither arrives whole nor ends with an error, or the node is not reachable again in time.
import { execFileSync, spawn } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import { createReadStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { performance } from "node:perf_hooks"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath, URL } from "node:url"
import { parseArgs } from "node:util"

const root = fileURLToPath(new URL("../", import.meta.url))
const tx3 = join(root, "packages/tx3/bin/tx3.cjs")
const tx3Relay = join(root, "packages/tx3-relay/bin/tx3-relay.cjs")

const { values } = parseArgs({ options: { only: { type: "string" }, write: { type: "string" } } })

/** Longer than anything here may take: what has not ended then hangs. */
const hangsAfterMs = 240_000
/** From the end of a failure until the node is reachable: half a minute to notice it, and the longest pause between two tries. */
const reachableWithinMs = 75_000
const fileBytes = 12_000_000
const rate = "20mbit"

const run = (command, ...args) => execFileSync(command, args, { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" })

let networks = 0

/** A node (N), a peer (P) and a relay (R), joined by a router (W). */
class Network {
  prefix = `tx3c${process.pid}n${++networks}`
  children = new Set()

  constructor() {
    for (const name of ["N", "P", "R", "W"]) {
      run("ip", "netns", "add", this.prefix + name)
      this.on(name, "ip", "link", "set", "lo", "up")
    }
    for (const [at, name] of ["N", "P", "R"].entries()) {
      const net = `10.9.${at + 1}`
      this.on(
        "W",
        "ip",
        "link",
        "add",
        `to${name}`,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        this.prefix + name
      )
      this.on("W", "ip", "addr", "add", `${net}.1/24`, "dev", `to${name}`)
      this.on("W", "ip", "link", "set", `to${name}`, "up")
      this.on(name, "ip", "addr", "add", `${net}.2/24`, "dev", "eth0")
      this.on(name, "ip", "link", "set", "eth0", "up")
      this.on(name, "ip", "route", "add", "default", "via", `${net}.1`)
      this.on(
        "W",
        "tc",
        "qdisc",
        "add",
        "dev",
        `to${name}`,
        "root",
        "tbf",
        "rate",
        rate,
        "burst",
        "32kbit",
        "latency",
        "200ms"
      )
    }
    this.on("W", "sysctl", "-qw", "net.ipv4.ip_forward=1")
  }

  on(name, ...command) {
    return run("ip", "netns", "exec", this.prefix + name, ...command)
  }

  /** Starts a program; what it prints is collected. */
  start(name, ...command) {
    const child = spawn("ip", ["netns", "exec", this.prefix + name, ...command], { stdio: ["ignore", "pipe", "pipe"] })
    const program = { child, stdout: "", stderr: "" }
    child.stdout.on("data", (text) => program.stdout += text)
    child.stderr.on("data", (text) => program.stderr += text)
    program.ended = new Promise((resolve) => child.on("close", (code) => resolve(code)))
    this.children.add(program)
    return program
  }

  node(name, ...args) {
    return this.start(name, process.execPath, ...args)
  }

  async close() {
    for (const { child } of this.children) {
      child.kill("SIGKILL")
    }
    await Promise.all(Array.from(this.children, ({ ended }) => ended))
    for (const name of ["N", "P", "R", "W"]) {
      run("ip", "netns", "del", this.prefix + name)
    }
  }
}

const drop = (network, ...match) => network.on("W", "iptables", "-A", "FORWARD", ...match, "-j", "DROP")
const lift = (network) => network.on("W", "iptables", "-F", "FORWARD")

const loss = (part) => ({
  begin: (network) => drop(network, "-m", "statistic", "--mode", "random", "--probability", String(part)),
  end: lift
})

const linkDown = (device) => ({
  begin: (network) => network.on("W", "ip", "link", "set", device, "down"),
  ms: 30_000,
  end: (network) => network.on("W", "ip", "link", "set", device, "up")
})

/** What fails: from `begin` on, for so many milliseconds, until `end`; without a time for as long as the transfer lasts. */
const failures = {
  "nothing": { begin: () => {}, end: () => {} },
  "5 % of packets lost": loss(0.05),
  "15 % of packets lost": loss(0.15),
  "a link with an MTU of 576 bytes, with ICMP": {
    begin: (network) => network.on("W", "ip", "link", "set", "toR", "mtu", "576"),
    end: () => {}
  },
  "packets beyond 576 bytes dropped, without ICMP, for 60 s": {
    begin: (network) => drop(network, "-m", "length", "--length", "577:65535"),
    ms: 60_000,
    end: lift
  },
  "the node's link down for 30 s": linkDown("toN"),
  "the relay's link down for 30 s": linkDown("toR"),
  "another address for the node": {
    begin: (network) => {
      network.on("N", "ip", "addr", "del", "10.9.1.2/24", "dev", "eth0")
      network.on("N", "ip", "addr", "add", "10.9.1.3/24", "dev", "eth0")
      network.on("N", "ip", "route", "add", "default", "via", "10.9.1.1")
    },
    ms: 0,
    end: () => {}
  },
  "a NAT in front of the node that forgets all connections": {
    before: (network) => {
      network.on("W", "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "toR", "-j", "MASQUERADE")
      network.on("W", "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")
      drop(network, "-m", "conntrack", "--ctstate", "INVALID")
    },
    begin: async (network) => {
      // Entries that time out while the link is silent; then the NAT is as before.
      network.on("W", "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_established=1")
      network.on("W", "ip", "link", "set", "toN", "down")
      await sleep(4_000)
      network.on("W", "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_established=3600")
      network.on("W", "ip", "link", "set", "toN", "up")
    },
    ms: 0,
    end: () => {}
  },
  "1 Mbit/s": {
    begin: (network) =>
      network.on(
        "W",
        "tc",
        "qdisc",
        "change",
        "dev",
        "toR",
        "root",
        "tbf",
        "rate",
        "1mbit",
        "burst",
        "16kbit",
        "latency",
        "400ms"
      ),
    ms: 20_000,
    end: (network) =>
      network.on(
        "W",
        "tc",
        "qdisc",
        "change",
        "dev",
        "toR",
        "root",
        "tbf",
        "rate",
        rate,
        "burst",
        "32kbit",
        "latency",
        "200ms"
      )
  },
  "20 to 100 ms of delay each way, and packets that overtake each other": {
    before: async (network) => {
      const tunnel = network.node(
        "W",
        join(root, "scripts/chaos-tunnel.mjs"),
        `/run/netns/${network.prefix}N`,
        "20",
        "100"
      )
      await until("the tunnel", tunnel, () => tunnel.stdout.includes("ready"))
      network.on("W", "ip", "addr", "add", "10.9.9.1/24", "dev", "tun0")
      network.on("W", "ip", "link", "set", "tun0", "up")
      network.on("N", "ip", "addr", "add", "10.9.9.2/24", "dev", "tun0")
      network.on("N", "ip", "link", "set", "tun0", "up")
      network.on("N", "ip", "route", "replace", "default", "via", "10.9.9.1", "dev", "tun0")
    },
    begin: () => {},
    end: () => {}
  }
}

const until = async (what, program, holds, ms = 30_000) => {
  const begin = performance.now()
  while (!holds()) {
    if (performance.now() - begin > ms || program.child.exitCode !== null) {
      throw new Error(`${what} does not come: ${program.stdout} ${program.stderr}`)
    }
    await sleep(50)
  }
}

const hashOf = async (file) => {
  const hash = createHash("sha256")
  for await (const piece of createReadStream(file)) {
    hash.update(piece)
  }
  return hash.digest("hex")
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`

/** The error of a program, in one line. */
const errorOf = ({ stderr }) => stderr.trim().split("\n").at(-1)

/** Sends a file from the peer. */
const send = (network, file, address) => network.node("P", tx3, "send", file, address)

const measure = async (name, failure, folder) => {
  const network = new Network()
  try {
    await failure.before?.(network)
    const config = join(folder, "tx3-relay.yml")
    run(process.execPath, tx3Relay, "--init", "--config", config)
    const relay = network.node("R", tx3Relay, "--config", config, "--bind", "tx3-rst://10.9.3.2:38141")
    await until("the relay's address", relay, () => relay.stdout.includes("tx3-rst://"))
    const [via] = /tx3-rst:\S+/.exec(relay.stdout)
    const inbox = join(folder, "inbox")
    mkdirSync(inbox)
    const receiver = network.node("N", tx3, "receive", "--keep", "--identity", join(folder, "node.pem"), via, inbox)
    await until("the node's address", receiver, () => receiver.stdout.includes("tx3-rst://"))
    const [address] = /tx3-rst:\S+/.exec(receiver.stdout)

    const file = join(folder, "file")
    writeFileSync(file, randomBytes(fileBytes))
    const begin = performance.now()
    const transfer = send(network, file, address)
    const bytes = () => Number(network.on("N", "cat", "/sys/class/net/eth0/statistics/rx_bytes"))
    const before = bytes()
    await until(
      "a part of the transfer",
      transfer,
      () => failure.begin.length === 0 || bytes() > before + fileBytes / 10
    )
    await failure.begin(network)
    let tookMs = 0
    const [code] = await Promise.all([
      Promise.race([transfer.ended, sleep(hangsAfterMs, "hangs", { ref: false })]).then((code) => {
        tookMs = performance.now() - begin
        return code
      }),
      failure.ms === undefined ? undefined : sleep(failure.ms).then(() => failure.end(network))
    ])
    if (failure.ms === undefined) {
      await failure.end(network)
    }
    const isWhole = code === 0 && await hashOf(join(inbox, "file")) === await hashOf(file)
    const outcome = code === "hangs"
      ? `hangs after ${seconds(hangsAfterMs)}`
      : isWhole
      ? "arrived, equal SHA-256"
      : code === 0
      ? "SUCCESS WITHOUT THE FILE"
      : `ended: ${errorOf(transfer)}`

    // Whether the node can be reached, by a small file.
    const since = performance.now()
    const small = join(folder, "small")
    writeFileSync(small, "x")
    let reachable = false
    while (!reachable && performance.now() - since < reachableWithinMs) {
      const probe = send(network, small, address)
      const answer = await Promise.race([probe.ended, sleep(20_000, "late", { ref: false })])
      probe.child.kill("SIGKILL")
      reachable = answer === 0
      await sleep(reachable ? 0 : 500)
    }
    const again = reachable ? seconds(performance.now() - since) : `not within ${seconds(reachableWithinMs)}`
    console.log(`${name}: ${outcome}, ${seconds(tookMs)}; reachable ${again}`)
    return {
      row: `| ${name} | ${outcome} | ${seconds(tookMs)} | ${again} |`,
      fails: !reachable || !(isWhole || code > 0)
    }
  } finally {
    await network.close()
  }
}

const rows = []
let failed = false
for (const [name, failure] of Object.entries(failures)) {
  if (values.only === undefined || name.includes(values.only)) {
    const folder = mkdtempSync(join(tmpdir(), "tx3-chaos-"))
    try {
      run(process.execPath, tx3, "keygen", join(folder, "node.pem"))
      const { fails, row } = await measure(name, failure, folder)
      rows.push(row)
      failed ||= fails
    } catch (error) {
      rows.push(`| ${name} | not measured: ${error.message} | | |`)
      console.error(error)
      failed = true
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
const table =
  `| what fails | the transfer | it took | the node was reachable again after |\n| --- | --- | --- | --- |\n${
    rows.join("\n")
  }\n`
console.log(table)
if (values.write !== undefined) {
  const text = readFileSync(values.write, "utf8")
  writeFileSync(
    values.write,
    text.replace(/\| what fails[\s\S]*?\n\n|\| what fails[\s\S]*$/, `${table}\n`).trimEnd() + "\n"
  )
}
process.exitCode = failed ? 1 : 0
