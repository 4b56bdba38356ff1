import { FRAME_BYTES, KIB } from '../../shared/limits.ts';
import type { ByteSpan, ReadSpan } from '../../shared/seek-points.ts';
import type { Pieces } from '../../shared/streams.ts';
import type { ZstdEngine } from './engine.ts';
import { MalformedZstd } from './malformed-zstd.ts';
import { type FrameStart, zstdDecode } from './zstd-decode.ts';

export interface ZstdFile {
  readonly engine: ZstdEngine;
  readonly encodedBytes: number;
  /** Content that it may have; more is refused as by zstdDecode. */
  readonly contentBytes: number;
}

/** Where a frame begins, and how many bytes it has: exact if the frame was met before, else a quarter more than the last one. */
interface Place {
  readonly encoded: number;
  readonly content: number;
  readonly frameBytes: number;
}

/** A frame of the stored form that could not be compressed, with its headers. */
const LARGEST_FRAME_BYTES = FRAME_BYTES + 64 * KIB;

/**
 * Reads the content of a zstd file, mostly forward: a read begins at the frame that was met last, or behind it, or at the
 * file's start where that is the nearest known place. So content can be left and taken up again without a seek table,
 * which may be damaged where the frames are not. A read to the content's end checks what follows the last frame, too.
 *
 * Throws as zstdDecode; offsets in its errors count from the start of the file.
 */
export function zstdReader(read: ReadSpan, file: ZstdFile): ReadSpan {
  let known: readonly Place[] = [];
  const meet = (from: Place, { encodedOffset, encodedEnd, contentOffset, contentBytes }: FrameStart) => {
    const at = { encoded: from.encoded + encodedOffset, content: from.content + contentOffset };
    if (encodedEnd === null || contentBytes === null) {
      known = [{ ...at, frameBytes: LARGEST_FRAME_BYTES }];
      return;
    }
    const frameBytes = encodedEnd - encodedOffset;
    const next: Place = {
      encoded: from.encoded + encodedEnd,
      content: at.content + contentBytes,
      frameBytes: Math.ceil(frameBytes * 1.25),
    };
    known = [next, { ...at, frameBytes }];
  };
  return (span) => {
    const from = known.find(({ content }) => content <= span.offset) ?? FILE_START;
    const encoded = { offset: from.encoded, length: file.encodedBytes - from.encoded };
    const source = span.length > FRAME_BYTES ? read(encoded) : frameFirst(read, encoded, from.frameBytes);
    return content(source, from, span, file, (frame) => meet(from, frame));
  };
}

const FILE_START: Place = { encoded: 0, content: 0, frameBytes: LARGEST_FRAME_BYTES };

/** Reads a frame's bytes by themselves, because a storage may read ahead for all that was asked. */
async function* frameFirst(
  read: ReadSpan,
  { offset, length }: ByteSpan,
  frameBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let at = 0;
  for (const upTo of [frameBytes, LARGEST_FRAME_BYTES, length]) {
    const end = Math.min(upTo, length);
    if (end > at) yield* read({ offset: offset + at, length: end - at });
    at = Math.max(at, end);
  }
}

async function* content(
  source: Pieces,
  from: Place,
  span: ByteSpan,
  { engine, encodedBytes, contentBytes }: ZstdFile,
  onFrame: (frame: FrameStart) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const end = span.offset + span.length;
  let at = from.content;
  try {
    for await (const piece of zstdDecode({ engine, maxBytes: contentBytes - from.content, onFrame })(source)) {
      const wanted = piece.subarray(Math.max(0, span.offset - at), Math.max(0, end - at));
      at += piece.length;
      if (wanted.length > 0) yield wanted;
      if (at >= end && end < contentBytes) return;
    }
  } catch (error) {
    throw error instanceof MalformedZstd ? error.within(from.encoded) : error;
  }
  if (at < end) throw new MalformedZstd(`the content ends at byte ${at}, before it should`, encodedBytes);
}
