import type { SeekEntry } from '../codec/seekable/seek-table.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import {
  BLOCK_HEADER_BYTES,
  CHECKSUM_BYTES,
  LARGEST_BLOCK_BYTES,
  LARGEST_FRAME_HEADER_BYTES,
  parseBlockHeader,
  parseFrameHeader,
  type ZstdFrameHeader,
} from '../codec/zstd/frame-header.ts';
import { MalformedZstd } from '../codec/zstd/malformed-zstd.ts';
import type { ByteReader } from '../shared/byte-reader.ts';
import { FRAME_BYTES } from '../shared/limits.ts';

/** A frame of {@link FRAME_BYTES} that does not compress is a little longer than its content (RFC 8878, section 3.1.1). */
const LARGEST_FRAME_BYTES = FRAME_BYTES + LARGEST_BLOCK_BYTES;

export interface StoredFrame {
  /** In memory of its own: to be released. */
  readonly content: Uint8Array;
  /** What the frame ends with; null where it has none. Where there is one, the decoder has compared it. */
  readonly checksum: number | null;
}

/**
 * Reads, checks and decodes the frame of our stored form that begins where the reader stands, and steps over it. With
 * `entry` the frame must also be as the seek table says. Throws MalformedZstd, the reader then stands where it stood.
 */
export async function readStoredFrame(reader: ByteReader, engine: ZstdEngine, entry?: SeekEntry): Promise<StoredFrame> {
  const header = await readHeader(reader);
  const contentBytes = checkedContentBytes(header, engine, entry);
  const frameBytes = await scanFrame(reader, header, entry?.compressedBytes ?? LARGEST_FRAME_BYTES);
  if (entry && frameBytes !== entry.compressedBytes) throw new MalformedZstd(SHORTER, frameBytes);
  const frame = reader.buffered.subarray(0, frameBytes);
  const checksum = header.hasChecksum ? lastFourBytes(frame) : null;
  const content = engine.decompressFrame(frame, contentBytes);
  reader.consume(frameBytes);
  return { content, checksum };
}

const SHORTER = 'the frame ends before the place that the seek table tells';
const LONGER = 'the frame does not end where it should';
const CUT = 'the stored object ends inside the frame';

async function readHeader(reader: ByteReader): Promise<ZstdFrameHeader> {
  const header = parseFrameHeader(await reader.fill(LARGEST_FRAME_HEADER_BYTES));
  if (header.kind === 'frame') return header.frame;
  throw new MalformedZstd(header.kind === 'cut' ? CUT : 'no zstd frame begins here', 0);
}

/** What the decoder may be asked for: a header that was damaged may ask for anything. */
function checkedContentBytes(header: ZstdFrameHeader, engine: ZstdEngine, entry?: SeekEntry): number {
  const { contentBytes } = header;
  if (contentBytes === null || contentBytes > FRAME_BYTES || header.windowBytes > engine.largestWindowBytes) {
    throw new MalformedZstd('the frame header tells of a size that is never written', 0);
  }
  if (header.reservedBit || header.dictionaryId !== 0) {
    throw new MalformedZstd('the frame header has bits set that are never written', 0);
  }
  if (entry && contentBytes !== entry.contentBytes) {
    throw new MalformedZstd('the frame header tells of another size than the seek table', 0);
  }
  if (entry && header.hasChecksum !== (entry.checksum !== undefined)) {
    throw new MalformedZstd('the frame header and the seek table disagree whether there are checksums', 0);
  }
  return contentBytes;
}

/** Buffers the whole frame, block by block, and gives its length, which is at most `limit`. */
async function scanFrame(reader: ByteReader, frame: ZstdFrameHeader, limit: number): Promise<number> {
  let at = frame.headerBytes;
  for (let last = false; !last; ) {
    const block = parseBlockHeader(await fillTo(reader, at + BLOCK_HEADER_BYTES, limit), at);
    if (block.kind === 'reserved') throw new MalformedZstd('a block has the reserved type', at);
    at += BLOCK_HEADER_BYTES + block.storedBytes;
    last = block.last;
  }
  if (frame.hasChecksum) at += CHECKSUM_BYTES;
  await fillTo(reader, at, limit);
  return at;
}

async function fillTo(reader: ByteReader, bytes: number, limit: number): Promise<Uint8Array> {
  if (bytes > limit) throw new MalformedZstd(LONGER, limit);
  const held = await reader.fill(bytes);
  if (held.length < bytes) throw new MalformedZstd(CUT, held.length);
  return held;
}

function lastFourBytes(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset + frame.length - CHECKSUM_BYTES).getUint32(0, true);
}
