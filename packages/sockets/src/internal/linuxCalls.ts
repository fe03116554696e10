/** The system calls of `SocketCalls`, through koffi and libc. */
import * as Koffi from "../Koffi.js"
import { infoBytes, parse } from "../TcpInfo.js"

const solSocket = 1
const soLinger = 13
const ipprotoTcp = 6
const tcpInfoOption = 11
const tcpUserTimeout = 18
/** Linux 6.15 and newer. */
const tcpRtoMaxMs = 44
const siocOutq = 0x5411

/** Loads koffi; throws where there is none. */
export const linuxCalls = () => {
  const libc = Koffi.load().load(null)
  const c = {
    getsockopt: libc.func("int getsockopt(int fd, int level, int option, void *value, void *length)"),
    ioctl: libc.func("int ioctl(int fd, unsigned long request, ...)"),
    setsockopt: libc.func("int setsockopt(int fd, int level, int option, void *value, uint32_t length)")
  }

  const info = new DataView(new ArrayBuffer(infoBytes))
  const infoLength = new Uint32Array(1)
  const queued = new Int32Array(1)

  const set = (fd: number, level: number, option: number, value: Int32Array) =>
    c.setsockopt(fd, level, option, value, value.byteLength) === 0

  return {
    tcpInfo: (fd: number) => {
      infoLength[0] = infoBytes
      return c.getsockopt(fd, ipprotoTcp, tcpInfoOption, info, infoLength) === 0
        ? parse(info, infoLength[0])
        : undefined
    },
    unacknowledgedBytes: (fd: number) => c.ioctl(fd, siocOutq, "void *", queued) === 0 ? queued[0] : undefined,
    setUserTimeout: (fd: number, ms: number) => set(fd, ipprotoTcp, tcpUserTimeout, Int32Array.of(ms)),
    setProbeInterval: (fd: number, ms: number) => set(fd, ipprotoTcp, tcpRtoMaxMs, Int32Array.of(ms)),
    resetOnClose: (fd: number) => set(fd, solSocket, soLinger, Int32Array.of(1, 0))
  }
}
