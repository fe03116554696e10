// Asks the server, and for actions the user first: one question in a dialog, and then what came of it.
import { byId, setText } from "./elements.js"
import { session } from "./signIn.js"

/** Asks the server for something, or with a body to do something: its answer, or the problem and, if it answered, the status. */
export const request = async (path, body, signal) => {
  const bearer = session()
  try {
    const response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      cache: "no-store",
      headers: {
        ...bearer === null ? {} : { authorization: `Bearer ${bearer}` },
        ...body === undefined ? {} : { "content-type": "application/json" }
      },
      ...body === undefined ? {} : { body: JSON.stringify(body) },
      ...signal === undefined ? {} : { signal }
    })
    const answer = await response.json().catch(() => ({}))
    return response.ok ? { answer } : {
      status: response.status,
      problem: response.status === 401
        ? "this browser is not signed in any longer"
        : answer.message ?? `the server answered ${response.status}`
    }
  } catch {
    return { problem: "the server did not answer" }
  }
}

const say = (text, failed) => {
  byId("outcome").classList.toggle("failed", failed)
  setText(byId("outcome-text"), text)
  byId("outcome-close").hidden = text === ""
}

let onYes = () => {}
let whenDone = () => {}

/** Sets the function that is called after each action, whether it succeeded or failed. */
export const onDone = (callback) => {
  whenDone = callback
}

/**
 * Asks whether to do it, and does it after a yes. `done` makes a sentence of the server's answer.
 */
export const ask = ({ body, done, path, text, title, yes }) => {
  setText(byId("question-title"), title)
  setText(byId("question-text"), text)
  setText(byId("yes"), yes)
  say("", false)
  onYes = async () => {
    const { answer, problem } = await request(path, body)
    say(problem === undefined ? done(answer) : `${title} That failed: ${problem}.`, problem !== undefined)
    whenDone()
  }
  byId("question").showModal()
}

const close = (act) => () => {
  byId("question").close()
  act()
}
byId("yes").addEventListener("click", close(() => onYes()))
byId("no").addEventListener("click", close(() => {}))
byId("outcome-close").addEventListener("click", () => say("", false))
