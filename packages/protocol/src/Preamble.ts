/**
 * The fixed values of the relay's wire protocol. The relay decides what a preamble means: its 32 bytes are the relay's
 * digest, a node's digest or a splice token, and the relay recognises those it knows (protocol, section 4).
 */

/**
 * How many bytes every TCP connection to a relay begins with (protocol, section 4). Bytes that follow them in the same
 * segment belong to the next stage.
 *
 * @since 0.1.0
 * @category constants
 */
export const length = 32

/**
 * The all-clear: one zero byte that a relay sends first on a control stream, inside TLS, when the node is registered. Splice
 * tokens of 32 bytes each follow it (protocol, section 4).
 *
 * @since 0.1.0
 * @category constants
 */
export const allClear: Uint8Array = Uint8Array.of(0x00)
