/**
 * Mends the completions that @effect/cli (0.77) writes. That for bash looks for names with a hyphen where it has put names with two
 * underscores, and the other way round, so it completes nothing behind `tx3-relay`. None knows the names that `tx3 name` keeps, and
 * those for zsh and fish offer no file for an argument.
 */
const isBash = /^function _\S+_bash_completions\(\)/
const isZshOfTx3 = /^#compdef tx3\n/
const isFishOfTx3 = /^complete -c tx3 /

/** Prints the names, by shell's means alone: a completion must not wait for a program. */
const listNames =
  "sed 's/#.*//' \"${TX3_KNOWN:-${XDG_CONFIG_HOME:-$HOME/.config}/tx3/known}\" 2>/dev/null | awk '{ print $2 }'"

const zshFunctions = `function _tx3_names() {
    compadd -- \${(f)"$(${listNames})"}
}

function _tx3_names_and_files() {
    _tx3_names
    _files
}

`

const fishLines = `
function __tx3_names
    set -l file ~/.config/tx3/known
    set -q XDG_CONFIG_HOME; and set file $XDG_CONFIG_HOME/tx3/known
    set -q TX3_KNOWN; and set file $TX3_KNOWN
    sed 's/#.*//' $file 2>/dev/null | awk '{ print $2 }'
end
complete -c tx3 -n "__fish_seen_subcommand_from connect forward ping send ssh-config" -f -a "(__tx3_names)"
complete -c tx3 -n "__fish_seen_subcommand_from send receive keygen" -F`

/** What zsh offers for the arguments of a command. */
const zshArguments: Record<string, string> = {
  "connect": "_tx3_names",
  "forward": "_tx3_names",
  "ping": "_tx3_names",
  "ssh-config": "_tx3_names",
  "send": "_tx3_names_and_files",
  "receive": "_files -/",
  "keygen": "_files"
}

const mendedZsh = (text: string) =>
  text
    .replaceAll(
      /^( +)\(([\w-]+)\)\n[^(]*?_arguments[\s\S]*?(?=^ +&& ret=0$)/gm,
      (before, indent, name) =>
        zshArguments[name] === undefined ? before : `${before}${indent}    '*:argument:${zshArguments[name]}' \\\n`
    )
    .replace(/^function _tx3_zsh_completions/m, (begin) => zshFunctions + begin)

const mendedBash = (text: string) =>
  text
    .replace(/^( +cmd=)"([\w-]+)"$/m, (_, indent, name) => `${indent}"${underscored(name)}"`)
    .replaceAll(/^( {8})(\w[\w-]*)\)$/gm, (_, indent, name) => `${indent}${underscored(name)})`)
    .replaceAll(/^( +\w+),(\w+)\)$/gm, (_, before, name) => `${before},${name.replaceAll("__", "-")})`)
    .replaceAll(
      /^( {8}tx3__(?:connect|forward|ping|send|ssh__config)\)\n +opts=")/gm,
      (_, before) => `${before}$(${listNames}) `
    )

export const mended = (text: unknown) =>
  typeof text !== "string"
    ? text
    : isBash.test(text)
    ? mendedBash(text)
    : isZshOfTx3.test(text)
    ? mendedZsh(text)
    : isFishOfTx3.test(text)
    ? text + fishLines
    : text

const underscored = (name: string) => name.replaceAll("-", "__")
