/**
 * Mends the completions that @effect/cli (0.77) writes. That for bash looks for names with a hyphen where it has put names with two
 * underscores, and the other way round, so it completes nothing behind `tx3-relay`. Neither it nor that for fish knows the names
 * that `tx3 name` keeps.
 */
const isCompletion = /^function _\S+_bash_completions\(\)/
const isFishOfTx3 = /^complete -c tx3 /

/** Prints the names, by shell's means alone: a completion must not wait for a program. */
const listNames =
  "sed 's/#.*//' \"${TX3_KNOWN:-${XDG_CONFIG_HOME:-$HOME/.config}/tx3/known}\" 2>/dev/null | awk '{ print $2 }'"
const listNamesInFish =
  "sed 's/#.*//' (set -q TX3_KNOWN; and echo $TX3_KNOWN; or echo ~/.config/tx3/known) 2>/dev/null | awk '{ print \\$2 }'"

export const mended = (text: unknown) =>
  typeof text === "string" && isCompletion.test(text)
    ? text
      .replace(/^( +cmd=)"([\w-]+)"$/m, (_, indent, name) => `${indent}"${underscored(name)}"`)
      .replaceAll(/^( {8})(\w[\w-]*)\)$/gm, (_, indent, name) => `${indent}${underscored(name)})`)
      .replaceAll(/^( +\w+),(\w+)\)$/gm, (_, before, name) => `${before},${name.replaceAll("__", "-")})`)
      .replaceAll(
        /^( {8}tx3__(?:connect|forward|ping|send|ssh__config)\)\n +opts=")/gm,
        (_, before) => `${before}$(${listNames}) `
      )
    : typeof text === "string" && isFishOfTx3.test(text)
    ? `${text}\ncomplete -c tx3 -n "__fish_seen_subcommand_from connect forward ping send ssh-config" -f -a "(${listNamesInFish})"`
    : text

const underscored = (name: string) => name.replaceAll("-", "__")
