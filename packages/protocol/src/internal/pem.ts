/**
 * PEM text (RFC 7468): DER as base64 in lines of 64 characters, between two labelled boundary lines.
 */
import * as Option from "effect/Option"

export const encode = (label: string, der: Uint8Array): string =>
  [
    `-----BEGIN ${label}-----`,
    ...Buffer.from(der).toString("base64").match(/.{1,64}/g) ?? [],
    `-----END ${label}-----`,
    ""
  ].join("\n")

/** The first block with this label, whatever stands around it. */
export const decode = (label: string, text: string): Option.Option<Uint8Array> =>
  Option.fromNullable(new RegExp(`-----BEGIN ${label}-----([^-]*)-----END ${label}-----`).exec(text)?.[1]).pipe(
    Option.map((base64) => Buffer.from(base64, "base64"))
  )
