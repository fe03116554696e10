// Numbers, times and digests as people read them.

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 1 })
const units = ["B", "kB", "MB", "GB", "TB", "PB"]

/** What is not known yet. */
const nothing = "–"

const known = (format) => (value) => value === null || value === undefined ? nothing : format(value)

export const count = known((value) => grouped.format(value))

/** Three digits and a unit: 999 B, 1.23 kB, 45.6 MB. */
export const bytes = known((value) => {
  let rest = value
  let unit = 0
  // what would be rounded up to 1000 is 1 of the next unit
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000
    unit++
  }
  const digits = unit === 0 || rest >= 99.95 ? 0 : rest >= 9.995 ? 1 : 2
  return `${Number(rest.toFixed(digits))} ${units[unit]}`
})

export const bytesPerSecond = known((value) => `${bytes(value)}/s`)

export const perSecond = known((value) => `${count(value)}/s`)

/** The two largest units of a time: 3 d 4 h. */
export const duration = known((seconds) => {
  const whole = Math.max(0, Math.floor(seconds))
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"]
  ]
  const first = parts.findIndex(([amount]) => amount > 0)
  return first === -1 ? "0 s" : parts.slice(first, first + 2).map(([amount, unit]) => `${amount} ${unit}`).join(" ")
})

/** A share of one, rounded down: what is not full does not read 100 %. */
export const percent = (share) => `${Math.floor(share * 100)} %`

const minutes = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })
const seconds = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23"
})
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" })
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" })

export const minute = (ms) => minutes.format(ms)

export const clock = (ms) => seconds.format(ms)

/** The time, after its day if that is another than this one. */
export const moment = (ms, now) =>
  new Date(ms).toDateString() === new Date(now).toDateString() ? clock(ms) : `${day.format(ms)} ${minute(ms)}`

export const date = (ms) => full.format(ms)

export const isDigest = (text) => /^[\w-]{43}$/.test(text)

/** Eight characters are enough to know a node by. */
export const short = (digest) => digest.slice(0, 8)
