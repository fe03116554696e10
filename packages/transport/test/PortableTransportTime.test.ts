import { PortableTransport } from "@tx3/transport"
import { timeSubjects } from "./utils/subjects.js"
import { transportSuite } from "./utils/transportSuite.js"

transportSuite("PortableTransport", PortableTransport.layer, timeSubjects)
