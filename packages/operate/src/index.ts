export * as AdminApi from "./AdminApi.js"
export * as LiveSettings from "./LiveSettings.js"
export * as OperatorConfig from "./OperatorConfig.js"
export * as RelayStatus from "./RelayStatus.js"
