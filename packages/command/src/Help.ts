/**
 * The help of a command: what @effect/cli (0.77) knows of it, in the form that people are used to. Its own names the kind of each
 * value, tells the same of every option, shows a repeatable option as a required one, and has no examples. The programs
 * print it, the man pages are made of it, and messages about a wrong call quote its usage line. It owns nothing.
 *
 * @since 0.1.0
 */
import * as CliConfig from "@effect/cli/CliConfig"
import * as CommandDescriptor from "@effect/cli/CommandDescriptor"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Span from "@effect/cli/HelpDoc/Span"
import * as HashMap from "effect/HashMap"

/**
 * A term and what is said of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Item {
  readonly term: string
  readonly text: string
}

/**
 * A part of a help text that @effect/cli knows nothing of: the environment, files, exit codes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Section {
  readonly title: string
  readonly items: ReadonlyArray<Item>
}

/**
 * All that is said of a command. `usage` is how it is called, and `commands` are the commands in it with their
 * first sentences.
 *
 * @since 0.1.0
 * @category models
 */
export interface Help {
  readonly usage: string
  readonly paragraphs: ReadonlyArray<string>
  readonly examples: ReadonlyArray<Item>
  readonly arguments: ReadonlyArray<Item>
  readonly options: ReadonlyArray<Item>
  readonly commands: ReadonlyArray<Item>
}

/**
 * Describes a command in paragraphs, with examples of how it is called and what that does.
 *
 * @since 0.1.0
 * @category constructors
 */
export const described = (
  paragraphs: string | ReadonlyArray<string>,
  ...[first, ...others]: ReadonlyArray<readonly [call: string, does: string]>
): HelpDoc.HelpDoc => {
  const example = ([call, does]: readonly [string, string]): [Span.Span, HelpDoc.HelpDoc] => [
    Span.text(call),
    HelpDoc.p(does)
  ]
  return HelpDoc.blocks([
    ...(typeof paragraphs === "string" ? [paragraphs] : paragraphs).map((text) => HelpDoc.p(text)),
    ...first === undefined ? [] : [HelpDoc.descriptionList([example(first), ...others.map(example)])]
  ])
}

const textOf = (span: Span.Span): string => {
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

const partsOf = (doc: HelpDoc.HelpDoc): ReadonlyArray<HelpDoc.HelpDoc> =>
  HelpDoc.isSequence(doc) ? [...partsOf(doc.left), ...partsOf(doc.right)] : HelpDoc.isEmpty(doc) ? [] : [doc]

const paragraphsIn = (parts: ReadonlyArray<HelpDoc.HelpDoc>) =>
  parts.filter(HelpDoc.isParagraph).map(({ value }) => textOf(value))

const definitionsIn = (parts: ReadonlyArray<HelpDoc.HelpDoc>) =>
  parts.filter(HelpDoc.isDescriptionList).flatMap(({ definitions }) =>
    definitions.map(([term, doc]) => ({ term: textOf(term), paragraphs: paragraphsIn(partsOf(doc)) }))
  )

/** Sentences of @effect/cli on each value of a kind. */
const isSaidOfAll = (paragraph: string) =>
  /^(A user-defined piece of text|A true or false value|An integer|A file|A directory)|^This (setting|option|argument) /
    .test(paragraph)

const isOptional = (paragraphs: ReadonlyArray<string>) =>
  paragraphs.some((paragraph) => /^This setting is optional|may be repeated zero or more times/.test(paragraph))

const textIn = (paragraphs: ReadonlyArray<string>) => {
  const byDefault = paragraphs.map((paragraph) => /Defaults to: (.+)$/.exec(paragraph)?.[1]).find(Boolean)
  const said = paragraphs.filter((paragraph) => !isSaidOfAll(paragraph)).join(" ")
  return byDefault === undefined || said.includes("without it") ? said : `${said} (${byDefault} without it)`
}

type Definition = ReturnType<typeof definitionsIn>[number]

/** `<ADDRESS> 1+` is `ADDRESS...`, and in brackets where it may be missing. */
const argumentTerm = ({ paragraphs, term }: Definition) => {
  const [, name, rest] = /^<([^>]+)>(.*)$/.exec(term) ?? [term, term, ""]
  const several = rest === "" || name!.includes("...") ? name! : `${name}...`
  return isOptional(paragraphs) ? `[${several}]` : several
}

/** `(-i, --identity FILE)` is `-i, --identity FILE`. */
const optionTerm = ({ term }: Definition) => term.replace(/^\((.*)\)/, "$1").replace(/(\.\.\.| 1\+)$/, "")

/** A required option, by its long name. */
const required = (definition: Definition) =>
  isOptional(definition.paragraphs) ? [] : [optionTerm(definition).replace(/^-\w, /, "")]

const firstSentence = (text: string) => /^(.*?)(?:[.:] |\.?$)/.exec(text)![1]!

/**
 * Returns what is said of a command that is called by these words.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (command: CommandDescriptor.Command<unknown>, words: string): Help => {
  const sections = new Map<string, Array<HelpDoc.HelpDoc>>()
  let section: Array<HelpDoc.HelpDoc> = []
  for (const part of partsOf(CommandDescriptor.getHelp(command, { ...CliConfig.defaultConfig, showBuiltIns: false }))) {
    if (HelpDoc.isHeader(part)) {
      section = []
      sections.set(textOf(part.value), section)
    } else {
      section.push(part)
    }
  }
  const under = (title: string) => sections.get(title) ?? []
  const commands = Array.from(HashMap.entries(CommandDescriptor.getSubcommands(command)))
    .filter(([, subcommand]) => subcommand !== command)
  const [args, options] = [definitionsIn(under("ARGUMENTS")), definitionsIn(under("OPTIONS"))]
  const described = under("DESCRIPTION")
  return {
    usage: [
      words,
      ...args.map(argumentTerm),
      ...options.flatMap(required),
      ...options.length > options.flatMap(required).length ? ["[OPTIONS]"] : []
    ].join(" "),
    paragraphs: paragraphsIn(described),
    examples: definitionsIn(described).map(({ paragraphs, term }) => ({ term, text: paragraphs.join(" ") })),
    arguments: args.map((definition) => ({ term: argumentTerm(definition), text: textIn(definition.paragraphs) })),
    options: options.map((definition) => ({ term: optionTerm(definition), text: textIn(definition.paragraphs) })),
    commands: commands.map(([name, subcommand]) => ({
      term: name,
      text: firstSentence(of(subcommand, name).paragraphs[0] ?? "")
    }))
      .sort(({ term: one }, { term: other }) => one < other ? -1 : 1)
  }
}

/** Columns of a text, and where what is said of a term begins. */
const width = 80
const column = 26

/** Lines of words, each behind so many blanks. */
const wrapped = (text: string, indent: number): ReadonlyArray<string> =>
  Array.from(
    text.matchAll(new RegExp(`(.{1,${width - indent}}|\\S+)(?:\\s+|$)`, "g")),
    ([, line]) => " ".repeat(indent) + line
  )

const title = (text: string) => `\u001b[1m${text}\u001b[22m`

/** An option without a short name begins where the long names of the others do. */
const aligned = (term: string) => `  ${term.startsWith("--") ? "    " : ""}${term}`

const itemLines = ({ term, text }: Item): ReadonlyArray<string> => {
  const start = aligned(term)
  const lines = wrapped(text, column)
  return start.length + 2 > column
    ? [start, ...lines]
    : [start + (lines[0] ?? "").slice(start.length), ...lines.slice(1)]
}

const exampleLines = ({ term, text }: Item): ReadonlyArray<string> => [`  ${term}`, ...wrapped(text, 6)]

const section = (name: string, lines: ReadonlyArray<string>) =>
  lines.length === 0 ? [] : [[title(name), ...lines].join("\n")]

/**
 * Writes a help text for a terminal, in lines of 80 columns.
 *
 * @since 0.1.0
 * @category conversions
 */
export const render = (help: Help, more: ReadonlyArray<Section> = []): string =>
  [
    ...help.paragraphs.map((text) => wrapped(text, 0).join("\n")),
    ...section("USAGE", [
      ...help.commands.length > 0 && help.options.length === 0 ? [] : [`  ${help.usage}`],
      ...help.commands.length > 0 ? [`  ${help.usage.split(" ")[0]} COMMAND ...`] : []
    ]),
    ...section("EXAMPLES", help.examples.flatMap(exampleLines)),
    ...section("COMMANDS", help.commands.flatMap(itemLines)),
    ...section("ARGUMENTS", help.arguments.flatMap(itemLines)),
    ...section("OPTIONS", help.options.flatMap(itemLines)),
    ...more.flatMap(({ items, title }) => section(title, items.flatMap(itemLines)))
  ].join("\n\n")
