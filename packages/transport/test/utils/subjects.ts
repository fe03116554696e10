/** The subjects of the transports' suite, in three groups of test files that can run beside each other. */
import { closingTests } from "./suite/closing.js"
import { dialTests } from "./suite/dialing.js"
import { duplexTests } from "./suite/duplex.js"
import { endingTests } from "./suite/endings.js"
import { hangUpTests } from "./suite/hangUp.js"
import { listeningTests } from "./suite/listening.js"
import { preambleTests } from "./suite/preamble.js"
import { proxyTests } from "./suite/proxies.js"
import { rateTests } from "./suite/rates.js"
import { silenceTests } from "./suite/silence.js"
import { socketTests } from "./suite/sockets.js"
import { spliceTests } from "./suite/splice.js"
import { urgentTests } from "./suite/urgent.js"

/** Connections until they are spliced. */
export const connectionSubjects = {
  listen: listeningTests,
  proxies: proxyTests,
  preamble: preambleTests,
  onHangUp: hangUpTests,
  toDuplex: duplexTests,
  close: closingTests,
  dial: dialTests,
  sockets: socketTests
}

/** Bytes and ends of splices. */
export const spliceSubjects = { splice: spliceTests, "urgent data": urgentTests, endings: endingTests }

/** Splices and time. */
export const timeSubjects = { silence: silenceTests, rates: rateTests }
