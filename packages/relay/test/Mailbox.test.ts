import { assert, describe, it } from "@effect/vitest"
import { SpliceToken } from "@tx3/protocol"
import * as Source from "@tx3/protocol/Source"
import { Mailbox } from "../src/internal/mailbox.js"

const [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(Source.fromAddress) as [
  Source.Source,
  Source.Source,
  Source.Source
]
const tokens = (count: number) => Array.from({ length: count }, () => SpliceToken.random())

describe("Mailbox", () => {
  it("gives one token of each source in turns, and of a source in the order in which they came", () => {
    const mailbox = new Mailbox()
    const [many, one, two] = [tokens(50), tokens(1), tokens(2)]
    many.forEach((token) => mailbox.add(token, a))
    one.forEach((token) => mailbox.add(token, b))
    two.forEach((token) => mailbox.add(token, c))
    assert.deepStrictEqual(mailbox.takeAll(), [many[0]!, one[0]!, two[0]!, many[1]!, two[1]!, ...many.slice(2)])
    assert.isTrue(mailbox.isEmpty)
    assert.deepStrictEqual(mailbox.takeAll(), [])
  })

  it("gives back what is removed, once, and forgets a source that has nothing left", () => {
    const mailbox = new Mailbox()
    const [first, second] = [SpliceToken.random(), SpliceToken.random()]
    mailbox.add(first, a)
    mailbox.add(second, a)
    assert.isFalse(mailbox.remove(first, b))
    assert.isTrue(mailbox.remove(first, a))
    assert.isFalse(mailbox.remove(first, a))
    assert.deepStrictEqual(mailbox.takeAll(), [second])
    mailbox.add(first, a)
    assert.isTrue(mailbox.remove(first, a))
    assert.isTrue(mailbox.isEmpty)
    mailbox.add(first, a)
    mailbox.clear()
    assert.isTrue(mailbox.isEmpty)
  })
})
