export * as Cluster from "./Cluster.js"
export * as Directory from "./Directory.js"
export * as NatsDirectory from "./NatsDirectory.js"
