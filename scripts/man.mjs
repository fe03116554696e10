// Makes the man pages of both programs from their own help: node scripts/man.mjs [FOLDER], packaging/man without it.
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as CommandDescriptor from "@effect/cli/CommandDescriptor"
import * as Usage from "@effect/cli/Usage"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, URL } from "node:url"
import * as Tx3Command from "../packages/tx3/dist/Tx3Command.js"
import * as RelayCommand from "../packages/tx3-relay/dist/RelayCommand.js"

const config = { ...CliConfig.defaultConfig, showBuiltIns: false }
const { version } = JSON.parse(readFileSync(new URL("../packages/tx3/package.json", import.meta.url), "utf8"))
/** Of what the pages say, as it would be in their heads; a page must not differ from one day to the next. */
const date = "2026-11-24"

/** What @effect/cli says of each option of a kind, and a page says by its form, or at its end. */
const said = [
  "A user-defined piece of text.",
  "A true or false value.",
  "An integer.",
  "This setting is optional.",
  "This option can be set from environment variables."
]

const textOf = (span) => {
  switch (span._tag) {
    case "Sequence":
      return textOf(span.left) + textOf(span.right)
    case "Text":
    case "URI":
      return span.value
    default:
      return textOf(span.value)
  }
}

/** The parts of a help text in their order, none of which has a sequence around it. */
const partsOf = (doc) =>
  doc._tag === "Sequence" ? [...partsOf(doc.left), ...partsOf(doc.right)] : doc._tag === "Empty" ? [] : [doc]

/** In lines of at most 80 characters, none of which is taken for a request. */
const escape = (text) =>
  text.trim().replaceAll("\\", "\\e").replaceAll("-", "\\-")
    .replaceAll(/(.{1,78})(\s+|$)/g, "$1\n").trimEnd()
    .replaceAll(/^[.']/gm, "\\&$&")

/** An option has its parentheses only around its alias. */
const termOf = (span) => escape(textOf(span).replace(/^\((.*)\)$/, "$1"))

const render = (part) => {
  switch (part._tag) {
    case "Header":
      return [`.SH ${escape(textOf(part.value))}`]
    case "Paragraph":
      return said.includes(textOf(part.value)) ? [] : [".PP", escape(textOf(part.value))]
    case "Enumeration":
      return part.elements.flatMap((element) => [".IP \\(bu 2", ...indented(element)])
    case "DescriptionList":
      return part.definitions.flatMap(([term, doc]) => [".TP", `.B ${termOf(term)}`, ...indented(doc)])
  }
}

/** Paragraphs behind the first keep the indentation. */
const indented = (doc) =>
  partsOf(doc).map(render).filter((lines) => lines.length > 0)
    .flatMap((lines, index) => index === 0 ? lines.filter((line) => line !== ".PP") : [".IP", ...lines.slice(1)])

/** The parts under each header. */
const sectionsOf = (doc) => {
  const sections = new Map()
  let section
  for (const part of partsOf(doc)) {
    if (part._tag === "Header") {
      sections.set(textOf(part.value), section = [])
    } else {
      section.push(part)
    }
  }
  return sections
}

const synopsis = (prefix, usage) => {
  const [part] = partsOf(Usage.getHelp(usage))
  return [`.B ${escape(prefix)}`, escape(textOf(part.value).slice(prefix.split(" ").at(-1).length))].filter(Boolean)
}

const commandOf = (program, name, command) => {
  const sections = sectionsOf(CommandDescriptor.getHelp(command, config))
  return [
    `.SS ${escape(`${program} ${name}`)}`,
    ...synopsis(`${program} ${name}`, CommandDescriptor.getUsage(command)),
    ...["DESCRIPTION", "ARGUMENTS", "OPTIONS"].flatMap((section) => sections.get(section) ?? []).flatMap(render)
  ]
}

const page = ({ command, ends, name, what }) => {
  const sections = sectionsOf(Command.getHelp(command, config))
  const subcommands = Array.from(Command.getSubcommands(command)).sort(([a], [b]) => a < b ? -1 : 1)
  const of = (section) => (sections.get(section) ?? []).flatMap(render)
  const options = of("OPTIONS")
  return [
    `.\\" Made by npm run man from the program's own help; do not edit.`,
    `.TH ${name.toUpperCase()} 1 ${date} "tx3 ${version}" "User Commands"`,
    ".SH NAME",
    `${escape(name)} \\- ${what}`,
    ".SH SYNOPSIS",
    ...synopsis(name, Command.getUsage(command)),
    ".br",
    `.B ${escape(name)}`,
    ".I COMMAND",
    "\\&...",
    ".SH DESCRIPTION",
    ...of("DESCRIPTION").slice(1),
    ...options.length > 0 ? [".SH OPTIONS", ...options] : [],
    ".SH COMMANDS",
    ...subcommands.flatMap(([subcommand, descriptor]) => commandOf(name, subcommand, descriptor)),
    ...ends,
    ""
  ].join("\n")
}

const section = (title, entries) => [
  `.SH ${title}`,
  ...entries.flatMap(([term, text]) => [".TP", `.B ${escape(term)}`, escape(text)])
]

const pages = {
  "tx3-relay.1": page({
    name: "tx3-relay",
    what: "TCP rendezvous relay for machines behind a NAT",
    command: RelayCommand.command,
    ends: [
      ...section("ENVIRONMENT", [
        ["TX3_RELAY_CONFIG", "The relay's file, where --config does not say."],
        ["TX3_RELAY_IDENTITY", "The relay's certificate and key, where --identity does not say."],
        [
          "TX3_RELAY_ADMIN",
          "The admin server, where --admin does not say, and where a relay has it; several with commas between them."
        ],
        ["TX3_RELAY_METRICS", "Where a relay serves metrics alone, without a token."],
        ["TX3_RELAY_ADMIN_TOKEN", "The token that the admin server wants."],
        ["CREDENTIALS_DIRECTORY", "Set by systemd. The identity may be a file in there."]
      ]),
      ...section("FILES", [
        [
          "./tx3-relay.yml",
          "The relay's file, where nothing else says. With an identity in it, only its owner may read it."
        ]
      ]),
      ".SH SEE ALSO",
      ".BR tx3 (1)",
      ".PP",
      "docs/operating.md in the sources, the operator\\(aqs guide"
    ]
  }),
  "tx3.1": page({
    name: "tx3",
    what: "reach machines behind a NAT through a relay",
    command: Tx3Command.command,
    ends: [
      ".SH EXIT STATUS",
      escape(textOf(partsOf(Tx3Command.exitCodes)[0].value)),
      ...section("ENVIRONMENT", [
        ["TX3_CONFIG", "The file of tx3 up and tx3 status, where --config does not say."],
        ["TX3_KNOWN", "The file of names, where --known does not say."]
      ]),
      ...section("FILES", [
        ["./tx3.yml", "What tx3 up exposes and forwards, where nothing else says."],
        ["~/.config/tx3/known", "The file of names, where nothing else says."]
      ]),
      ".SH SEE ALSO",
      ".BR tx3\\-relay (1)",
      ".PP",
      "docs/reaching.md in the sources, the user\\(aqs guide"
    ]
  })
}

const folder = process.argv[2] ?? fileURLToPath(new URL("../packaging/man", import.meta.url))
for (const [name, text] of Object.entries(pages)) {
  writeFileSync(join(folder, name), text)
}
