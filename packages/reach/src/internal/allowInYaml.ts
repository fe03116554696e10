/**
 * Changes the list `expose.NAME.allow` in the text of a file of `tx3 up`, at the places that YAML's parser gives: all other text stays as
 * its user wrote it. It owns nothing.
 */
import { isDeepStrictEqual } from "node:util"
import * as Yaml from "yaml"

/** A part of a text, and what comes in its place. */
interface Splice {
  readonly from: number
  readonly to: number
  readonly text: string
}

/**
 * Adds an entry to a service's list, which is made if there is none, or removes some by their numbers. Undefined where this text
 * cannot be changed so, as where the list is an alias: what comes of the change must be the same content but for the list.
 */
export const changed = (
  text: string,
  service: string,
  change: { readonly add: string } | { readonly remove: ReadonlySet<number> }
): string | undefined => {
  const document = Yaml.parseDocument(text)
  const exposed = pairOf(pairOf(document.contents, "expose")?.value, service)?.value
  const pair = pairOf(exposed, "allow")
  const splices = !Yaml.isMap(exposed)
    ? undefined
    : "remove" in change
    ? pair && removed(text, pair, change.remove)
    : pair === undefined
    ? withList(text, exposed, scalarOf(change.add))
    : withEntry(text, pair, scalarOf(change.add))
  if (splices === undefined) {
    return undefined
  }
  const result = Array.from(splices).sort((a, b) => b.from - a.from)
    .reduce((text, splice) => text.slice(0, splice.from) + splice.text + text.slice(splice.to), text)
  // As JSON, because aliases share what they stand for.
  const expected = JSON.parse(JSON.stringify(document.toJS()))
  const list: ReadonlyArray<string> = expected.expose[service].allow ?? []
  expected.expose[service].allow = "add" in change
    ? [...list, change.add]
    : list.filter((_, index) => !change.remove.has(index))
  const after = Yaml.parseDocument(result)
  return after.errors.length === 0 && isDeepStrictEqual(JSON.parse(JSON.stringify(after.toJS())), expected)
    ? result
    : undefined
}

/** A name can look like a number, and has quotes then. */
const scalarOf = (entry: string) => Yaml.stringify(entry).trim()

const pairOf = (node: unknown, key: string) =>
  Yaml.isMap(node)
    ? node.items.find((pair) => Yaml.isScalar(pair.key) && String(pair.key.value) === key)
    : undefined

/** Where a node's own text begins and ends, without comments. */
const spanOf = (node: unknown): readonly [from: number, to: number] => {
  const [from, to] = Yaml.isNode(node) ? node.range ?? [0, 0] : [0, 0]
  return [from, to]
}

const lineStart = (text: string, at: number) => text.lastIndexOf("\n", at - 1) + 1

/** Where the line of a place ends, before its line break. */
const lineEnd = (text: string, at: number) => at + text.slice(at).search(/\r?\n|$/)

const nextLine = (text: string, at: number) => {
  const end = text.indexOf("\n", at)
  return end === -1 ? text.length : end + 1
}

const breakOf = (text: string) => text.includes("\r\n") ? "\r\n" : "\n"

const inserted = (at: number, text: string): ReadonlyArray<Splice> => [{ from: at, to: at, text }]

/** A list behind the service's endpoint, which every service has. */
const withList = (text: string, exposed: Yaml.YAMLMap, entry: string) => {
  const pair = pairOf(exposed, "service")
  const [keyFrom] = spanOf(pair?.key)
  const [, to] = spanOf(pair?.value)
  if (exposed.flow) {
    return inserted(to, `, allow: [${entry}]`)
  }
  const indent = text.slice(lineStart(text, keyFrom), keyFrom)
  return /^ *$/.test(indent)
    ? inserted(lineEnd(text, to), `${breakOf(text)}${indent}allow: [${entry}]`)
    : undefined
}

const withEntry = (text: string, { value: list }: Yaml.Pair, entry: string) => {
  if (!Yaml.isSeq(list)) {
    return undefined
  }
  const [from, to] = spanOf(list)
  const last = list.items.at(-1)
  if (last === undefined) {
    return [{ from, to, text: `[${entry}]` }]
  }
  const [lastFrom, lastTo] = spanOf(last)
  return list.flow
    ? inserted(lastTo, `, ${entry}`)
    : inserted(
      lineEnd(text, lastTo),
      `${breakOf(text)}${text.slice(lineStart(text, lastFrom), lastFrom)}${entry}`
    )
}

const removed = (text: string, { key, value: list }: Yaml.Pair, numbers: ReadonlySet<number>) => {
  if (!Yaml.isSeq(list)) {
    return undefined
  }
  const spans = list.items.map(spanOf)
  const isRemoved = (_: unknown, index: number) => numbers.has(index)
  const lastKept = spans.findLastIndex((_, index) => !numbers.has(index))
  if (!list.flow) {
    const [, keyTo] = spanOf(key)
    return [
      ...lastKept === -1 ? inserted(text.indexOf(":", keyTo) + 1, " []") : [],
      ...spans.filter(isRemoved).map(([from, to]) => ({
        from: lineStart(text, from),
        to: nextLine(text, to),
        text: ""
      }))
    ]
  }
  if (lastKept === -1) {
    const [from, to] = spanOf(list)
    return [{ from, to, text: "[]" }]
  }
  const [, keptTo] = spans[lastKept]!
  const [, lastTo] = spans.at(-1)!
  const isOneLine = !/[#\n]/.test(text.slice(keptTo, lastTo))
  return [
    ...spans.filter((span, index) => isRemoved(span, index) && !(isOneLine && index > lastKept))
      .map(([from, to]) => flowEntry(text, from, to)),
    ...isOneLine ? [{ from: keptTo, to: behindComma(text, lastTo), text: "" }] : []
  ]
}

const behindComma = (text: string, at: number) => at + (/^\s*,/.exec(text.slice(at))?.[0].length ?? 0)

/** An entry with its comma; alone in its line, with the line and the comment there. */
const flowEntry = (text: string, from: number, to: number): Splice => {
  const end = behindComma(text, to)
  const rest = text.slice(end, lineEnd(text, end))
  return /^\s*$/.test(text.slice(lineStart(text, from), from)) && /^\s*(#.*)?$/.test(rest)
    ? { from: lineStart(text, from), to: nextLine(text, end), text: "" }
    : { from, to: end + /^[ \t]*/.exec(rest)![0].length, text: "" }
}
