/**
 * Whether the node behind a control stream has stopped to answer. Nodes say nothing on their stream, so what tells is
 * whether they dial back: a relay that writes tokens to a node which has lost power, or whose program hangs, sees its
 * writes succeed for a long time.
 *
 * A token is unanswered when its peer has waited for it for `answerSeconds`. Peers that leave before do not count, so
 * a peer cannot make a node suspicious by coming and going. Each dial-back, also with a token whose peer is gone, proves
 * that the node lives, and everything begins anew.
 *
 * Seconds are counted by the relay's own ticks, not by a clock: a relay that was suspended has not waited.
 */

const answerSeconds = 5

/**
 * A node that has dialed back before, and has no splice running: two tokens, so that a single one that was lost or that
 * the node had no use for does not end the stream, and the half minute in which everything dead is to be noticed.
 */
const usual = { unanswered: 2, seconds: 28 }

/**
 * A node that has never dialed back may have a firewall that forbids it; one with a splice may serve only that
 * peer. Ending their streams soon gains nothing.
 */
const patient = { unanswered: 4, seconds: 120 }

export class Suspicion {
  private hasDialedBack = false
  private unanswered = 0
  private seconds = 0

  get isOpen(): boolean {
    return this.unanswered > 0
  }

  /** The node has dialed back. */
  answered() {
    this.hasDialedBack = true
    this.unanswered = 0
    this.seconds = 0
  }

  /** A peer has waited for one more second, and for so many in all. */
  waited(seconds: number) {
    if (seconds === answerSeconds) {
      if (this.unanswered === 0) {
        this.seconds = answerSeconds - 1
      }
      this.unanswered++
    }
  }

  /** A second has passed; true if the stream has to be ended. `hasSplices` is only asked where it matters. */
  tick(hasSplices: () => boolean): boolean {
    if (!this.isOpen) {
      return false
    }
    this.seconds++
    return this.exceeds(patient) || this.exceeds(usual) && this.hasDialedBack && !hasSplices()
  }

  private exceeds({ seconds, unanswered }: typeof usual): boolean {
    return this.unanswered >= unanswered && this.seconds >= seconds
  }
}
