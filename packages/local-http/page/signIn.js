// Signs the browser in by a link of `tx3-relay page` or `tx3 page`: http://HOST:PORT/#code=CODE. The session that comes of the
// code is kept for this tab and this port, and nowhere else.

export const session = () => sessionStorage.getItem("session")

/** Takes the code out of the page's address, which people copy and browsers remember. */
export const takeCode = () => {
  const code = new URLSearchParams(location.hash.slice(1)).get("code")
  if (code !== null) {
    history.replaceState(null, "", location.pathname + location.search)
  }
  return code
}

/** Exchanges a code for a session. What is wrong with it otherwise. */
export const signIn = async (code) => {
  try {
    const response = await fetch("/session", {
      method: "POST",
      cache: "no-store",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ code })
    })
    if (response.ok) {
      sessionStorage.setItem("session", (await response.json()).session)
      return ""
    }
    return response.status === 401
      ? "That link has been used, or is too old: it works once, within a minute."
      : response.status === 429
      ? "Too many wrong links have been tried. Try a new one."
      : `The server answered ${response.status}.`
  } catch {
    return "The server did not answer."
  }
}
