/**
 * A browser for a test file, and pages in it that record their requests and errors. The browser is Chromium's headless shell,
 * which uses 40 % of the CPU time of the whole Chromium. It ends with the file's layer, a page with its scope.
 */
import { RelayTest } from "@tx3/relay"
import { find } from "@tx3/testing/Programs"
import { Cause, Context, Effect, Layer } from "effect"
import { mkdirSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { BrowserContextOptions, Page } from "playwright-core"
import { chromium } from "playwright-core"

const screenshots = fileURLToPath(new URL("../screenshots/", import.meta.url))

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")

export class Browser extends Context.Tag("test/Browser")<Browser, {
  readonly open: (options?: BrowserContextOptions) => Promise<Page>
}>() {}

export const layer = Layer.scoped(
  Browser,
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(() =>
        chromium.launch({
          executablePath: find("chromium-headless-shell")!,
          args: ["--no-sandbox", "--disable-quic"]
        })
      ),
      (browser) => Effect.promise(() => browser.close())
    ),
    (browser) => ({
      open: async (options) => {
        const context = await browser.newContext({
          viewport: { width: 1280, height: 900 },
          locale: "en-GB",
          ...options
        })
        context.setDefaultTimeout(20_000)
        return context.newPage()
      }
    })
  )
)

export interface OpenPage {
  readonly page: Page
  /** Waits until an expression of the page's own language holds. */
  readonly until: (expression: string) => Effect.Effect<void>
  readonly evaluate: <A>(expression: string) => Effect.Effect<A>
  /** Waits until an element's text is this. */
  readonly shows: (selector: string, text: string | RegExp) => Effect.Effect<void>
  /** Focuses and clicks an element once there is one, without waiting for frames as Playwright does. */
  readonly click: (selector: string) => Effect.Effect<void>
  /** Clicks a button Copy, waits until it has said that it copied, and returns what the clipboard has. */
  readonly copy: (selector: string) => Effect.Effect<string>
  readonly press: (...keys: ReadonlyArray<string>) => Effect.Effect<void>
  readonly screenshot: (name: string) => Effect.Effect<void>
  /** What axe-core finds on it as it is: nothing, by the rules of WCAG and its own. */
  readonly audit: Effect.Effect<ReadonlyArray<string>>
  /** What it complained of since the last time it was asked. */
  readonly complaints: () => ReadonlyArray<string>
}

/** A page that is closed with its scope. It fails the test if it asks anybody but the server, or complains unasked. */
export const open = (
  url: string,
  { clock = false, expected, ...options }: BrowserContextOptions & {
    /** Whether time is what the test says it is. */
    readonly clock?: boolean
    /** What it may complain of. */
    readonly expected?: RegExp
  } = {}
) =>
  Effect.gen(function*() {
    const browser = yield* Browser
    const page = yield* Effect.acquireRelease(
      Effect.promise(() => browser.open(options)),
      (page) => Effect.promise(() => page.context().close())
    )
    const requests: Array<string> = []
    let complaints: Array<string> = []
    page.on("request", (request) => requests.push(request.url()))
    page.on("pageerror", (error) => complaints.push(String(error)))
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type()) && !expected?.test(message.text())) {
        complaints.push(message.text())
      }
    })
    page.on("dialog", (dialog) => complaints.push(dialog.message()))
    yield* Effect.addFinalizer((exit) =>
      Effect.sync(() => {
        const outside = requests.filter((request) =>
          !request.startsWith(url.replace(/#.*/, "")) && !request.startsWith("data:")
        )
        if (exit._tag === "Success" && outside.length + complaints.length > 0) {
          throw new Error(`the page complained or went outside: ${[...outside, ...complaints].join("; ")}`)
        }
      })
    )
    if (clock) {
      yield* Effect.promise(() => page.clock.install())
    }
    yield* Effect.promise(() => page.goto(url))

    // not page.waitForFunction: it needs eval in the page, which the page's policy forbids
    const until = (expression: string) =>
      RelayTest.eventually(Effect.promise(async () => Boolean(await page.evaluate(expression)))).pipe(
        Effect.timeoutFailCause({ duration: "20 seconds", onTimeout: () => Cause.empty }),
        Effect.catchAllCause(() =>
          Effect.flatMap(
            Effect.promise(() => page.locator("body").innerText()),
            (shown) => Effect.dieMessage(`waited in vain for ${expression} on a page that shows\n${shown}`)
          )
        )
      )
    const click = (selector: string) =>
      until(
        `(() => {
          const element = document.querySelector(${JSON.stringify(selector)})
          element?.focus()
          element?.click()
          return element
        })() !== null`
      )
    const openPage: OpenPage = {
      page,
      until,
      evaluate: (expression) => Effect.promise(() => page.evaluate(expression)),
      shows: (selector, text) => {
        const actual = `document.querySelector(${JSON.stringify(selector)})?.textContent`
        return until(typeof text === "string" ? `${actual} === ${JSON.stringify(text)}` : `${text}.test(${actual})`)
      },
      click,
      copy: (selector) =>
        // The button says so for two seconds, in which a busy machine may not ask.
        Effect.promise(() =>
          page.evaluate(`(() => {
            const word = document.querySelector(${JSON.stringify(selector)}).firstElementChild
            window.said = new Promise((resolve) =>
              new MutationObserver(() => resolve(word.textContent)).observe(word, { childList: true })
            )
          })()`)
        ).pipe(
          Effect.zipRight(click(selector)),
          Effect.zipRight(Effect.promise(() => page.evaluate<string>("window.said"))),
          Effect.filterOrDieMessage((said) => said === "Copied", "the button says something else than Copied"),
          Effect.zipRight(Effect.promise(() => page.evaluate<string>("navigator.clipboard.readText()")))
        ),
      press: (...keys) =>
        Effect.promise(async () => {
          for (const key of keys) {
            await page.keyboard.press(key)
          }
        }),
      screenshot: (name) =>
        Effect.promise(async () => {
          mkdirSync(screenshots, { recursive: true })
          await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true })
        }),
      audit: Effect.promise(() =>
        page.evaluate(`(async () => {
          if (window.axe === undefined) { ${axe} }
          const { violations } = await window.axe.run({ resultTypes: ["violations"] })
          return violations.map(({ id, nodes }) => id + ": " + nodes.map(({ target }) => target).join(", "))
        })()`)
      ),
      complaints: () => {
        const known = complaints
        complaints = []
        return known
      }
    }
    return openPage
  })
