/**
 * The other end of the access callout: a real HTTP server on loopback that answers as a test wants.
 */
import type { Scope } from "effect"
import { Effect } from "effect"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"

export interface CalloutServer {
  readonly url: string
  /** `METHOD PATH BODY` of each request so far. */
  readonly requests: Array<string>
  /** How many requests are not answered yet and have not been given up by the client. */
  readonly open: () => number
}

export const calloutServer = (
  answer: (response: Http.ServerResponse, number: number) => void
): Effect.Effect<CalloutServer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const requests: Array<string> = []
    let open = 0
    const server = yield* Effect.acquireRelease(
      Effect.async<Http.Server>((resume) => {
        const server = Http.createServer((request, response) => {
          open++
          response.on("close", () => open--)
          const body: Array<Buffer> = []
          request.on("data", (chunk: Buffer) => body.push(chunk)).on("end", () => {
            requests.push(`${request.method} ${request.url} ${Buffer.concat(body).toString()}`)
            answer(response, requests.length)
          })
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.async<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/may-register`,
      requests,
      open: () => open
    }
  })
