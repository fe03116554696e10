import { KernelTransport } from "@tx3/transport"
import { timeSubjects } from "./utils/subjects.js"
import { transportSuite } from "./utils/transportSuite.js"

transportSuite("KernelTransport", KernelTransport.layer(), timeSubjects)
