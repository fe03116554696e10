/**
 * What the server offers and the client calls: one call that is answered, and one whose answer is a stream.
 */
import { Rpc, RpcGroup } from "@effect/rpc"
import { Schema } from "effect"

export class Demo extends RpcGroup.make(
  Rpc.make("WhoAmI", { success: Schema.String }),
  Rpc.make("Count", { payload: { to: Schema.Int }, success: Schema.Int, stream: true })
) {}
