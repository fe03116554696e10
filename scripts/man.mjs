// Makes the man pages of both programs from their own help: node scripts/man.mjs [FOLDER], packaging/man without it.
import * as Command from "@effect/cli/Command"
import * as Help from "@tx3/command/Help"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, URL } from "node:url"
import * as Tx3Command from "../packages/tx3/dist/Tx3Command.js"
import * as RelayCommand from "../packages/tx3-relay/dist/RelayCommand.js"

const { version } = JSON.parse(readFileSync(new URL("../packages/tx3/package.json", import.meta.url), "utf8"))
/** Of what the pages say, as it would be in their heads; a page must not differ from one day to the next. */
const date = "2026-11-24"

/** In lines of at most 80 characters, none of which is taken for a request. */
const escape = (text) =>
  text.trim().replaceAll("\\", "\\e").replaceAll("-", "\\-")
    .replaceAll(/(.{1,78})(\s+|$)/g, "$1\n").trimEnd()
    .replaceAll(/^[.']/gm, "\\&$&")

/** A term and what is said of it. */
const item = ({ term, text }) => [".TP", `.B ${escape(term)}`, escape(text)]

const paragraphs = (texts) => texts.flatMap((text) => [".PP", escape(text)])

const commandOf = (program, [name, command]) => {
  const help = Help.of(command, `${program} ${name}`)
  return [
    `.SS ${escape(`${program} ${name}`)}`,
    `.B ${escape(help.usage)}`,
    ...paragraphs(help.paragraphs),
    ...[...help.arguments, ...help.options].flatMap(item),
    ...help.examples.length > 0 ? [".PP", "Examples:", ...help.examples.flatMap(item)] : []
  ]
}

const section = (title, items) => items.length > 0 ? [`.SH ${title}`, ...items.flatMap(item)] : []

const page = ({ command, more, name, seeAlso, what }) => {
  const help = Help.of(command.descriptor, name)
  const subcommands = Array.from(Command.getSubcommands(command)).sort(([a], [b]) => a < b ? -1 : 1)
  return [
    `.\\" Made by npm run man from the program's own help; do not edit.`,
    `.TH ${name.toUpperCase()} 1 ${date} "tx3 ${version}" "User Commands"`,
    ".SH NAME",
    `${escape(name)} \\- ${what}`,
    ".SH SYNOPSIS",
    ...help.options.length > 0 ? [`.B ${escape(help.usage)}`, ".br"] : [],
    `.B ${escape(name)}`,
    ".I COMMAND",
    "\\&...",
    ".SH DESCRIPTION",
    ...paragraphs(help.paragraphs).slice(1),
    ...section("EXAMPLES", help.examples),
    ...section("OPTIONS", help.options),
    ".SH COMMANDS",
    ...subcommands.flatMap((subcommand) => commandOf(name, subcommand)),
    ...more.flatMap(({ items, title }) => section(title, items)),
    ".SH SEE ALSO",
    ...seeAlso,
    ""
  ].join("\n")
}

const pages = {
  "tx3-relay.1": page({
    name: "tx3-relay",
    what: "TCP rendezvous relay for machines behind a NAT",
    command: RelayCommand.command,
    more: RelayCommand.more,
    seeAlso: [".BR tx3 (1)", ".PP", "docs/operating.md in the sources, the operator\\(aqs guide"]
  }),
  "tx3.1": page({
    name: "tx3",
    what: "reach machines behind a NAT through a relay",
    command: Tx3Command.command,
    more: Tx3Command.more,
    seeAlso: [".BR tx3\\-relay (1)", ".PP", "docs/reaching.md in the sources, the user\\(aqs guide"]
  })
}

const folder = process.argv[2] ?? fileURLToPath(new URL("../packaging/man", import.meta.url))
for (const [name, text] of Object.entries(pages)) {
  writeFileSync(join(folder, name), text)
}
