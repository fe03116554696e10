/**
 * The typed errors of a node. Their messages say what to do. A misbehaving peer or relay causes one of these, never a defect.
 */
import type { AddressError } from "@tx3/protocol/Address"
import { hostPort } from "@tx3/protocol/Address"
import { CertDigest } from "@tx3/protocol/CertDigest"
import { type HandshakeError, Truncated } from "@tx3/protocol/Handshake"
import { DialError } from "@tx3/sockets/Dial"
import { ProxyError } from "@tx3/sockets/Proxy"
import * as Schema from "effect/Schema"

export {
  /**
   * No address of a host took a TCP connection. `failures` has each address that was tried, in that order; for a name that
   * did not resolve it has the name itself.
   *
   * @since 0.1.0
   * @category errors
   */
  DialError,
  /**
   * A proxy did not make the connection, as its `reason` says.
   *
   * @since 0.1.0
   * @category errors
   */
  ProxyError
}

const codeOf = (cause: unknown) => (cause as NodeJS.ErrnoException).code ?? ""

const textOf = (cause: unknown) => cause instanceof Error ? cause.message : String(cause)

const bindAdvice: Record<string, string> = {
  EADDRINUSE: "another program listens there; stop it or choose another port",
  EADDRNOTAVAIL: "this machine has no such address; bind one of its own, or 0.0.0.0 or [::] for all of them",
  EACCES: "not permitted; ports below 1024 need privileges, choose a higher one",
  ENOTFOUND: "the name has no address; correct it or bind a numeric address"
}

/**
 * An address could not be listened at.
 *
 * @since 0.1.0
 * @category errors
 */
export class BindError extends Schema.TaggedError<BindError>("@tx3/node/BindError")("BindError", {
  host: Schema.String,
  port: Schema.Int,
  cause: Schema.Defect
}) {
  override get message(): string {
    return `cannot listen at ${hostPort(this.host, this.port)}: ${bindAdvice[codeOf(this.cause)] ?? textOf(this.cause)}`
  }
}

/**
 * Something was not done by its deadline: `dial` (TCP), `handshake` (TLS).
 *
 * @since 0.1.0
 * @category errors
 */
export class TimedOut extends Schema.TaggedError<TimedOut>("@tx3/node/TimedOut")("TimedOut", {
  stage: Schema.Literal("dial", "handshake"),
  timeoutMs: Schema.Number
}) {
  override get message(): string {
    return this.stage === "dial"
      ? `no TCP connection within ${this.timeoutMs} ms; is the other end running and reachable?`
      : `the TLS handshake was not done within ${this.timeoutMs} ms; the other end is stalled or does not speak tx3`
  }
}

/**
 * The party that answered has another digest than the address. The connection is closed before either side has sent anything
 * else.
 *
 * @since 0.1.0
 * @category errors
 */
export class DigestMismatch extends Schema.TaggedError<DigestMismatch>("@tx3/node/DigestMismatch")("DigestMismatch", {
  expected: CertDigest,
  actual: CertDigest
}) {
  override get message(): string {
    return `expected the certificate ${this.expected}, but ${this.actual} answered; ` +
      "ask the other end for its present address, and do not trust this one"
  }
}

/**
 * A relay closed the connection before TLS was done, which is how it refuses: no node with that digest is registered.
 *
 * @since 0.1.0
 * @category errors
 */
export class PeerUnavailable extends Schema.TaggedError<PeerUnavailable>("@tx3/node/PeerUnavailable")(
  "PeerUnavailable",
  { digest: CertDigest }
) {
  override get message(): string {
    return `the relay closed the connection: no node with digest ${this.digest} is registered there, ` +
      "or it did not dial back; check that the node is running and registered"
  }
}

/**
 * How a connect to one address fails.
 *
 * @since 0.1.0
 * @category errors
 */
export type ConnectToOneError = DialError | ProxyError | TimedOut | HandshakeError | DigestMismatch | PeerUnavailable

/**
 * None of several addresses could be connected to. `failures` has each in the order given, with its
 * {@link ConnectToOneError}.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoneReachable extends Schema.TaggedError<NoneReachable>("@tx3/node/NoneReachable")("NoneReachable", {
  failures: Schema.Array(Schema.Struct({ address: Schema.String, cause: Schema.Defect }))
}) {
  override get message(): string {
    return `none of the addresses can be connected to (${
      this.failures.map(({ address, cause }) => `${address}: ${textOf(cause)}`).join("; ")
    })`
  }
}

/**
 * How a connect fails: with {@link NoneReachable} where it was given several addresses, with the error itself where it was
 * given one.
 *
 * @since 0.1.0
 * @category errors
 */
export type ConnectError = AddressError | ConnectToOneError | NoneReachable

const ofOtherEnd =
  "use the address that the other end printed (tx3 listen, tx3 expose), not the one that the relay printed"

const truncatedText: Record<Truncated["came"], string> = {
  nothing:
    "the connection was cut off before anything came: the other end, a relay or the network ended it; try again, and if " +
    `the address is that of a relay, ${ofOtherEnd}`,
  "all-clear":
    "what answered is most likely a relay, and no node: it sent a relay's all-clear, and ended the connection; " +
    ofOtherEnd,
  data:
    "the connection was cut off, so what came may be incomplete: the other end, a relay or the network ended it without " +
    "TLS's close_notify; try again, or allow truncation if the data itself says where it ends"
}

/**
 * A connection can no longer be read or written:
 *
 * - `lost`: reset by the other end, a relay or the network, as `cause` says;
 * - `truncated`: it ended, but not by the other end's `end`, which TLS marks with a close_notify (RFC 8446, section 6.1): the
 *   other end failed, or a relay or the network cut the connection off. All that came before has been read; `cause`, a
 *   `Truncated` of `@tx3/protocol/Handshake`, says whether that was nothing, or a relay's all-clear;
 * - `closed`: by this end;
 * - `ended`: written to after its `end`; reading goes on.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConnectionError extends Schema.TaggedError<ConnectionError>("@tx3/node/ConnectionError")(
  "ConnectionError",
  { reason: Schema.Literal("lost", "truncated", "closed", "ended"), cause: Schema.optional(Schema.Defect) }
) {
  /** Whether all that came is a relay's all-clear: the address is most likely a relay's. */
  get cameOfRelay(): boolean {
    return this.cause instanceof Truncated && this.cause.came === "all-clear"
  }

  override get message(): string {
    switch (this.reason) {
      case "lost":
        return `the connection is lost: ${textOf(this.cause)}`
      case "truncated":
        return truncatedText[this.cause instanceof Truncated ? this.cause.came : "data"]
      case "closed":
        return "the connection is closed; read and write before closing it"
      case "ended":
        return "the connection's writing side has ended; write before ending it"
    }
  }
}

/** So often in a row a relay ends the streams of two nodes that take one registration from each other. */
const contestedAfter = 3

/**
 * A node is not, or no longer, registered at a relay:
 *
 * - `unreachable`: there is no TCP connection, or no TLS in time (`cause` is a {@link DialError}, {@link ProxyError} or {@link TimedOut});
 * - `untrusted`: TLS failed or another certificate answered (a `HandshakeError` or {@link DigestMismatch});
 * - `refused`: the relay closed the connection before TLS, as it does when it has another digest;
 * - `full`: the relay completed TLS, with the right digest, and closed the stream before its all-clear, as it does at one of
 *   its limits and for a node that its operator does not allow;
 * - `silent`: no all-clear came in time;
 * - `violation`: what came is not the protocol's;
 * - `lost`: the stream ended after the all-clear (`cause` is a {@link ConnectionError}, or absent where the relay ended it);
 * - `replaced`: the relay ended the stream with a close_notify, as it does when the node has registered anew, and it was not this
 *   one;
 * - `defect`: a bug of this program, which `cause` tells of.
 *
 * @since 0.1.0
 * @category errors
 */
export class RegistrationError extends Schema.TaggedError<RegistrationError>("@tx3/node/RegistrationError")(
  "RegistrationError",
  {
    relay: Schema.String,
    reason: Schema.Literal(
      "unreachable",
      "untrusted",
      "refused",
      "full",
      "silent",
      "violation",
      "lost",
      "replaced",
      "defect"
    ),
    cause: Schema.optional(Schema.Defect),
    /** How often in a row the relay has ended the stream soon after its all-clear. */
    endsInARow: Schema.optional(Schema.Int)
  }
) {
  /**
   * Whether another machine uses this node's identity: the relay said so, or ended the stream soon after its all-clear three
   * times in a row, as an older relay does then.
   */
  get isContested(): boolean {
    return this.reason === "replaced" || (this.endsInARow ?? 0) >= contestedAfter
  }

  override get message(): string {
    switch (this.reason) {
      case "unreachable":
      case "untrusted":
        return `cannot register at ${this.relay}: ${textOf(this.cause)}`
      case "refused":
        return `${this.relay} refused to register this node; compare its digest with what the relay prints, and its ` +
          "limits with how many connections it has"
      case "full":
        return `${this.relay} has the right digest, but did not register this node: it has as many nodes as it takes, in all ` +
          "or from this network address (4, unless its operator sets maxControlStreamsPerIp), or its operator does not allow " +
          "this node; serve several services under one identity, or ask the operator to raise the limit. If tx3 printed this " +
          "address (listen, expose, receive), it is that of a node: use the one that tx3-relay prints"
      case "silent":
        return `${this.relay} did not confirm the registration in time; is it the address of a relay, as tx3-relay prints it, ` +
          "and not one of a node, and is the relay not overloaded?"
      case "violation":
        return `${this.relay} sent something else than the all-clear; is it the address of a relay, as tx3-relay prints it, ` +
          "and not one of a node?"
      case "lost":
        return this.isContested
          ? `${this.relay} has ended the registration ${this.endsInARow} times in a row soon after it began: probably ` +
            `another machine uses this identity; ${contestedRemedy}`
          : `the registration at ${this.relay} is lost: ${
            this.cause === undefined ? "the relay ended the stream" : textOf(this.cause)
          }`
      case "replaced":
        return `another machine uses this identity: it has registered at ${this.relay} in this node's place; ${contestedRemedy}`
      case "defect":
        return `the registration at ${this.relay} failed by a bug of this program: ${textOf(this.cause)}`
    }
  }
}

const contestedRemedy = "stop the other, or give each machine an identity of its own (tx3 keygen FILE)"
