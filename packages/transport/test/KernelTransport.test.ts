import { KernelTransport } from "@tx3/transport"
import { transportSuite } from "./utils/transportSuite.js"

transportSuite("KernelTransport", KernelTransport.layer())
