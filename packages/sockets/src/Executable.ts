/**
 * The assets of a program that is one file, a single executable application of Node. An installed package has the same content
 * as files; these functions find nothing there.
 *
 * @since 0.1.0
 */
import type * as Sea from "node:sea"

// Older versions of Node have neither.
const sea = process.getBuiltinModule?.("node:sea") as typeof Sea | undefined

/**
 * Whether the program is one file with Node in it.
 *
 * @since 0.1.0
 * @category getters
 */
export const isOneFile = (): boolean => sea?.isSea() === true

/**
 * Returns a file that the executable carries; undefined where the program is no such executable.
 *
 * @since 0.1.0
 * @category getters
 */
export const asset = (name: string): Buffer | undefined =>
  isOneFile() ? Buffer.from(sea!.getRawAsset(name) as ArrayBuffer) : undefined
