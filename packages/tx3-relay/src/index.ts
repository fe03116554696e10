export * as OperateCommand from "./OperateCommand.js"
export * as RelayCommand from "./RelayCommand.js"
