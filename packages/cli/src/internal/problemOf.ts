import { getSystemErrorMap } from "node:util"

/** What the system says about an error, without the code and the call that Node puts around it. */
export const problemOf = (cause: unknown): string => {
  const { errno, message } = cause as NodeJS.ErrnoException
  const [, description] = getSystemErrorMap().get(errno ?? 0) ?? []
  return description ?? message
}
