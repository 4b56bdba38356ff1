import { release } from '../../shared/bytes.ts';
import { GrowingBuffer } from '../../shared/growing-buffer.ts';
import { FRAME_BYTES } from '../../shared/limits.ts';
import type { Pieces, Stage } from '../../shared/streams.ts';
import type { UnfinishedBytes, UploadMemory } from '../../shared/upload-memory.ts';
import { type CompressionPace, pacedCompressor } from '../cpu-pace.ts';
import { checkLevel } from '../levels.ts';
import { plainBytes } from '../plain-bytes.ts';
import type { ZstdEngine } from '../zstd/engine.ts';
import { CHECKSUM_BYTES } from '../zstd/frame-header.ts';
import type { WholeFrame } from '../zstd/zstd-decode.ts';
import { encodeSeekTable, type SeekEntry } from './seek-table.ts';

export interface SeekableEncodeOptions {
  readonly engine: ZstdEngine;
  /** 1 to `engine.highestLevel`. */
  readonly level: number;
  /** Chooses the level of each frame, up to `level`. Without it all have that. */
  readonly pace?: CompressionPace;
  /** Where content waits that is short of a frame, if it comes from a sender who may be slow. */
  readonly memory?: UploadMemory;
  /** Returns the frame that a chunk of content came in, to be stored as it is; null where the content is to be compressed. */
  readonly keptFrame?: (content: Uint8Array) => WholeFrame | null;
  /** Content of a frame, in bytes; at most FRAME_BYTES, its default. */
  readonly frameBytes?: number;
  /** Told once, after the last piece was made: the frames that hold the content (the seek table is none of them). */
  readonly onFrames?: (frames: readonly SeekEntry[]) => void;
}

/**
 * The stored form: independent zstd frames of `frameBytes` of content, fewer in the last, and the seek table. Content
 * of no bytes is one empty frame, so that every stored object is a zstd file. Content is gathered until it is a frame.
 * With `keptFrame` frames may have any content up to `frameBytes`.
 *
 * Throws LevelUnsupported at once. A frame's memory is given back when the next one is pulled.
 */
export function seekableEncode(options: SeekableEncodeOptions): Stage {
  const { engine, level, pace, keptFrame, memory, frameBytes = FRAME_BYTES, onFrames } = options;
  checkLevel(level, engine);
  return async function* seekableEncoded(source) {
    const entries: SeekEntry[] = [];
    const noted = (frame: Uint8Array, contentBytes: number): Uint8Array => {
      entries.push(seekEntry(frame, contentBytes, engine.writesChecksum));
      return frame;
    };
    const compressor = pacedCompressor(engine, (bytes) => pace?.next(bytes) ?? level);
    try {
      for await (const next of framesOf(
        source,
        memory?.buffer(frameBytes) ?? new GrowingBuffer(frameBytes),
        keptFrame,
      )) {
        if ('kept' in next) {
          const { bytes, content, hasChecksum } = next.kept;
          entries.push(seekEntry(bytes, content.length, hasChecksum));
          yield bytes;
          continue;
        }
        const { content } = next;
        const frame = plainBytes(noted(await compressor.compress(content), content.length));
        release(content);
        // It may wait for parts that are on their way.
        const { length } = frame;
        memory?.count(length);
        yield frame;
        release(frame);
        memory?.count(-length);
      }
    } finally {
      compressor.close();
    }
    if (entries.length === 0) yield noted(engine.compressFrame(new Uint8Array(0), level), 0);
    yield encodeSeekTable(entries);
    onFrames?.(entries);
  };
}

/** The table's checksum is what the frame ends with (RFC 8878, section 3.1.1: low four bytes of the XXH64). */
export function seekEntry(frame: Uint8Array, contentBytes: number, hasChecksum: boolean): SeekEntry {
  const entry = { compressedBytes: frame.length, contentBytes };
  if (!hasChecksum) return entry;
  const end = new DataView(frame.buffer, frame.byteOffset + frame.length - CHECKSUM_BYTES);
  return { ...entry, checksum: end.getUint32(0, true) };
}

/** What becomes a frame: content to compress, whose memory is the consumer's to release, or a frame that came and is kept. */
type NextFrame = { readonly content: Uint8Array } | { readonly kept: WholeFrame };

/** Content of the buffer's size exactly, but the last and what precedes a kept frame. */
async function* framesOf(
  source: Pieces,
  gathered: UnfinishedBytes | GrowingBuffer,
  keptFrame: SeekableEncodeOptions['keptFrame'],
): AsyncGenerator<NextFrame, void, undefined> {
  for await (const piece of source) {
    const kept = keptFrame?.(piece);
    if (kept) {
      if (gathered.length > 0) yield { content: await gathered.take() };
      yield { kept };
      continue;
    }
    for (let at = 0; at < piece.length; ) {
      const taken = piece.subarray(at, at + gathered.remaining);
      gathered.append(taken);
      at += taken.length;
      if (gathered.remaining === 0) yield { content: await gathered.take() };
    }
  }
  if (gathered.length > 0) yield { content: await gathered.take() };
}
