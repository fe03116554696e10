/**
 * The line that `--version` prints.
 *
 * @since 0.1.0
 */
import * as Koffi from "@tx3/sockets/Koffi"

/**
 * Which program this is, and what it was made of. A program that was not bundled in a checkout knows no commit.
 *
 * @since 0.1.0
 * @category models
 */
export interface Build {
  readonly name: string
  readonly version: string
  readonly commit?: string
}

/**
 * Returns one line with the program's version and commit, Node's version, the platform, and the transport that a relay gets here.
 * It loads koffi to find out.
 *
 * @since 0.1.0
 * @category getters
 */
export const text = ({ commit, name, version }: Build): string =>
  [
    `${name} ${version}${commit === undefined ? "" : ` (commit ${commit})`}`,
    `Node ${process.versions.node}`,
    `${process.platform} ${process.arch}`,
    transport()
  ].join(", ")

const transport = () => {
  try {
    const { version } = Koffi.load()
    return `${process.platform === "linux" ? "kernel" : "portable"} transport, koffi ${version}`
  } catch {
    return "portable transport, no koffi"
  }
}
