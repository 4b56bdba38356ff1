import type { SeekEntry } from '../codec/seekable/seek-table.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import {
  CHECKSUM_BYTES,
  LARGEST_FRAME_HEADER_BYTES,
  parseFrameHeader,
  type ZstdFrameHeader,
} from '../codec/zstd/frame-header.ts';
import { checkFrame, scanFrame } from '../codec/zstd/frame-scan.ts';
import { MalformedZstd } from '../codec/zstd/malformed-zstd.ts';
import type { ByteReader } from '../shared/byte-reader.ts';
import { FRAME_BYTES } from '../shared/limits.ts';

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
  checkFrame(header, engine, reader.position);
  const contentBytes = checkedContentBytes(header, entry);
  const frameBytes = await scanFrame(reader, header, contentBytes);
  if (frameBytes === null || frameBytes !== (entry?.compressedBytes ?? frameBytes))
    throw new MalformedZstd(ELSEWHERE, 0);
  const frame = reader.buffered.subarray(0, frameBytes);
  const checksum = header.hasChecksum ? lastFourBytes(frame) : null;
  const content = engine.decompressFrame(frame, contentBytes);
  reader.consume(frameBytes);
  return { content, checksum };
}

const ELSEWHERE = 'the frame does not end where it should';

async function readHeader(reader: ByteReader): Promise<ZstdFrameHeader> {
  const header = parseFrameHeader(await reader.fill(LARGEST_FRAME_HEADER_BYTES));
  if (header.kind === 'frame') return header.frame;
  throw new MalformedZstd(header.kind === 'cut' ? 'the data ends inside a frame' : 'no zstd frame begins here', 0);
}

/** What the decoder may be asked for: a header that was damaged may ask for anything. */
function checkedContentBytes(header: ZstdFrameHeader, entry?: SeekEntry): number {
  const { contentBytes } = header;
  if (contentBytes === null || contentBytes > FRAME_BYTES) {
    throw new MalformedZstd('the frame header tells of a size that is never written', 0);
  }
  if (entry && contentBytes !== entry.contentBytes) {
    throw new MalformedZstd('the frame header tells of another size than the seek table', 0);
  }
  // A table without checksums says nothing of the frames: some of them may come from senders, with checksums or without.
  if (entry?.checksum !== undefined && !header.hasChecksum) {
    throw new MalformedZstd('the seek table has a checksum, and the frame has none', 0);
  }
  return contentBytes;
}

function lastFourBytes(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset + frame.length - CHECKSUM_BYTES).getUint32(0, true);
}
