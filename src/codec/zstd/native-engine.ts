import { constants, createZstdCompress, createZstdDecompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { concat, release } from '../../shared/bytes.ts';
import { FRAME_BYTES, MIB, ZSTD_WINDOW_BYTES } from '../../shared/limits.ts';
import { PushTransform } from '../push-transform.ts';
import type { FrameCompressor, FrameDecompressor, ZstdEngine } from './engine.ts';
import { LARGEST_BLOCK_BYTES, parseFrameHeader } from './frame-header.ts';
import { MalformedZstd } from './malformed-zstd.ts';
import { type NativeContext, openNativeContext } from './native-context.ts';

/**
 * Tables of the high levels, held so small that compressing a 4 MiB frame takes at most 18 MiB at every level (measured
 * with ZSTD_sizeof_CCtx; unbounded it is 69). The frames grow by less than 1 %.
 */
const LARGEST_HASH_LOG = 20;
const LARGEST_CHAIN_LOG = 21;
/** Below it zstd's own tables take no more than that, and the bounds would enlarge them. */
const FIRST_BOUNDED_LEVEL = 10;
const LARGEST_WINDOW_LOG = Math.log2(ZSTD_WINDOW_BYTES);
/** node:zlib allocates another chunk behind one that is filled to its last byte, and refuses chunks of under 64 bytes. */
const ROOM_BYTES = 64;

/** zstd of the runtime's node:zlib. */
export const nativeEngine: ZstdEngine = {
  name: 'native',
  writesChecksum: true,
  highestLevel: 22,
  largestWindowBytes: ZSTD_WINDOW_BYTES,
  oneShotBytes: ZSTD_WINDOW_BYTES,
  // ZSTD_sizeof_CCtx after a frame of 4 MiB (3.5 MiB at level 3, 17.5 at level 22), and the frame.
  heapBytes: 18 * MIB + chunkBytes(FRAME_BYTES),
  compressFrame,
  compressor,
  decompressFrame,
  decompressor,
};

/**
 * Whether the runtime's zstd does what this engine needs of it: some versions of workerd have none, or fail on larger
 * outputs (cloudflare/workerd#6769). A few milliseconds.
 */
export function nativeEnginePasses(): boolean {
  try {
    const content = probe(512 * 1024);
    const frame = compressFrame(content, 1);
    return isFrameOf(frame, content);
  } catch {
    return false;
  }
}

/** Whether the frame has the header fields of our frames, and decodes to the content. */
function isFrameOf(frame: Uint8Array, content: Uint8Array): boolean {
  const header = parseFrameHeader(frame);
  if (header.kind !== 'frame' || header.frame.contentBytes !== content.length || !header.frame.hasChecksum)
    return false;
  return decompressFrame(frame, content.length).every((byte, i) => byte === content[i]);
}

/** Bytes that do not compress, so that the output spans many of the runtime's own chunks. */
function probe(bytes: number): Uint8Array {
  const content = new Uint8Array(bytes);
  let state = 1;
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    content[i] = state >>> 24;
  }
  return content;
}

/** What all frames of the isolate are made with; null where the runtime has no such thing, or fails its round trip. */
const shared = checkedContext();

function checkedContext(): NativeContext | null {
  try {
    const context = openNativeContext(chunkBytes(FRAME_BYTES));
    if (!context) return null;
    const content = probe(256 * 1024);
    // Parameters of one level must not stay for the next.
    for (const level of [FIRST_BOUNDED_LEVEL, 1]) {
      const frame = context.compress(content, compressionParams(level)).slice();
      if (!isFrameOf(frame, content)) return null;
    }
    return context;
  } catch {
    return null;
  }
}

function compressFrame(content: Uint8Array, level: number): Uint8Array {
  // After a frame has ended, the context takes no input for a call that is to be repeated, not for an empty frame.
  if (!shared || content.length === 0) return compressOnce(content, level);
  return shared.compress(content, compressionParams(level)).slice();
}

function compressOnce(content: Uint8Array, level: number): Uint8Array {
  // One chunk that holds any result: one call of the compressor, which therefore knows the content size and writes it
  // into the header, and works around workerd#6769.
  const chunkSize = chunkBytes(content.length);
  return wholeBuffer(zstdCompressSync(content, { chunkSize, params: compressionParams(level), info: true }));
}

/** Room for the frame of any content of that size. */
function chunkBytes(contentBytes: number): number {
  return contentBytes + (contentBytes >> 7) + 1024;
}

/**
 * A one-shot call leaves its context behind: about 1 MiB a frame at level 3 that no collection brought back (workerd
 * 1.20261117, measured by the process's resident memory), so that a 10 GiB upload would end the isolate. Where there is no
 * shared context, a stream keeps one for each upload. Every write ends a frame (`flush`), so the content size is known and
 * written as in a one-shot call.
 *
 * Runtimes before 1.20261110 break where a frame spans two of the stream's chunks (workerd#6769): there that one frame
 * is made by a one-shot call, and the next by a new stream.
 */
function compressor(level: number): FrameCompressor {
  return shared
    ? { compress: (content) => compressFrame(content, level), close: () => undefined }
    : streamCompressor(level);
}

/** The public way; exported for its test, since every runtime tested has the shared context. */
export function streamCompressor(level: number): FrameCompressor {
  let stream = frameStream(level);
  return {
    async compress(content) {
      try {
        return await stream.compress(content);
      } catch {
        stream.close();
        stream = frameStream(level);
        return compressOnce(content, level);
      }
    },
    close: () => stream.close(),
  };
}

function frameStream(level: number) {
  const flush = constants.ZSTD_e_end;
  const transform = new PushTransform(
    createZstdCompress({ flush, chunkSize: chunkBytes(FRAME_BYTES), params: compressionParams(level) }),
  );
  let chunk: Uint8Array | undefined;
  return {
    async compress(content: Uint8Array): Promise<Uint8Array> {
      const pieces = await transform.push(content);
      const frame = concat(pieces);
      // What comes out are views of the stream's own chunk; it has left the one before for good.
      for (const piece of pieces) {
        if (chunk && chunk.buffer !== piece.buffer) release(chunk);
        chunk = piece;
      }
      return frame;
    },
    close: () => transform.close(),
  };
}

/** All of them at every level: the shared context keeps what it is not given. 0 is zstd's own choice. */
function compressionParams(level: number): Record<number, number> {
  const bounded = level >= FIRST_BOUNDED_LEVEL;
  return {
    [constants.ZSTD_c_compressionLevel]: level,
    [constants.ZSTD_c_checksumFlag]: 1,
    [constants.ZSTD_c_hashLog]: bounded ? LARGEST_HASH_LOG : 0,
    [constants.ZSTD_c_chainLog]: bounded ? LARGEST_CHAIN_LOG : 0,
  };
}

function decompressFrame(frame: Uint8Array, contentBytes: number): Uint8Array {
  const content = decompressOnce(frame, contentBytes);
  if (content.length !== contentBytes) throw new MalformedZstd('a frame does not hold what its header says', 0);
  return content;
}

function decompressOnce(frame: Uint8Array, contentBytes: number): Uint8Array {
  try {
    const result = zstdDecompressSync(frame, {
      chunkSize: contentBytes + ROOM_BYTES,
      maxOutputLength: Math.max(contentBytes, 1),
      params: { [constants.ZSTD_d_windowLogMax]: LARGEST_WINDOW_LOG },
      info: true,
    });
    return wholeBuffer(result);
  } catch (cause) {
    throw new MalformedZstd('a frame is corrupt', 0, { cause });
  }
}

/** With `info: true` node:zlib gives `{ buffer, engine }`, which its types do not know. */
function wholeBuffer(result: Uint8Array | { buffer: unknown }): Uint8Array {
  if (result instanceof Uint8Array) return result;
  if (result.buffer instanceof Uint8Array) return result.buffer;
  throw new TypeError('node:zlib gave no bytes');
}

function decompressor(): FrameDecompressor {
  const transform = new PushTransform(
    createZstdDecompress({
      chunkSize: LARGEST_BLOCK_BYTES,
      params: { [constants.ZSTD_d_windowLogMax]: LARGEST_WINDOW_LOG },
    }),
  );
  return {
    push: (input) =>
      transform.push(input).catch((cause: unknown) => {
        throw new MalformedZstd('a frame is corrupt', 0, { cause });
      }),
    end: () => undefined,
    close: () => transform.close(),
  };
}
