import { release } from '../../shared/bytes.ts';
import { FRAME_BYTES } from '../../shared/limits.ts';
import type { Pieces, Stage } from '../../shared/streams.ts';
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
  /** Returns the frame that a chunk of content came in, to be stored as it is; null where the content is to be compressed. */
  readonly keptFrame?: (content: Uint8Array) => WholeFrame | null;
  /** Content of a frame, in bytes; at most FRAME_BYTES, its default. */
  readonly frameBytes?: number;
  /** Told once, after the last piece was made: the frames that hold the content (the seek table is none of them). */
  readonly onFrames?: (frames: readonly SeekEntry[]) => void;
}

/**
 * The stored form: independent zstd frames of `frameBytes` of content, fewer in the last, and the seek table. Content
 * of no bytes is one empty frame, so that every stored object is a zstd file. Pieces of input that are frames already
 * are compressed where they lie; others are gathered in one buffer of `frameBytes`. With `keptFrame` frames may have any
 * content up to `frameBytes`.
 *
 * Throws LevelUnsupported at once. A frame's memory is given back when the next one is pulled.
 */
export function seekableEncode(options: SeekableEncodeOptions): Stage {
  const { engine, level, pace, keptFrame, frameBytes = FRAME_BYTES, onFrames } = options;
  checkLevel(level, engine);
  return async function* seekableEncoded(source) {
    const entries: SeekEntry[] = [];
    const noted = (frame: Uint8Array, contentBytes: number): Uint8Array => {
      entries.push(seekEntry(frame, contentBytes, engine.writesChecksum));
      return frame;
    };
    const compressor = pacedCompressor(engine, (bytes) => pace?.next(bytes) ?? level);
    try {
      for await (const next of framesOf(source, frameBytes, keptFrame)) {
        if ('kept' in next) {
          const { bytes, content, hasChecksum } = next.kept;
          entries.push(seekEntry(bytes, content.length, hasChecksum));
          yield bytes;
          continue;
        }
        const { content } = next;
        const frame = plainBytes(noted(await compressor.compress(content), content.length));
        yield frame;
        release(frame);
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

/** What becomes a frame: content to compress, or a frame that came and is kept. */
type NextFrame = { readonly content: Uint8Array } | { readonly kept: WholeFrame };

/** Content of `frameBytes` exactly, but the last and what precedes a kept frame; only other sizes are copied. */
async function* framesOf(
  source: Pieces,
  frameBytes: number,
  keptFrame: SeekableEncodeOptions['keptFrame'],
): AsyncGenerator<NextFrame, void, undefined> {
  let gathered: Uint8Array | undefined;
  let filled = 0;
  for await (const piece of source) {
    const kept = keptFrame?.(piece);
    if (kept) {
      if (gathered && filled > 0) yield { content: gathered.subarray(0, filled) };
      filled = 0;
      yield { kept };
      continue;
    }
    let at = 0;
    while (at < piece.length) {
      if (filled === 0 && piece.length - at >= frameBytes) {
        yield { content: piece.subarray(at, at + frameBytes) };
        at += frameBytes;
        continue;
      }
      gathered ??= new Uint8Array(frameBytes);
      const taken = Math.min(frameBytes - filled, piece.length - at);
      gathered.set(piece.subarray(at, at + taken), filled);
      at += taken;
      filled += taken;
      if (filled < frameBytes) continue;
      filled = 0;
      yield { content: gathered };
    }
  }
  if (gathered && filled > 0) yield { content: gathered.subarray(0, filled) };
  if (gathered) release(gathered);
}
