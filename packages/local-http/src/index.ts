export * as LocalHttp from "./LocalHttp.js"
