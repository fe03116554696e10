import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { UpFile } from "@tx3/reach"
import * as programs from "@tx3/testing/builtPrograms"
import { Effect } from "effect"
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Tx3Command } from "tx3"
import { inProcess } from "../../command/test/utils/inProcess.js"

const digest = "1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"
const other = "A-QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdo"
const relay = `tx3-rst://127.0.0.1:1/${digest}`

/** Words of the lines below. */
const short: Record<string, string> = {
  FAR: "<far relay>",
  RELAY: "<relay>",
  OTHER: "<other relay>",
  DIGEST: "<digest>"
}

/** Replaces what a line of the tables writes short, and DIR by the folder that the test made. */
const whole = (text: string, folder: string) =>
  text.replaceAll("<far relay>", relay.replace("127.0.0.1", "far.example")).replaceAll("<relay>", relay).replaceAll(
    "<other relay>",
    relay.replace(digest, other)
  ).replaceAll(
    "<digest>",
    digest
  )
    .replaceAll("<other>", other)
    .replaceAll("DIR", folder)

/** What people type, and the whole message that they get: what is wrong, where, and what to do. */
const mistakes: ReadonlyArray<readonly [line: string, message: string]> = [
  ["connect", "ADDRESS is missing\nusage: tx3 connect ADDRESS... [OPTIONS]\ntx3 connect --help says more"],
  ["ping", "ADDRESS is missing\nusage: tx3 ping ADDRESS [OPTIONS]\ntx3 ping --help says more"],
  [
    "ping RELAY extra",
    "there is one argument too many: extra\nusage: tx3 ping ADDRESS [OPTIONS]\ntx3 ping --help says more"
  ],
  [
    "ping RELAY --count 0",
    "--count must be a whole number from 1 to 1000000\nusage: tx3 ping ADDRESS [OPTIONS]\ntx3 ping --help says more"
  ],
  [
    "ping RELAY --count ten",
    "--count must be a whole number from 1 to 1000000\nusage: tx3 ping ADDRESS [OPTIONS]\ntx3 ping --help says more"
  ],
  [
    "ping RELAY --interval -1",
    "--interval must be a whole number from 0 to 3600000\nusage: tx3 ping ADDRESS [OPTIONS]\ntx3 ping --help says more"
  ],
  [
    "forward RELAY",
    "--listen is missing\nusage: tx3 forward ADDRESS... --listen ENDPOINT [OPTIONS]\ntx3 forward --help says more"
  ],
  [
    "connect home",
    "\"home\" is no address and no name in /dev/null; write tx3-rst://HOST:PORT/DIGEST, or make it a name: tx3 name add home ADDRESS"
  ],
  [
    "connect hone --known DIR/known",
    "there is no name \"hone\" in DIR/known; did you mean home?"
  ],
  ["ssh-config home --known DIR/known", "home has no address in DIR/known; give it one: tx3 name add home ADDRESS"],
  [
    "name",
    "ACTION is missing\nusage: tx3 name ACTION [WORD...] [OPTIONS]\ntx3 name --help says more"
  ],
  [
    "name ad home RELAY",
    "the argument must be one of add, list, remove, rename\nusage: tx3 name ACTION [WORD...] [OPTIONS]\ntx3 name --help says more"
  ],
  ["name add home", "usage: tx3 name add NAME ADDRESS..."],
  [
    "name add home RELAY OTHER",
    "<other relay> is the address of another node than <relay>; a name stands for one node"
  ],
  [
    "name add home OTHER --known DIR/known",
    "DIR/known: home is <digest>, and not <other>; if you trust the new one as much: tx3 name remove home"
  ],
  [
    "name remove house --known DIR/known",
    "there is no name \"house\" in DIR/known; tx3 name list shows those there are"
  ],
  ["relay use", "there is no HOME to keep it in; set TX3_RELAY in place of that"],
  ["expose 22", "say where to be reached, with --via RELAY; or set a relay for all commands once: tx3 relay use RELAY"],
  [
    "listen",
    "say where to be reached, with an address: tx3 listen RELAY; or set a relay for all commands once: tx3 relay use RELAY"
  ],
  ["receive RELAY DIR/none", "DIR/none: there is no such folder; make it, or name another"],
  ["receive DIR/there.pem RELAY", "DIR/there.pem is not a folder"],
  [
    "receive relay.example DIR",
    "\"relay.example\" is no address of a relay; write tx3 receive tx3-rst://HOST:PORT/DIGEST DIR"
  ],
  ["keygen", "FILE is missing\nusage: tx3 keygen FILE\ntx3 keygen --help says more"],
  [
    "keygen DIR/there.pem",
    "DIR/there.pem: exists already and is left as it is; name another file, or remove it to get a new address"
  ],
  ["keygen DIR/no/me.pem", "cannot write DIR/no/me.pem: no such file or directory"],
  [
    "send",
    "PATH... [ADDRESS] is missing\nusage: tx3 send PATH... [ADDRESS] [OPTIONS]\ntx3 send --help says more"
  ],
  ["send RELAY", "say what to send, and then the address: tx3 send PATH... ADDRESS"],
  [
    "send DIR/there.pem",
    "say whom to send it to: tx3 send PATH... ADDRESS; or set a relay once, and tx3 send PATH... prints a code for the receiver: tx3 relay use RELAY"
  ],
  [
    "send DIR/there.pem --via tx3-st://127.0.0.1:1/<digest>",
    "tx3-st://127.0.0.1:1/<digest> is no relay; a code needs one: tx3-rst://HOST:PORT/DIGEST"
  ],
  ["send DIR/there.pem RELAY --via RELAY", "--via is for a code; with an address it has no meaning"],
  ["send DIR/none --via RELAY", "DIR/none: there is no such file or folder"],
  [
    "send DIR/there.pem hone",
    "\"hone\" is no address and no name in /dev/null; write tx3-rst://HOST:PORT/DIGEST, or make it a name: tx3 name add hone ADDRESS"
  ],
  [
    "send DIR/there.pem --via RELAY",
    "cannot register at <relay>: cannot connect to 127.0.0.1:1 (connection refused); is it running and reachable?"
  ],
  ["receive 417923-crater-lemn", "no code has the word \"lemn\"; did you mean lemon?"],
  ["receive 417923-crater-xylophone", "no code has the word \"xylophone\"; compare it with what the sender sees"],
  ["receive 417923", "\"417923\" is no code; a code has six digits and two words, as 417923-crater-lemon"],
  [
    "receive 41792-crater-lemon",
    "\"41792-crater-lemon\" is no code; a code has six digits and two words, as 417923-crater-lemon"
  ],
  [
    "receive 417923-crater-lemon",
    "say at which relay the sender waits: tx3 receive CODE RELAY; or set it once: tx3 relay use RELAY"
  ],
  [
    "receive 417923-crater-lemon 417924-crater-lemon",
    "417923-crater-lemon and 417924-crater-lemon are two codes; receive one after the other"
  ],
  [
    "receive 417923-crater-lemon RELAY --keep",
    "a code stands for one sender; --keep, --qr, --allow and --allow-file are for tx3 receive without a code"
  ],
  ["send - RELAY", "stdin has no name; give it one: tx3 send - ADDRESS --name NAME"],
  ["send DIR/there.pem DIR/known RELAY --name x", "--name is for one path; each of several has its own name"],
  ["send /dev/null RELAY", "/dev/null: is neither a file nor a folder"],
  ["send RELAY DIR/there.pem", "the address comes last, behind what to send: tx3 send PATH... ADDRESS"],
  ["send DIR/none RELAY", "DIR/none: there is no such file or folder"],
  [
    "send DIR/there.pem 127.0.0.1:1",
    "\"127.0.0.1:1\": scheme is neither tx3-st nor tx3-rst; write tx3-st://HOST:PORT/DIGEST or tx3-rst://HOST:PORT/DIGEST"
  ],
  ["connect tx3-rst://127.0.0.1:1", "\"tx3-rst://127.0.0.1:1\": digest is missing; write tx3-rst://HOST:PORT/DIGEST"],
  [
    "connect tx3-rst://127.0.0.1:1/short",
    "\"tx3-rst://127.0.0.1:1/short\": digest is not the base64url of 32 bytes, 43 characters without padding"
  ],
  [
    "connect tx3-rst://127.0.0.1/<digest>",
    "\"tx3-rst://127.0.0.1/<digest>\": port is missing; write tx3-rst://HOST:PORT/DIGEST"
  ],
  [
    "connect tx3-rst://127.0.0.1:99999/<digest>",
    "\"tx3-rst://127.0.0.1:99999/<digest>\": port is not a decimal number from 0 to 65535"
  ],
  [
    "connect http://127.0.0.1:1/<digest>",
    "\"http://127.0.0.1:1/<digest>\": scheme is neither tx3-st nor tx3-rst; write tx3-st://HOST:PORT/DIGEST or tx3-rst://HOST:PORT/DIGEST"
  ],
  [
    "connect RELAY OTHER",
    "<other relay> is the address of another node than <relay>; give addresses of one node, which end in the same digest"
  ],
  ["connect RELAY", "cannot connect to 127.0.0.1:1 (connection refused); is it running and reachable?"],
  [
    "HTTPS_PROXY=ftp://me:secret@127.0.0.1:1 connect FAR",
    "HTTPS_PROXY: the scheme ftp is unknown; write http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before HOST where the proxy wants it"
  ],
  [
    "ALL_PROXY=socks5://me:secret@127.0.0.1:99999 connect FAR",
    "ALL_PROXY: it is no URL of a proxy; write http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before HOST where the proxy wants it"
  ],
  [
    "HTTPS_PROXY=http://127.0.0.1:1/path connect FAR",
    "HTTPS_PROXY: there must be a host and a port, and nothing behind them; write http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before HOST where the proxy wants it"
  ],
  [
    "HTTPS_PROXY=http://me:secret@127.0.0.1:1 connect FAR",
    "cannot connect to the proxy http://127.0.0.1:1 (connection refused); set HTTPS_PROXY or ALL_PROXY to another, or name the host of far.example:1 in NO_PROXY to go around it"
  ],
  [
    "HTTPS_PROXY=http://127.0.0.1:2 connect RELAY",
    "cannot connect to 127.0.0.1:1 (connection refused); is it running and reachable?"
  ],
  ["connect --identity DIR/none.pem RELAY", "DIR/none.pem: there is no such file; make one with: tx3 keygen FILE"],
  [
    "forward RELAY --listen here",
    "\"here\" is no endpoint; write HOST:PORT, as 127.0.0.1:22 or [::1]:22, a port of 127.0.0.1 alone, udp:HOST:PORT, or unix:PATH"
  ],
  [
    "forward RELAY --listen udp:here",
    "\"udp:here\" is no endpoint; write HOST:PORT, as 127.0.0.1:22 or [::1]:22, a port of 127.0.0.1 alone, udp:HOST:PORT, or unix:PATH"
  ],
  ["forward RELAY --listen udp:192.0.2.7:1", "cannot listen at udp:192.0.2.7:1: this machine has no such address"],
  [
    "forward RELAY --listen unix:DIR/no/a.sock",
    "cannot listen at unix:DIR/no/a.sock: there is no folder DIR/no; make it, or choose another path"
  ],
  ["forward RELAY --listen 192.0.2.7:1", "cannot listen at 192.0.2.7:1: this machine has no such address"],
  [
    "forward RELAY --listen 127.0.0.1:0 --name a/b",
    "/dev/null: \"a/b\" is no name; use up to 64 letters, digits, dots, hyphens and underscores"
  ],
  [
    "expose 127.0.0.1:22 --via RELAY --allow bob",
    "--allow: bob is no digest, the 43 characters at the end of an address, and no name in /dev/null"
  ],
  [
    "expose socks --via RELAY --to 10.0.0.0/8:22",
    "a SOCKS5 proxy is never for everyone; say who may connect: --allow DIGEST, or --allow-file FILE"
  ],
  ["expose socks --via RELAY --allow DIGEST", "say what may be connected to, as --to 192.168.1.0/24:22,80"],
  [
    "expose socks --via RELAY --allow DIGEST --to 10.0.0.0/8",
    "\"10.0.0.0/8\" is no destination; write RANGE:PORTS, as 192.168.1.0/24:22,80 or 10.0.0.7:8000-8100 or [fd00::/8]:443, with * for all ports"
  ],
  ["expose 22 --via RELAY --to 10.0.0.0/8:22", "--to goes with tx3 expose socks alone"],
  ["expose 127.0.0.1:22 --via RELAY --allow-file DIR/none", "cannot read DIR/none: no such file or directory"],
  [
    "expose 127.0.0.1:22 --via RELAY --identity DIR/none",
    "DIR/none: there is no such file; make one with: tx3 keygen FILE"
  ],
  [
    "listen RELAY",
    "cannot register at <relay>: cannot connect to 127.0.0.1:1 (connection refused); is it running and reachable?"
  ],
  [
    "listen tx3-st://192.0.2.7:0",
    "cannot listen at 192.0.2.7:0: this machine has no such address; bind one of its own, or 0.0.0.0 or [::] for all of them"
  ],
  [
    "up --config DIR/none.yml",
    "DIR/none.yml: there is no such file; tx3 up --init makes one, and --config names another"
  ],
  [
    "up --config DIR/typo.yml",
    "DIR/typo.yml: expose.ssh.servce: there is no such setting; there are service, to, identity, relays, allow, allowFile, allowTruncated"
  ],
  [
    "up --config DIR/top.yml",
    "DIR/top.yml: exposed: there is no such setting; there are identity, relays, known, status, expose, forward"
  ],
  [
    "up --config DIR/who.yml",
    "DIR/who.yml: expose.ssh.identity: is missing; make one with tx3 keygen FILE, or the address is new each time"
  ],
  [
    "up --config DIR/open.yml",
    "DIR/open.yml: expose.lan.allow: is missing; a SOCKS5 proxy is never for everyone, so say who may connect here or in allowFile"
  ],
  [
    "up --config DIR/nowhere.yml",
    "DIR/nowhere.yml: expose.lan.to: is missing; say what may be connected to, as [\"192.168.1.0/24:22,80\"]"
  ],
  [
    "up --config DIR/where.yml",
    "DIR/where.yml: expose.lan.to: \"10.0.0.7\" is no destination; write RANGE:PORTS, as 192.168.1.0/24:22,80 or 10.0.0.7:8000-8100 or [fd00::/8]:443, with * for all ports"
  ],
  ["up --config DIR/to.yml", "DIR/to.yml: expose.lan.to: goes with service: socks alone"],
  ["up --config DIR/empty.yml", "DIR/empty.yml: there is nothing in it to expose or to forward"],
  [
    "up --init --config DIR/up.yml",
    "DIR/up.yml: exists already and is left as it is; name another file, or remove it to get a new address"
  ],
  [
    "up --init --config DIR/new.yml",
    "say at which relay: tx3 up --init --via RELAY; or set one once: tx3 relay use RELAY"
  ],
  [
    "up --init --config DIR/new.yml --via RELAY --expose 22",
    "--expose \"22\": write NAME=ENDPOINT, as ssh=22 or web=unix:/run/web.sock"
  ],
  ["up --via RELAY", "--via and --expose go with --init; the file says what to expose, and where"],
  ["reload --config DIR/up.yml", "no tx3 up runs with DIR/up.yml (DIR/up.sock: no such file or directory)"],
  ["status --config DIR/up.yml", "no tx3 up runs with DIR/up.yml (DIR/up.sock: no such file or directory)"],
  ["page --config DIR/up.yml", "no tx3 up runs with DIR/up.yml (DIR/up.sock: no such file or directory)"],
  ["logs --config DIR/up.yml", "no tx3 up runs with DIR/up.yml (DIR/up.sock: no such file or directory)"],
  [
    "logs --config DIR/up.yml --since yesterday",
    "--since \"yesterday\": write an age, as 90s, 10m, 2h or 1d, or a time, as 2026-01-31T12:00:00Z"
  ],
  [
    "logs --lines many",
    "--lines must be a whole number from 0 to 1000\nusage: tx3 logs [OPTIONS]\ntx3 logs --help says more"
  ],
  [
    "service",
    "ACTION is missing\nusage: tx3 service ACTION [OPTIONS]\ntx3 service --help says more"
  ],
  [
    "service instal",
    "the argument must be one of install, uninstall, status\nusage: tx3 service ACTION [OPTIONS]\ntx3 service --help says more"
  ],
  [
    "service install --user --config DIR/none.yml",
    "DIR/none.yml: there is no such file; tx3 up --init makes one, and --config names another"
  ],
  [
    "service install --user --config DIR/empty.yml",
    "DIR/empty.yml: there is nothing in it to expose or to forward"
  ]
]

const files = {
  "there.pem": "",
  known: `${digest} home\n`,
  "typo.yml": "expose:\n  ssh:\n    servce: 127.0.0.1:22\n",
  "top.yml": "exposed:\n  ssh: {}\n",
  "who.yml": "expose:\n  ssh:\n    service: 127.0.0.1:22\n",
  "open.yml": "relays: [<relay>]\nidentity: a.pem\nexpose:\n  lan: {service: socks, to: ['10.0.0.7:22']}\n",
  "nowhere.yml": "relays: [<relay>]\nidentity: a.pem\nexpose:\n  lan: {service: socks, allow: []}\n",
  "where.yml": "relays: [<relay>]\nidentity: a.pem\nexpose:\n  lan: {service: socks, allow: [], to: ['10.0.0.7']}\n",
  "to.yml": "relays: [<relay>]\nidentity: a.pem\nexpose:\n  lan: {service: udp:53, to: ['10.0.0.7:22']}\n",
  "empty.yml": "relays: [<relay>]\n",
  "up.yml": `forward:\n  home:\n    to: [<relay>]\n    listen: 127.0.0.1:0\n`
}

/** A command in this process, as its program runs it, behind variables that it begins with. */
const run = (words: ReadonlyArray<string>) => {
  const isVariable = (word: string) => /^[A-Z_]+=/.test(word)
  const args = words.filter((word) => !isVariable(word))
  const variables = words.filter(isVariable).map((word) => word.split(/=(.*)/s).slice(0, 2) as [string, string])
  return inProcess(Tx3Command.cli, args, { TX3_KNOWN: "/dev/null", ...Object.fromEntries(variables) })
}

it.scopedLive("tx3 up --init writes a file that tx3 up takes", () =>
  Effect.gen(function*() {
    const folder = yield* programs.temporaryFolder
    const config = join(folder, "tx3.yml")
    yield* run(["up", "--init", "--config", config, "--via", relay, "--expose", "web=127.0.0.1:80"])
    const up = yield* Effect.provide(UpFile.read(config), NodeContext.layer)
    assert.deepStrictEqual(up.expose.map(({ identity, name, relays }) => [name, identity, relays]), [
      ["web", join(folder, "web.pem"), [relay]]
    ])
    assert.deepStrictEqual(readdirSync(folder).sort(), ["tx3.yml", "web.pem"])
    assert.strictEqual(statSync(config).mode & 0o777, 0o600)
  }))

describe("a mistake", () => {
  for (const [line, message] of mistakes) {
    it.scopedLive(`tx3 ${line}`, () =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        mkdirSync(folder, { recursive: true })
        for (const [name, text] of Object.entries(files)) {
          writeFileSync(join(folder, name), whole(text, folder))
        }
        const error = yield* Effect.flip(run(line.split(" ").map((word) => whole(short[word] ?? word, folder))))
        assert.strictEqual(error.message, whole(message, folder))
      }))
  }
})
