import { assert, describe, it } from "@effect/vitest"
import { UnixSocket } from "@tx3/sockets"

describe("UnixSocket", () => {
  it("a path may be as long as the system takes it", () => {
    const path = `/${"x".repeat(UnixSocket.longestPath - 1)}`
    assert.isUndefined(UnixSocket.problemOf(path, "linux"))
    assert.include(UnixSocket.problemOf(`${path}x`, "linux"), "choose a shorter one")
  })

  it("on Windows only a named pipe will do, and a file's path becomes one", () => {
    assert.include(UnixSocket.problemOf("/tmp/service.sock", "win32"), "127.0.0.1, or a named pipe, \\\\.\\pipe\\NAME")
    const pipe = UnixSocket.localPath("C:\\Users\\me\\tx3.sock", "win32")
    assert.strictEqual(pipe, "\\\\.\\pipe\\C:/Users/me/tx3.sock")
    assert.isUndefined(UnixSocket.problemOf(pipe, "win32"))
    assert.strictEqual(UnixSocket.localPath("/home/me/tx3.sock", "linux"), "/home/me/tx3.sock")
  })
})
