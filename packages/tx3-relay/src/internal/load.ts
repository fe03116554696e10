/** Loads a relay's settings and identity as its flags say. It owns nothing. */
import * as IdentityFile from "@tx3/files/IdentityFile"
import * as OperatorFile from "@tx3/policy/OperatorFile"
import * as Option from "effect/Option"

export interface Which {
  readonly bind: ReadonlyArray<string>
  readonly file: string
  readonly identity: Option.Option<string>
}

export const load = ({ bind, file, identity }: Which) =>
  OperatorFile.load(
    file,
    [{ place: (key) => `--${key}`, values: bind.length > 0 ? { bind } : {} }],
    Option.map(identity, IdentityFile.read)
  )
