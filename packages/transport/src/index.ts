export * as DescriptorLimit from "./DescriptorLimit.js"
export * as PortableTransport from "./PortableTransport.js"
export * as Transport from "./Transport.js"
