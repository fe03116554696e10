/**
 * The best `Transport` that works here: the kernel's where it does, else Node's own sockets, and one line in the log about
 * which it is and why.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as KernelTransport from "./KernelTransport.js"
import * as PortableTransport from "./PortableTransport.js"
import type { Transport } from "./Transport.js"

/**
 * The kernel's transport with so many `threads`, 1 by default, where it works on this machine, else the portable one.
 * It never fails.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: { readonly threads?: number | undefined } = {}): Layer.Layer<Transport> =>
  KernelTransport.layer(options).pipe(
    Layer.tap(() => Effect.logInfo("bytes are carried inside the kernel (transport kernel)")),
    Layer.catchAll((unavailable) =>
      Layer.tap(
        PortableTransport.layer,
        () => Effect.logInfo(`bytes are carried by this process (transport portable): ${unavailable.reason}`)
      )
    )
  )
