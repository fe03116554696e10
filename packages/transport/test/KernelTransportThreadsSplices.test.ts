import { KernelTransport } from "@tx3/transport"
import { spliceSubjects } from "./utils/subjects.js"
import { transportSuite } from "./utils/transportSuite.js"

transportSuite("KernelTransport with two threads", KernelTransport.layer({ threads: 2 }), spliceSubjects)
