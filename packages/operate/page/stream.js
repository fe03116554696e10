// Follows the relay's server-sent events. It is fetch and not EventSource because a request may need a session in a header.

/** The server says something each second; a connection that is silent for so long (ms) is given up. */
const silence = 6000
const shortestWait = 1000
const longestWait = 5000

/** Takes the text of an event stream in pieces of any size, and gives each event's name and data. */
export const parser = (onEvent) => {
  let rest = ""
  let name = ""
  let data = []
  return (text) => {
    // a carriage return at the end may be the first half of a line's end
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop()
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) {
          onEvent(name || "message", data.join("\n"))
        }
        name = ""
        data = []
        continue
      }
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line)
      if (field === "data") {
        data.push(value)
      } else if (field === "event") {
        name = value
      }
    }
  }
}

/** One connection, until it ends, fails or falls silent. */
const connection = async (url, session, onEvent) => {
  const abort = new AbortController()
  let heard = performance.now()
  const watch = setInterval(() => performance.now() - heard > silence && abort.abort(new Error("it fell silent")), 1000)
  try {
    const response = await fetch(url, {
      cache: "no-store",
      headers: session === null ? {} : { authorization: `Bearer ${session}` },
      signal: abort.signal
    })
    if (response.status === 401) {
      return "unauthorized"
    }
    if (!response.ok) {
      throw new Error(`it answered ${response.status}`)
    }
    const feed = parser(onEvent)
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) {
        return "ended"
      }
      heard = performance.now()
      feed(value)
    }
  } finally {
    clearInterval(watch)
    abort.abort()
  }
}

/**
 * Connects, and connects again for as long as the page is open; without a valid session it waits for `resume`. `onState`
 * hears "connecting", "live", "reconnecting" and "signedOut".
 */
export const follow = (url, { onEvent, onState, session }) => {
  let wait = shortestWait
  let running = false

  const run = async () => {
    running = true
    for (;;) {
      let live = false
      const ended = await connection(url, session(), (name, data) => {
        onEvent(name, JSON.parse(data))
        if (!live) {
          live = true
          wait = shortestWait
          onState("live")
        }
      }).catch(() => "failed")
      if (ended === "unauthorized") {
        running = false
        return onState("signedOut")
      }
      onState("reconnecting")
      await new Promise((resolve) => setTimeout(resolve, wait))
      wait = Math.min(2 * wait, longestWait)
    }
  }

  return {
    resume: () => {
      if (!running) {
        onState("connecting")
        void run()
      }
    }
  }
}
