/**
 * What a word was most likely meant to be, by the number of letters to change. It owns nothing.
 *
 * @since 0.1.0
 */
import leven from "leven"

/**
 * Returns the name that was most likely meant; none where no name is near.
 *
 * @since 0.1.0
 * @category getters
 */
export const nearest = (given: string, names: Iterable<string>): string | undefined => {
  const word = (name: string) => name.replace(/^-+/, "").toLowerCase()
  const isLetter = word(given).length === 1
  const distances = Array.from(names, (name) => {
    const distance = isLetter ? (word(name).startsWith(word(given)) ? 0 : Infinity) : leven(word(given), word(name))
    return [distance, name] as const
  }).filter(([distance, name]) => distance <= Math.max(1, Math.floor(word(name).length / 3)))
  return distances.sort(([one], [other]) => one - other)[0]?.[1]
}
