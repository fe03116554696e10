/**
 * Mends the bash completion that @effect/cli (0.77) writes. It looks for names with a hyphen where it has put names with two
 * underscores, and the other way round, so it completes nothing behind `tx3-relay`.
 */
const isCompletion = /^function _\S+_bash_completions\(\)/

export const mended = (text: unknown) =>
  typeof text === "string" && isCompletion.test(text)
    ? text
      .replace(/^( +cmd=)"([\w-]+)"$/m, (_, indent, name) => `${indent}"${underscored(name)}"`)
      .replaceAll(/^( {8})(\w[\w-]*)\)$/gm, (_, indent, name) => `${indent}${underscored(name)})`)
      .replaceAll(/^( +\w+),(\w+)\)$/gm, (_, before, name) => `${before},${name.replaceAll("__", "-")})`)
    : text

const underscored = (name: string) => name.replaceAll("-", "__")
