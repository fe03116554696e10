import * as Fs from "node:fs"
import { assert, describe, it } from "vitest"
import * as Os from "../src/internal/descriptors.js"
import type { Descriptor } from "../src/internal/system.js"
import { again } from "../src/internal/system.js"
import { openDescriptors } from "./utils/system.js"

/** Each test closes what it opens. */
const test = (title: string, body: () => void) =>
  it(title, () => {
    const before = openDescriptors()
    body()
    assert.deepStrictEqual(openDescriptors(), before)
  })

const isOpen = (descriptor: number) => Fs.existsSync(`/proc/self/fd/${descriptor}`)

const [ours, theirs] = [1, 2]

const owners = (pipesMax = 1) => {
  const ledger = Os.makeLedger(4096)
  return [new Os.Descriptors(ledger, ours, pipesMax), new Os.Descriptors(ledger, theirs, pipesMax)] as const
}

const listen = (descriptors: Os.Descriptors) => descriptors.listen("127.0.0.1", 0, false, 1)

const belongsTo = (owner: number) => new RegExp(`belongs to ${owner}, not to`)

describe("Descriptors", () => {
  test("of another owner cannot be acted upon, and nothing happens to them", () => {
    const [mine, others] = owners()
    const pipe = mine.lendPipe()!
    const socket = listen(mine).socket
    const otherSocket = listen(others).socket
    const otherPipe = others.lendPipe()!
    const buffer = new Uint8Array(1)
    const acts: Record<string, () => unknown> = {
      close: () => others.close(socket),
      "drain a pipe": () => others.drain(pipe, otherSocket),
      "drain to a socket": () => others.drain(otherPipe, socket),
      "fill a pipe": () => others.fill(pipe, otherSocket),
      "fill from a socket": () => others.fill(otherPipe, socket),
      give: () => others.give(socket, theirs),
      giveAway: () => others.giveAway(socket),
      receive: () => others.receive(socket, buffer),
      reset: () => others.reset(socket),
      send: () => others.send(socket, buffer, 1),
      shutdown: () => others.shutdown(socket),
      tcpInfo: () => others.tcpInfo(socket),
      unacknowledged: () => others.unacknowledged(socket)
    }
    for (const [name, act] of Object.entries(acts)) {
      assert.throws(act, belongsTo(ours), name)
      assert.isTrue(isOpen(socket), name)
      assert.isTrue(isOpen(pipe.from) && isOpen(pipe.to), name)
    }
    // Still its owner's.
    mine.close(socket)
    assert.isFalse(isOpen(socket))
    others.close(otherSocket)
    for (const [descriptors, { from, to }] of [[mine, pipe], [others, otherPipe]] as const) {
      descriptors.close(from)
      descriptors.close(to)
    }
  })

  test("are not closed twice, whoever has the number by now", () => {
    const [mine, others] = owners()
    const first = mine.spare()!
    mine.close(first)
    assert.isFalse(isOpen(first))
    assert.throws(() => mine.close(first), belongsTo(0))
    assert.throws(() => mine.reset(first), belongsTo(0))

    // The system gives the lowest number there is.
    const second = others.spare()!
    assert.strictEqual(second, first)
    assert.throws(() => mine.close(first), belongsTo(theirs))
    assert.isTrue(isOpen(second))
    others.close(second)
    const file = Fs.openSync("/dev/null", "r")
    assert.strictEqual(file, first)
    assert.throws(() => others.close(second), belongsTo(0))
    assert.isTrue(isOpen(file))
    Fs.closeSync(file)
  })

  test("that were passed on are the new owner's only", () => {
    const [mine, others] = owners()
    const socket = listen(mine).socket
    mine.give(socket, theirs)
    assert.throws(() => mine.close(socket), belongsTo(theirs))
    assert.throws(() => mine.give(socket, ours), belongsTo(theirs))
    others.close(socket)
    assert.isFalse(isOpen(socket))
  })

  test("that were given away are no owner's", () => {
    const [mine, others] = owners()
    const socket = listen(mine).socket
    const number = mine.giveAway(socket)
    assert.strictEqual(number, socket)
    for (const descriptors of [mine, others]) {
      assert.throws(() => descriptors.close(socket), belongsTo(0))
      assert.throws(() => descriptors.shutdown(socket), belongsTo(0))
      assert.throws(() => descriptors.give(socket, ours), belongsTo(0))
      assert.throws(() => descriptors.giveAway(socket), belongsTo(0))
    }
    others.closeAllOf(ours)
    assert.isTrue(isOpen(number))
    Fs.closeSync(number)
  })

  test("of a dead owner are closed, all of them and no others", () => {
    const [mine, dead] = owners(2)
    const kept = [listen(mine).socket, mine.spare()!]
    const { from, to } = dead.lendPipe()!
    const { bell, poll } = dead.openPoll()
    const passedOn = dead.spare()!
    dead.give(passedOn, ours)
    const inherited = mine.spare()!
    mine.give(inherited, theirs)
    const away = dead.giveAway(listen(dead).socket)

    mine.closeAllOf(theirs)
    for (const descriptor of [from, to, bell, poll, inherited]) {
      assert.isFalse(isOpen(descriptor), String(descriptor))
    }
    for (const descriptor of [...kept, passedOn, away]) {
      assert.isTrue(isOpen(descriptor), String(descriptor))
    }
    assert.throws(() => dead.close(from), belongsTo(0))
    for (const descriptor of [...kept, passedOn]) {
      mine.close(descriptor)
    }
    Fs.closeSync(away)
  })

  test("beyond the ledger are not kept", () => {
    const tiny = new Os.Descriptors(Os.makeLedger(3), ours, 1)
    assert.isUndefined(tiny.spare())
    assert.throws(() => listen(tiny), /EMFILE/)
  })

  test("of pipes: as many are lent as may be, and come back empty", () => {
    const [mine] = owners(2)
    const one = mine.lendPipe()!
    const two = mine.lendPipe()!
    assert.isUndefined(mine.lendPipe())
    mine.takePipeBack(one)
    assert.isTrue(isOpen(one.from) && isOpen(one.to))
    assert.strictEqual(mine.lendPipe(), one)
    assert.isUndefined(mine.lendPipe())

    // One with bytes in it is not for the next splice.
    one.bytes = 1
    mine.takePipeBack(one)
    assert.isFalse(isOpen(one.from) || isOpen(one.to))
    const three = mine.lendPipe()!
    assert.notStrictEqual(three, one)
    assert.isUndefined(mine.lendPipe())
    for (const { from, to } of [two, three]) {
      mine.close(from)
      mine.close(to)
    }
  })

  test("of a listener whose address is in use are closed again", () => {
    const [mine, others] = owners()
    const { host, port, socket } = listen(mine)
    assert.throws(() => others.listen(host, port, false, 1), /EADDRINUSE/)
    assert.throws(() => others.listen("not an address", port, false, 1), /EADDRNOTAVAIL/)
    mine.close(socket)
  })

  test("accept: nobody waits", () => {
    const [mine] = owners()
    const socket: Descriptor = listen(mine).socket
    assert.strictEqual(mine.accept(socket), again)
    mine.close(socket)
  })
})
