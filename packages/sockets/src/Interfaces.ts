/**
 * The network interfaces of this machine. Some systems do not let a program list them (Android, a seccomp filter, a systemd
 * unit without AF_NETLINK), so a caller needs an answer without them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as os from "node:os"

/**
 * The interfaces could not be listed, as `cause` says.
 *
 * @since 0.1.0
 * @category errors
 */
export class InterfacesError extends Schema.TaggedError<InterfacesError>("@tx3/sockets/InterfacesError")(
  "InterfacesError",
  { cause: Schema.Defect }
) {
  override get message(): string {
    return `this process may not list the machine's network interfaces (${(this.cause as Error).message})`
  }
}

/**
 * Lists the interfaces: `os.networkInterfaces`, unless a test replaces it. It may throw.
 *
 * @since 0.1.0
 * @category references
 */
export class Interfaces extends Context.Reference<Interfaces>()("@tx3/sockets/Interfaces", {
  defaultValue: () => os.networkInterfaces
}) {}

/**
 * The machine's interfaces now.
 *
 * @since 0.1.0
 * @category getters
 */
export const list: Effect.Effect<NodeJS.Dict<Array<os.NetworkInterfaceInfo>>, InterfacesError> = Effect.flatMap(
  Interfaces,
  (interfaces) => Effect.try({ try: () => interfaces(), catch: (cause) => new InterfacesError({ cause }) })
)

/**
 * The machine's interfaces, or none where they cannot be listed. Then it logs a warning that ends in what this means.
 *
 * @since 0.1.0
 * @category getters
 */
export const listOrWarn = (consequence: string): Effect.Effect<NodeJS.Dict<Array<os.NetworkInterfaceInfo>>> =>
  Effect.catchAll(list, (error) => Effect.as(Effect.logWarning(`${error.message}: ${consequence}`), {}))
