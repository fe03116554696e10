/**
 * Keys of a file's content that code must not look up in an object. It owns nothing.
 *
 * @since 0.1.0
 */

/**
 * The first key in a file's content that every object of JavaScript inherits, such as `__proto__` and `constructor`, with the
 * keys around it. No setting and no name is one of these, and code that looks a key up finds them in any object.
 *
 * @since 0.1.0
 * @category getters
 */
export const inheritedKeyIn = (content: unknown): string | undefined => {
  if (typeof content !== "object" || content === null) {
    return undefined
  }
  for (const [key, value] of Object.entries(content)) {
    if (!Array.isArray(content) && key in Object.prototype) {
      return key
    }
    const inside = inheritedKeyIn(value)
    if (inside !== undefined) {
      return `${key}.${inside}`
    }
  }
  return undefined
}
