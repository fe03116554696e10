export * as DeadPeers from "./DeadPeers.js"
export * as DescriptorLimit from "./DescriptorLimit.js"
export * as SocketCalls from "./SocketCalls.js"
export * as TcpInfo from "./TcpInfo.js"
