export * as LocalHttp from "./LocalHttp.js"
export * as LocalPage from "./LocalPage.js"
export * as PageSessions from "./PageSessions.js"
