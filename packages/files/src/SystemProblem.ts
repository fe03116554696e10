/**
 * Puts an error of the operating system into words. It owns nothing.
 *
 * @since 0.1.0
 */
import { getSystemErrorMap } from "node:util"

/**
 * Gives the system's own text about an error, without the code and the call that Node puts around it.
 *
 * @since 0.1.0
 * @category getters
 */
export const problemOf = (cause: unknown): string => {
  const { errno, message } = cause as NodeJS.ErrnoException
  const [, description] = getSystemErrorMap().get(errno ?? 0) ?? []
  return description ?? message
}
