/** The vectors are those of draft-irtf-cfrg-cpace-21, appendices A and B.3. */
import { assert, describe, it } from "@effect/vitest"
import { ristretto255 } from "@noble/curves/ed25519.js"
import * as CPace from "../src/internal/cpace.js"

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ""), "hex")
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

const inputs: CPace.Inputs = {
  password: Buffer.from("Password"),
  channel: hex("0b415f696e69746961746f720b425f726573706f6e646572"),
  session: hex("7e4b4791d6a8ef019b936c79fb7f2c57")
}
const data = { initiator: "ADa", responder: "ADb" }
const ya = hex("da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08")
const yb = hex("d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d")
const Ya = "d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157"
const Yb = "3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258"
const isk = "b69effbf61b51d56401c0f65601abe428de8206feaaf0e32198896dcae7b35cd" +
  "2b38950a39dfd5d4a79164614c2984f7daa460b588c1e80c3fa2068af7900447"
const notAPoint = hex("2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c")

const range = (length: number) => Uint8Array.from({ length }, (_, index) => index)

describe("CPace as in the draft", () => {
  it("puts lengths before strings", () => {
    assert.strictEqual(text(CPace.withLength(Buffer.from("1234"))), "0431323334")
    assert.strictEqual(text(CPace.withLength(range(127))), `7f${text(range(127))}`)
    assert.strictEqual(text(CPace.withLength(range(128))), `8001${text(range(128))}`)
    assert.strictEqual(text(CPace.joined("1234", "5", "", "678")), "043132333401350003363738")
  })

  it("makes the generator", () => {
    assert.strictEqual(
      text(CPace.generatorString(inputs)),
      `11435061636552697374726574746f3235350850617373776f726464${"00".repeat(100)}` +
        "180b415f696e69746961746f720b425f726573706f6e646572107e4b4791d6a8ef019b936c79fb7f2c57"
    )
    assert.strictEqual(
      text(CPace.generator(inputs).toBytes()),
      "222b6b195fe84b1652badb6f6a3ae3d24341e7306967f0b8115b40d5698c7e56"
    )
  })

  it("makes shares and the key, on both sides", () => {
    const initiator = CPace.begin("initiator", inputs, data, ya)
    const responder = CPace.begin("responder", inputs, data, yb)
    assert.strictEqual(text(initiator.share), Ya)
    assert.strictEqual(text(responder.share), Yb)
    assert.strictEqual(text(initiator.finish(hex(Yb))!.isk), isk)
    assert.strictEqual(text(responder.finish(hex(Ya))!.isk), isk)
  })

  it("takes neither the neutral element nor what is no point", () => {
    for (const theirs of [new Uint8Array(32), notAPoint, new Uint8Array(32).fill(0xff), new Uint8Array(31)]) {
      assert.isUndefined(CPace.begin("initiator", inputs, data, ya).finish(theirs))
      assert.isUndefined(CPace.begin("responder", inputs, data, yb).finish(theirs))
    }
  })

  it("multiplies a valid point", () => {
    const point = CPace.pointIn(hex("2c3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c"))!
    const scalar = ristretto255.Point.Fn.fromBytes(
      hex("7cd0e075fa7955ba52c02759a6c90dbbfc10e6d40aea8d283e407d88cf538a05")
    )
    assert.strictEqual(
      text(point.multiply(scalar).toBytes()),
      "7c13645fe790a468f62c39beb7388e541d8405d1ade69d1778c5fe3e7f6b600e"
    )
  })
})

describe("CPace as it is used here", () => {
  const both = (change: Partial<CPace.Inputs> = {}) => {
    const initiator = CPace.begin("initiator", inputs)
    const responder = CPace.begin("responder", { ...inputs, ...change })
    return { initiator: initiator.finish(responder.share)!, responder: responder.finish(initiator.share)! }
  }

  it("confirms the key both ways, and shares are never the same", () => {
    const { initiator, responder } = both()
    assert.isTrue(initiator.isTag(responder.tag))
    assert.isTrue(responder.isTag(initiator.tag))
    assert.notStrictEqual(text(CPace.begin("initiator", inputs).share), text(CPace.begin("initiator", inputs).share))
  })

  for (
    const [what, change] of Object.entries<Partial<CPace.Inputs>>({
      "password": { password: Buffer.from("password") },
      "channel": { channel: Buffer.alloc(0) },
      "session": { session: Buffer.alloc(16) }
    })
  ) {
    it(`confirms nothing with another ${what}`, () => {
      const { initiator, responder } = both(change)
      assert.isFalse(initiator.isTag(responder.tag))
      assert.isFalse(responder.isTag(initiator.tag))
    })
  }

  it("takes no tag of its own, also where its share is sent back to it", () => {
    const run = CPace.begin("initiator", inputs)
    const key = run.finish(run.share)!
    assert.isFalse(key.isTag(key.tag))
    // What would happen if both parties said the same of themselves.
    const same = CPace.begin("initiator", inputs, { initiator: "", responder: "" })
    const reflected = same.finish(same.share)!
    assert.isTrue(reflected.isTag(reflected.tag))
  })

  it("takes no tag of another length", () => {
    const { initiator, responder } = both()
    assert.isFalse(initiator.isTag(responder.tag.subarray(0, 63)))
    assert.isFalse(initiator.isTag(new Uint8Array()))
  })
})
