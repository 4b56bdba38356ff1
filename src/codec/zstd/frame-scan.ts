/** Walks a zstd file by its headers: every step that is taken before a decoder sees a byte. */
import type { ByteReader } from '../../shared/byte-reader.ts';
import { MIB } from '../../shared/limits.ts';
import type { ZstdEngine } from './engine.ts';
import {
  BLOCK_HEADER_BYTES,
  CHECKSUM_BYTES,
  LARGEST_BLOCK_BYTES,
  LARGEST_FRAME_HEADER_BYTES,
  parseBlockHeader,
  parseFrameHeader,
  type ZstdFrameHeader,
} from './frame-header.ts';
import { MalformedZstd } from './malformed-zstd.ts';

/** The next frame's header, not consumed; null after stepping over a skippable frame. */
export async function readFrameHeader(reader: ByteReader): Promise<ZstdFrameHeader | null> {
  const start = reader.position;
  const header = parseFrameHeader(await reader.fill(LARGEST_FRAME_HEADER_BYTES));
  switch (header.kind) {
    case 'frame':
      return header.frame;
    case 'skippable':
      if (await reader.skip(header.headerBytes + header.contentBytes)) return null;
      throw new MalformedZstd('the data ends inside a skippable frame', reader.position);
    case 'cut':
      throw new MalformedZstd('the data ends inside a frame header', start);
    case 'unknown':
      throw new MalformedZstd('no zstd frame begins here', start);
  }
}

/** Refuses what no decoder here may be given. `at`: where the frame begins. */
export function checkFrame(frame: ZstdFrameHeader, engine: ZstdEngine, at: number): void {
  if (frame.reservedBit) throw new MalformedZstd('a frame header has a reserved bit set', at);
  if (frame.dictionaryId !== 0) throw new MalformedZstd('a frame needs a dictionary', at);
  if (frame.windowBytes > engine.largestWindowBytes) {
    const largest = `${engine.largestWindowBytes / MIB} MiB`;
    throw new MalformedZstd(
      `a frame needs a window of ${frame.windowBytes} bytes, more than the ${largest} allowed`,
      at,
    );
  }
}

/**
 * Reads until the whole frame is buffered, and gives its length. null where it is much longer than its content: some
 * encoder wrote tiny blocks, or somebody means harm by empty ones; such a frame is decoded in groups.
 */
export async function scanFrame(
  reader: ByteReader,
  frame: ZstdFrameHeader,
  contentBytes: number,
  onStep?: () => void,
): Promise<number | null> {
  const largestBytes = contentBytes + (contentBytes >> 3) + LARGEST_BLOCK_BYTES;
  let at = frame.headerBytes;
  for (let last = false; !last; ) {
    if (at > largestBytes) return null;
    onStep?.();
    const block = await scanBlock(reader, at, frame);
    last = block.last;
    at = block.end;
  }
  return at;
}

/** Reads the block whose header is at `at` of what is buffered, and the checksum behind the last one. */
export async function scanBlock(
  reader: ByteReader,
  at: number,
  frame: ZstdFrameHeader,
): Promise<{ last: boolean; end: number; atMostBytes: number }> {
  const header = at + BLOCK_HEADER_BYTES;
  const block = parseBlockHeader(await readTo(reader, header), at);
  const largest = Math.min(LARGEST_BLOCK_BYTES, Math.max(frame.windowBytes, 1));
  if (block.kind === 'reserved') throw new MalformedZstd('a block has the reserved type', reader.position + at);
  if (block.sizeField > largest) throw new MalformedZstd('a block is too large', reader.position + at);
  const end = header + block.storedBytes + (block.last && frame.hasChecksum ? CHECKSUM_BYTES : 0);
  await readTo(reader, end);
  return { last: block.last, end, atMostBytes: block.atMostBytes };
}

async function readTo(reader: ByteReader, bytes: number): Promise<Uint8Array> {
  const held = await reader.fill(bytes);
  if (held.length >= bytes) return held;
  throw new MalformedZstd('the data ends inside a frame', reader.position + held.length);
}
