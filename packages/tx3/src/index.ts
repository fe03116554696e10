export * as ReachCommand from "./ReachCommand.js"
export * as Tx3Command from "./Tx3Command.js"
