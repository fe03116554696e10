export * as DescriptorLimit from "./DescriptorLimit.js"
