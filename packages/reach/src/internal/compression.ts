/**
 * Compressed bytes of transfers: blocks of up to 256 KiB, each by itself, so that neither end keeps more than a block. A block is 4
 * bytes, big-endian, and as many bytes as their lower 31 bits say; the highest bit says that these are compressed. A block that does not become
 * smaller goes as it is. It owns nothing.
 */
import * as Data from "effect/Data"
import type { Duplex } from "node:stream"
import { promisify } from "node:util"
import * as zlib from "node:zlib"
import { take } from "./bytes.js"

/** Ways of compressing, the best first. */
export type Method = "zstd" | "gzip"

type Compress = (bytes: Uint8Array) => Promise<Buffer>
type Decompress = (bytes: Uint8Array, options: { readonly maxOutputLength: number }) => Promise<Buffer>

/** The calls of newer versions of Node. */
const newer: {
  readonly zstdCompress?: (bytes: Uint8Array, callback: (error: Error | null, bytes: Buffer) => void) => void
  readonly zstdDecompress?: (
    bytes: Uint8Array,
    options: { readonly maxOutputLength: number },
    callback: (error: Error | null, bytes: Buffer) => void
  ) => void
} = zlib as object

const gzip = { compress: promisify(zlib.gzip) as Compress, decompress: promisify(zlib.gunzip) as Decompress }

const ways: { readonly [method in Method]?: { readonly compress: Compress; readonly decompress: Decompress } } =
  newer.zstdCompress === undefined || newer.zstdDecompress === undefined
    ? { gzip }
    : { zstd: { compress: promisify(newer.zstdCompress), decompress: promisify(newer.zstdDecompress) }, gzip }

/** What this version of Node can. */
export const methods = Object.keys(ways) as ReadonlyArray<Method>

/** The first of some methods that there is here. */
export const chosen = (offered: ReadonlyArray<string>): Method | undefined =>
  methods.find((method) => offered.includes(method))

/** The plain bytes of a block, as the buffers that files are read with. */
export const blockBytes = 256 * 1024

const headerBytes = 4
const compressedBit = 0x8000_0000

/** A block that becomes smaller by less than a sixteenth is worth nobody's time. */
const worthwhile = 15 / 16

/** Blocks that go as they are behind one that did not become smaller, as those of a film do not. */
const skipped = 3

/** Makes blocks of chunks of up to 256 KiB. */
export const packer = (method: Method): (chunk: Uint8Array) => Promise<Buffer> => {
  let skip = 0
  return async (chunk) => {
    const compressed = skip-- > 0 ? undefined : await ways[method]!.compress(chunk)
    const isSmaller = compressed !== undefined && compressed.length <= chunk.length * worthwhile
    if (compressed !== undefined && !isSmaller) {
      skip = skipped
    }
    const bytes = isSmaller ? compressed : chunk
    const block = Buffer.allocUnsafe(headerBytes + bytes.length)
    block.writeUInt32BE((isSmaller ? compressedBit : 0) + bytes.length)
    block.set(bytes, headerBytes)
    return block
  }
}

/** A block that is too large, or cannot be read. */
export class BadBlock extends Data.TaggedError("BadBlock") {}

/** Plain bytes, and how many came for them. */
export interface Unpacked {
  readonly bytes: Buffer
  readonly came: number
}

/** Yields exactly `size` plain bytes from blocks. Rejects with {@link BadBlock}, `Short` or a `ConnectionError`. */
export async function* unpack(
  duplex: Duplex,
  size: number,
  { method, patienceMs }: { readonly method: Method; readonly patienceMs: number }
): AsyncGenerator<Unpacked, void> {
  const read = async (size: number) => {
    const pieces: Array<Buffer> = []
    for await (const piece of take(duplex, size, patienceMs)) {
      pieces.push(piece)
    }
    return Buffer.concat(pieces)
  }
  let left = size
  while (left > 0) {
    const header = (await read(headerBytes)).readUInt32BE()
    const isCompressed = header >= compressedBit
    const length = isCompressed ? header - compressedBit : header
    const most = Math.min(left, blockBytes)
    if (length === 0 || length > (isCompressed ? blockBytes : most)) {
      throw new BadBlock()
    }
    const block = await read(length)
    const bytes = isCompressed
      ? await ways[method]!.decompress(block, { maxOutputLength: most }).catch(() => {
        throw new BadBlock()
      })
      : block
    if (bytes.length === 0) {
      throw new BadBlock()
    }
    left -= bytes.length
    yield { bytes, came: headerBytes + length }
  }
}
