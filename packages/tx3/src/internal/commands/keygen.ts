/** The work of `tx3 keygen`. */
import * as IdentityFile from "@tx3/files/IdentityFile"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"

export const run = ({ file }: { readonly file: string }) =>
  Effect.flatMap(IdentityFile.create(file), ({ digest }) => Console.log(digest))
