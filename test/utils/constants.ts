/**
 * Every number in the sources that bounds, times or sizes something, found by TypeScript's parser. docs/limits.md is
 * compared with it.
 */
import * as packaging from "@tx3/testing/packaging"
import { readdirSync } from "node:fs"
import { basename } from "node:path"
import ts from "typescript"

export interface Constant {
  /** The constant's name, `variable.property`, or a call with its literals: `sleep("1 second")`. */
  readonly name: string
  /** The file's name, without its folders. */
  readonly file: string
  /** What it is, in the unit of its name; a call has its value in its name. */
  readonly value: number | undefined
}

/** What a constant's name ends or begins with if it bounds something. */
const bounds =
  /(Ms|Ns|Seconds|Max|Min|Limit|Mark|Timeout|Every|PerTurn|[bB]ytes)$|^(max|min|least)([A-Z]|$)|^(seconds|unanswered)$/

/** Modules of numbers that the kernel or a format has chosen. There a name must say that it bounds something. */
const foreign = /^(descriptors|linux\w*|system\w*|epoll\w*|der)\.ts$/

/** Calls that wait, repeat or buffer for as long or as much as a literal says. */
const waits =
  /(Effect\.(sleep|timeout\w*|delay)|Schedule\.\w+|Duration\.\w+|(PubSub|Queue|Mailbox)\.\w+|set(Timeout|Interval|KeepAlive))\b/

const valueOf = (node: ts.Expression): number | undefined => {
  if (ts.isNumericLiteral(node)) {
    return Number(node.text)
  }
  if (ts.isParenthesizedExpression(node) || ts.isAsExpression(node)) {
    return valueOf(node.expression)
  }
  if (ts.isBinaryExpression(node)) {
    const [left, right] = [valueOf(node.left), valueOf(node.right)]
    return left === undefined || right === undefined
      ? undefined
      : operators[node.operatorToken.getText()]?.(left, right)
  }
  if (ts.isNewExpression(node) || ts.isCallExpression(node)) {
    const [size, ...others] = node.arguments ?? []
    const isBuffer = /^(\w+Array|SharedArrayBuffer|Buffer\.alloc\w*)$/.test(node.expression.getText())
    return isBuffer && size !== undefined && others.length === 0 ? valueOf(size) : defaultOf(node)
  }
  return undefined
}

const operators: Record<string, (left: number, right: number) => number> = {
  "*": (left, right) => left * right,
  "/": (left, right) => left / right,
  "+": (left, right) => left + right,
  "-": (left, right) => left - right,
  "**": (left, right) => left ** right
}

/** The default of a setting: `knob(64, …)`, `Schema.optionalWith(…, { default: () => 64 })`. */
const defaultOf = (call: ts.NewExpression | ts.CallExpression): number | undefined => {
  const name = call.expression.getText()
  const [first, second] = call.arguments ?? []
  if (/^(knob|share)$/.test(name)) {
    return valueOf(first!)
  }
  if (name === "Schema.optionalWith" && ts.isObjectLiteralExpression(second!)) {
    const [value] = second.properties
    return value !== undefined && ts.isPropertyAssignment(value) ? returnedBy(value.initializer) : undefined
  }
  return undefined
}

const returnedBy = (node: ts.Expression) =>
  ts.isArrowFunction(node) && !ts.isBlock(node.body) ? valueOf(node.body) : undefined

const literals = (call: ts.CallExpression) =>
  call.arguments
    .filter((argument) => valueOf(argument) !== undefined || ts.isStringLiteral(argument) && /^\d/.test(argument.text))
    .map((argument) => argument.getText())

/** The constants of one source file. */
export const constantsOf = (path: string, text: string): ReadonlyArray<Constant> => {
  const file = basename(path)
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const found: Array<Constant> = []
  const aliases: Array<{ readonly name: string; readonly of: string }> = []

  const visit = (node: ts.Node, owner: string | undefined, isInFunction: boolean): void => {
    if (ts.isVariableDeclaration(node) && ts.isIdentifier(node.name) && node.initializer !== undefined) {
      const name = node.name.text
      const value = valueOf(node.initializer)
      const isConstant = (node.parent.flags & ts.NodeFlags.Const) !== 0
      if (isConstant && value !== undefined && (bounds.test(name) || !isInFunction && !foreign.test(file))) {
        found.push({ name, file, value })
      }
      if (isConstant && !isInFunction && bounds.test(name) && ts.isPropertyAccessExpression(node.initializer)) {
        aliases.push({ name, of: node.initializer.name.text })
      }
      owner ??= name
    }
    if (ts.isClassDeclaration(node)) {
      owner = node.name?.text
    }
    if (ts.isPropertyAssignment(node)) {
      const name = node.name.getText()
      const value = name === "defaultValue" ? returnedBy(node.initializer) : valueOf(node.initializer)
      const isSetting = owner === "Settings" || owner === "defaults"
      if (value !== undefined && name === "defaultValue") {
        found.push({ name: owner!, file, value })
      } else if (value !== undefined && (isSetting || bounds.test(name))) {
        found.push({ name: isSetting || owner === undefined ? name : `${owner}.${name}`, file, value })
      }
    }
    if (ts.isCallExpression(node) && waits.test(node.expression.getText()) && literals(node).length > 0) {
      const name = node.expression.getText().match(waits)![1]!
      found.push({ name: `${name.split(".").at(-1)}(${literals(node).join(", ")})`, file, value: undefined })
    }
    const isFunction = ts.isFunctionLike(node) || ts.isClassLike(node)
    ts.forEachChild(node, (child) => visit(child, owner, isInFunction || isFunction))
  }
  visit(source, undefined, false)
  return [
    ...found.filter(({ value }) => value !== 0),
    ...aliases.map(({ name, of }) => ({ name: `${name} = ${of}`, file, value: undefined }))
  ]
}

/** Those of all packages but the benchmark and what is for tests alone. */
export const all = (): ReadonlyArray<Constant> =>
  readdirSync(packaging.pathOf("packages"), { encoding: "utf8", recursive: true })
    .filter((path) => /^[\w-]+\/src\/.*\.ts$/.test(path) && !/^testing\/|\/RelayTest\.ts$/.test(path))
    .flatMap((path) => constantsOf(path, packaging.read(`packages/${path}`)))
