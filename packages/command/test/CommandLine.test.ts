import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Tx3Command } from "tx3"
import { RelayCommand } from "tx3-relay"
import * as CommandLine from "../src/internal/commandLine.js"

const read = (line: string) => {
  const [program, ...args] = line.split(" ") as [string, ...Array<string>]
  return program === "tx3"
    ? CommandLine.read(Tx3Command.command, program, args)
    : CommandLine.read(RelayCommand.command, program, args)
}

/** What cannot be meant, and the whole message: what was wrong, where, and what to do. */
const mistakes: ReadonlyArray<readonly [line: string, message: string]> = [
  ["tx3 conect", "there is no command \"conect\"; did you mean connect? tx3 --help lists the commands there are"],
  [
    "tx3 Connect ADDRESS",
    "there is no command \"Connect\"; did you mean connect? tx3 --help lists the commands there are"
  ],
  ["tx3 lisen RELAY", "there is no command \"lisen\"; did you mean listen? tx3 --help lists the commands there are"],
  [
    "tx3 recieve RELAY .",
    "there is no command \"recieve\"; did you mean receive? tx3 --help lists the commands there are"
  ],
  [
    "tx3 fowrard ADDRESS",
    "there is no command \"fowrard\"; did you mean forward? tx3 --help lists the commands there are"
  ],
  ["tx3 dance", "there is no command \"dance\"; tx3 --help lists the commands there are"],
  [
    "tx3 tx3-rst://relay:38141/x",
    "there is no command \"tx3-rst://relay:38141/x\"; tx3 --help lists the commands there are"
  ],
  ["tx3 -v", "there is no flag \"-v\"; did you mean --version? tx3 --help lists the flags there are"],
  ["tx3 -x", "there is no flag \"-x\"; tx3 --help lists the flags there are"],
  ["tx3 --verson", "there is no flag \"--verson\"; did you mean --version? tx3 --help lists the flags there are"],
  ["tx3 --verbose connect ADDRESS", "there is no flag \"--verbose\"; tx3 --help lists the flags there are"],
  ["tx3 --verbose ping ADDRESS", "the flag --verbose goes behind the command: tx3 ping --verbose"],
  ["tx3 -i me.pem connect ADDRESS", "the flag -i goes behind the command: tx3 connect -i"],
  ["tx3 --identity=me.pem expose 22", "the flag --identity goes behind the command: tx3 expose --identity"],
  [
    "tx3 connect --identiy me.pem ADDRESS",
    "there is no flag \"--identiy\"; did you mean --identity? tx3 connect --help lists the flags there are"
  ],
  [
    "tx3 connect -k ADDRESS",
    "there is no flag \"-k\"; did you mean --known? tx3 connect --help lists the flags there are"
  ],
  ["tx3 connect ADDRESS --colour", "there is no flag \"--colour\"; tx3 connect --help lists the flags there are"],
  ["tx3 connect ADDRESS --identity", "--identity needs a value; tx3 connect --help says which"],
  [
    "tx3 forward ADDRESS -listen 127.0.0.1:1",
    "there is no flag \"-listen\"; did you mean --listen? tx3 forward --help lists the flags there are"
  ],
  [
    "tx3 expose 127.0.0.1:22 --relay RELAY",
    "there is no flag \"--relay\"; tx3 expose --help lists the flags there are"
  ],
  ["tx3 expose 127.0.0.1:22 --vai RELAY", "there is no flag \"--vai\"; tx3 expose --help lists the flags there are"],
  [
    "tx3-relay --confg x",
    "there is no flag \"--confg\"; did you mean --config? tx3-relay --help lists the flags there are"
  ],
  ["tx3-relay --config", "--config needs a value; tx3-relay --help says which"],
  [
    "tx3-relay -config x",
    "there is no flag \"-config\"; did you mean --config? tx3-relay --help lists the flags there are"
  ],
  ["tx3-relay run", "there is no command \"run\"; tx3-relay --help lists the commands there are"],
  [
    "tx3-relay start",
    "there is no command \"start\"; tx3-relay --help lists the commands there are"
  ],
  [
    "tx3-relay stauts",
    "there is no command \"stauts\"; did you mean status? tx3-relay --help lists the commands there are"
  ],
  [
    "tx3-relay status --jsn",
    "there is no flag \"--jsn\"; did you mean --json? tx3-relay status --help lists the flags there are"
  ],
  ["tx3-relay --json status", "the flag --json goes behind the command: tx3-relay status --json"],
  ["tx3-relay --config x --initialise", "there is no flag \"--initialise\"; tx3-relay --help lists the flags there are"]
]

describe("the command line", () => {
  for (const [line, message] of mistakes) {
    it.effect(`refuses ${line}`, () =>
      Effect.map(Effect.flip(read(line)), (error) => assert.strictEqual(error.message, message)))
  }

  for (
    const [line, asked] of [
      ["tx3 help", "--help"],
      ["tx3 help connect", "connect --help"],
      ["tx3 help nothing", "--help"],
      ["tx3 version", "--version"],
      ["tx3 connect ADDRESS -h", "connect --help"],
      ["tx3 connect --help --colour", "connect --help"],
      ["tx3 --help connect", "connect --help"],
      ["tx3-relay --init --help", "--help"],
      ["tx3-relay --config r.yml --help", "--help"],
      ["tx3-relay --config r.yml check -h", "check --help"]
    ] as const
  ) {
    it.effect(`takes ${line} for a question`, () =>
      Effect.map(read(line), ({ args }) => assert.strictEqual(args.join(" "), asked)))
  }

  for (
    const [line, words] of [
      ["tx3", "tx3"],
      ["tx3 --version", "tx3"],
      ["tx3 connect ADDRESS --identity=me.pem", "tx3 connect"],
      ["tx3 receive --allow -digest RELAY .", "tx3 receive"],
      ["tx3 connect -- --address", "tx3 connect"],
      ["tx3-relay", "tx3-relay"],
      ["tx3-relay --config check", "tx3-relay"],
      ["tx3-relay -c x check --bind tx3-rst://127.0.0.1:0", "tx3-relay check"],
      ["tx3-relay kick -- -digest", "tx3-relay kick"],
      ["tx3-relay --log-level debug --config x", "tx3-relay"]
    ] as const
  ) {
    it.effect(`leaves ${line} as it is`, () =>
      Effect.map(read(line), (read) => {
        assert.strictEqual(read.args.join(" "), line.split(" ").slice(1).join(" "))
        assert.strictEqual(read.words.join(" "), words)
      }))
  }
})
