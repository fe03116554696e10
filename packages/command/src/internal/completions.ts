/**
 * Mends the completions that @effect/cli (0.77) writes. That for bash looks for names with a hyphen where it has put names with two
 * underscores, and the other way round, so it completes nothing behind `tx3-relay`. None knows the names that `tx3 name` keeps or
 * the words of codes, and those for zsh and fish offer no file for an argument. That for zsh completes nothing at the first tab
 * where zsh loads it from a folder of functions: there the function has the name of the file, as `_tx3`.
 *
 * A code is a secret, and other users see the arguments of a program. So the scripts hold the words (13 KB), and the shell itself
 * compares what is typed with them.
 */
import * as Effect from "effect/Effect"

const isBash = /^function _\S+_bash_completions\(\)/
const isZsh = /^#compdef /
const isZshOfTx3 = /^#compdef tx3\n/
const isFishOfTx3 = /^complete -c tx3 /

/** Prints the names, by shell's means alone: a completion must not wait for a program. */
const listNames =
  "sed 's/#.*//' \"${TX3_KNOWN:-${XDG_CONFIG_HOME:-$HOME/.config}/tx3/known}\" 2>/dev/null | awk '{ print $2 }'"

/** Completes a word of a code: the first with a hyphen behind it, the second with a blank. */
const bashLines = (words: string) =>
  `            if [[ \${cur} =~ ^([0-9]+-([a-z]+-)?)([a-z]*)$ ]] ; then
                local begin="\${BASH_REMATCH[1]}" end=""
                if [[ -z "\${BASH_REMATCH[2]}" ]] ; then
                    end="-"
                    compopt -o nospace 2>/dev/null
                fi
                COMPREPLY=( $(compgen -P "\${begin}" -S "\${end}" -W "${words}" -- "\${BASH_REMATCH[3]}") )
                return 0
            fi
`

const zshFunctions = (words: string) =>
  `function _tx3_names() {
    compadd -- \${(f)"$(${listNames})"}
}

function _tx3_names_and_files() {
    _tx3_names
    _files
}

function _tx3_codes() {
    local -a suffix
    compset -P '<->-[a-z]##-' || { compset -P '<->-' && suffix=(-q -S -) } || return 1
    compadd $suffix -- ${words}
}

function _tx3_codes_and_folders() {
    _tx3_codes || _files -/
}

`

/** fish adds no blank behind a hyphen. */
const fishLines = (words: string) => `
function __tx3_names
    set -l file ~/.config/tx3/known
    set -q XDG_CONFIG_HOME; and set file $XDG_CONFIG_HOME/tx3/known
    set -q TX3_KNOWN; and set file $TX3_KNOWN
    sed 's/#.*//' $file 2>/dev/null | awk '{ print $2 }'
end
function __tx3_codes
    set -l code (commandline -ct)
    set -l begin (string replace -r '[a-z]*$' '' -- $code)
    set -l words ${words}
    if string match -qr '^\\d+-[a-z]*$' -- $code
        printf '%s\\n' $begin$words-
    else if string match -qr '^\\d+-[a-z]+-[a-z]*$' -- $code
        printf '%s\\n' $begin$words
    end
end
complete -c tx3 -n "__fish_seen_subcommand_from connect forward ping send ssh-config" -f -a "(__tx3_names)"
complete -c tx3 -n "__fish_seen_subcommand_from receive" -f -a "(__tx3_codes)"
complete -c tx3 -n "__fish_seen_subcommand_from send receive keygen" -F`

/** What zsh offers for the arguments of a command. */
const zshArguments: Record<string, string> = {
  "connect": "_tx3_names",
  "forward": "_tx3_names",
  "ping": "_tx3_names",
  "ssh-config": "_tx3_names",
  "send": "_tx3_names_and_files",
  "receive": "_tx3_codes_and_folders",
  "keygen": "_files"
}

const mendedZsh = (text: string, words: string) =>
  text
    .replaceAll(
      /^( +)\(([\w-]+)\)\n[^(]*?_arguments[\s\S]*?(?=^ +&& ret=0$)/gm,
      (before, indent, name) =>
        zshArguments[name] === undefined ? before : `${before}${indent}    '*:argument:${zshArguments[name]}' \\\n`
    )
    .replace(/^function _tx3_zsh_completions/m, (begin) => zshFunctions(words) + begin)

const mendedLoading = (text: string) => text.replace(/^(if \[ "\$funcstack\[1\]" = "_.+)_zsh_completions"/m, "$1\"")

const mendedBash = (text: string, words: string) =>
  text
    .replace(/^( +cmd=)"([\w-]+)"$/m, (_, indent, name) => `${indent}"${underscored(name)}"`)
    .replaceAll(/^( {8})(\w[\w-]*)\)$/gm, (_, indent, name) => `${indent}${underscored(name)})`)
    .replaceAll(/^( +\w+),(\w+)\)$/gm, (_, before, name) => `${before},${name.replaceAll("__", "-")})`)
    .replaceAll(
      /^( {8}tx3__(?:connect|forward|ping|send|ssh__config)\)\n +opts=")/gm,
      (_, before) => `${before}$(${listNames}) `
    )
    .replace(/^ {8}tx3__receive\)\n/m, (begin) => begin + bashLines(words))

const mendings: ReadonlyArray<readonly [of: RegExp, mend: (text: string, words: string) => string]> = [
  [isBash, mendedBash],
  [isZsh, mendedLoading],
  [isZshOfTx3, mendedZsh],
  [isFishOfTx3, (text, words) => text + fishLines(words)]
]

/** Mends a text if it is a completion; then it reads the words of codes. */
export const mended = (words: Effect.Effect<ReadonlyArray<string>>) => (text: unknown): Effect.Effect<unknown> => {
  const mends = typeof text === "string" ? mendings.filter(([of]) => of.test(text)) : []
  return mends.length === 0
    ? Effect.succeed(text)
    : Effect.map(words, (words) => mends.reduce((text, [, mend]) => mend(text, words.join(" ")), text as string))
}

const underscored = (name: string) => name.replaceAll("-", "__")
