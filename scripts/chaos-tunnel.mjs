// `node scripts/chaos-tunnel.mjs NETNS MIN MAX`: a link between this network namespace and another, tun0 in both. Each packet is late by
// MIN to MAX milliseconds, whatever the one before it was, so packets overtake each other. Runs until it is killed.
import koffi from "koffi"
import { Buffer } from "node:buffer"
import { closeSync, constants, openSync, read, write } from "node:fs"
import process from "node:process"
import { setTimeout } from "node:timers"

const [, , netns, min, max] = process.argv
const libc = koffi.load(null)
const ioctl = libc.func("int ioctl(int fd, unsigned long request, void *argument)")
const setns = libc.func("int setns(int fd, int type)")

/** TUNSETIFF, and IFF_TUN | IFF_NO_PI. */
const setInterface = 0x400454ca
const packetsOnly = 0x1001
const newNetwork = 0x40000000

/** A tun device of the namespace where this thread is. */
const open = () => {
  const fd = openSync("/dev/net/tun", constants.O_RDWR)
  const request = Buffer.alloc(40)
  request.write("tun0", "latin1")
  request.writeInt16LE(packetsOnly, 16)
  if (ioctl(fd, setInterface, request) < 0) {
    throw new Error(`TUNSETIFF: errno ${koffi.errno()}`)
  }
  return fd
}

const near = open()
const other = openSync(netns, "r")
if (setns(other, newNetwork) < 0) {
  throw new Error(`setns: errno ${koffi.errno()}`)
}
closeSync(other)
const far = open()

const carry = (from, to) => {
  const packet = Buffer.alloc(65_536)
  read(from, packet, 0, packet.length, null, (error, count) => {
    if (error === null) {
      const copy = Buffer.from(packet.subarray(0, count))
      setTimeout(() => write(to, copy, () => {}), Number(min) + Math.random() * (Number(max) - Number(min)))
    }
    carry(from, to)
  })
}
carry(near, far)
carry(far, near)
console.log("ready")
