/** Keep-alive of every TCP connection of this project ("Keep-alive" in docs/protocol.md). */

/** Seconds without a byte before the first probe, and between two of them. */
export const keepAliveSeconds = 7

/** Probes without an answer after which the other end is dead. */
export const keepAliveProbes = 3
