/**
 * Gives a finished file its name, without ever replacing what has it. It owns nothing.
 *
 * @since 0.1.0
 */
import * as fs from "node:fs/promises"

/**
 * Moves a file to a name in the same file system that nothing has. Rejects with `EEXIST` where something has it; whenever it
 * rejects the file is still where it was.
 *
 * @since 0.1.0
 * @category constructors
 */
export const publish = async (unfinished: string, target: string): Promise<void> => {
  try {
    // A link, unlike a rename, does not replace what is there.
    await fs.link(unfinished, target)
  } catch (error) {
    if (codeOf(error) === "EEXIST") {
      throw error
    }
    return renameNew(unfinished, target)
  }
  await fs.unlink(unfinished)
}

/** For file systems without hard links, as FAT, exFAT and many that are on a network: the name is taken first, by an empty file. */
const renameNew = async (unfinished: string, target: string) => {
  await (await fs.open(target, "wx", 0o600)).close()
  try {
    await fs.rename(unfinished, target)
  } catch (error) {
    await fs.unlink(target)
    throw error
  }
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code
