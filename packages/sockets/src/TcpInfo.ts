/**
 * Linux's `struct tcp_info` of a TCP connection, and the rule by which its other end counts as dead. This
 * module is the only one that knows the offsets in that struct. It makes no system call and owns nothing.
 *
 * TCP keep-alive finds a dead end only while nothing is unacknowledged. With bytes in flight, Linux retransmits them for
 * a quarter of an hour; with a closed window it probes for as long as probes are answered. TCP_USER_TIMEOUT bounds both,
 * but it also ends a live receiver that keeps its window closed for longer. `isDead` does not.
 *
 * @since 0.1.0
 */

/**
 * A part of `struct tcp_info`. Source: linux/tcp.h.
 *
 * @since 0.1.0
 * @category models
 */
export interface TcpInfo {
  /** Retransmission timeouts in a row without progress. Any acknowledgement of new data resets it. */
  readonly retransmits: number
  /** Keep-alive or window probes in a row without an answer. */
  readonly probes: number
  /** How often the current timeout has been doubled. */
  readonly backoff: number
  /** Segments sent and not acknowledged. */
  readonly unacked: number
  /** Milliseconds since data arrived, or since the connection was made. */
  readonly lastDataMs: number
  /** Milliseconds since an acknowledgement arrived. The answer to a probe is one. */
  readonly lastAckMs: number
  /** Bytes acknowledged since the connection was made. 0 before Linux 4.2. */
  readonly bytesAcked: number
  /** Bytes written and not sent. 0 before Linux 4.6. */
  readonly notSentBytes: number
  /** Bytes that the other end takes. 0 before Linux 5.4, too. */
  readonly sendWindow: number
}

/**
 * Bytes to pass to getsockopt(2): all fields that `parse` reads.
 *
 * @since 0.1.0
 * @category constants
 */
export const infoBytes = 232

/**
 * Reads a `struct tcp_info`. Fields behind `length`, which older systems leave out, are 0.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = (struct: DataView, length: number): TcpInfo => ({
  retransmits: struct.getUint8(2),
  probes: struct.getUint8(3),
  backoff: struct.getUint8(4),
  unacked: struct.getUint32(24, true),
  lastDataMs: struct.getUint32(52, true),
  lastAckMs: struct.getUint32(56, true),
  bytesAcked: length < 128 ? 0 : Number(struct.getBigUint64(120, true)),
  notSentBytes: length < 148 ? 0 : struct.getUint32(144, true),
  sendWindow: length < 232 ? 0 : struct.getUint32(228, true)
})

/**
 * Milliseconds of silence after which an end that owes an answer is taken for dead: as long as keep-alive needs on an
 * idle connection, 7 s and three probes 7 s apart (protocol section 5).
 *
 * @since 0.1.0
 * @category constants
 */
export const deadAfterMs = 28_000

/**
 * Milliseconds between two looks at a connection.
 *
 * @since 0.1.0
 * @category constants
 */
export const lookEveryMs = 2_000

/**
 * Milliseconds between two retransmissions or window probes at most, where the kernel lets a socket bound them. Four fit
 * into `deadAfterMs`.
 *
 * @since 0.1.0
 * @category constants
 */
export const probeIntervalMs = 7_000

/**
 * Tells whether the other end is dead: it has sent nothing for `afterMs`, and two transmissions in a row wait for its
 * answer.
 *
 * One is not enough. While a window is closed, Linux sends a probe up to every two minutes, so the last acknowledgement
 * is that old whenever a probe has just been sent, or was lost. The second probe leaves only when the first was not
 * answered in time. A paused reader that answers its probes resets the count with each answer.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isDead = (
  info: Pick<TcpInfo, "lastAckMs" | "lastDataMs" | "probes" | "retransmits">,
  afterMs = deadAfterMs
): boolean => info.retransmits + info.probes >= 2 && Math.min(info.lastAckMs, info.lastDataMs) >= afterMs

/**
 * Tells whether the other end has acknowledged everything. Only keep-alive is left to find it dead, and does.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isSettled = (info: Pick<TcpInfo, "notSentBytes" | "unacked">): boolean =>
  info.unacked === 0 && info.notSentBytes === 0
