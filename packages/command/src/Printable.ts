/**
 * Text that a stranger chose, for a terminal or a log: a file's name, a reason, an error of the other end.
 *
 * @since 0.1.0
 */

/** Control characters, line and paragraph separators, lone surrogates, and all that shows nothing or turns the order about. */
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

/**
 * Escapes what a terminal would obey, hide or show in another order, as `\u{202e}`; a tab becomes a blank.
 *
 * @since 0.1.0
 * @category getters
 */
export const printable = (text: string): string =>
  text.replaceAll("\t", " ").replace(unprintable, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`)

/**
 * Escapes text of several lines in the same way; they stay lines.
 *
 * @since 0.1.0
 * @category getters
 */
export const printableLines = (text: string): string => text.split("\n").map(printable).join("\n")
