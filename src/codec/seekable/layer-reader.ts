/**
 * Random access into compressed files: reads of the encoded bytes become reads of the content. A read finds its points,
 * makes one contiguous read of the bytes between them, decodes, and drops what comes before and after.
 *
 * Points may lie, by a fault or by intent. So they are held against the frames that are met, before a byte of such a
 * frame is given: what cannot be proven to be the bytes asked for breaks the read.
 */
import {
  type ByteSpan,
  contentAt,
  type EncodedSpan,
  encodedAt,
  encodedSpan,
  type Layer,
  type ReadSpan,
  type SeekPoints,
} from '../../shared/seek-points.ts';
import type { Pieces } from '../../shared/streams.ts';
import { gunzip, MalformedGzip } from '../gzip.ts';
import type { ZstdEngine } from '../zstd/engine.ts';
import { MalformedZstd } from '../zstd/malformed-zstd.ts';
import { type FrameStart, zstdDecode } from '../zstd/zstd-decode.ts';

export interface LayerReaderOptions {
  readonly engine: ZstdEngine;
  /** As for zstdDecode: frames of more content than that are decoded in groups of blocks. */
  readonly oneShotBytes?: number;
}

/**
 * Reads the content of `layer` by reading its encoded bytes with `read`, once for each span and not at all for an empty
 * one. Leaves that read as soon as the span is complete. Throws RangeError for a span beyond the content, MalformedZstd
 * or MalformedGzip where the bytes are not what the points say, and errors of `read` as they are.
 */
export function layerReader(read: ReadSpan, layer: Layer, options: LayerReaderOptions): ReadSpan {
  const decode = layer.codec === 'zstd' ? zstdContent : gzipContent;
  return (span) => {
    const where = encodedSpan(layer.points, span);
    if (span.length === 0) return nothing();
    return trim(decode(read(where.span), layer.points, where, options), layer, where, span);
  };
}

/** Reads through several layers, from the outside in: `read` gives the bytes that the first of them encodes. */
export function readLayers(read: ReadSpan, layers: readonly Layer[], options: LayerReaderOptions): ReadSpan {
  return layers.reduce((outer, layer) => layerReader(outer, layer, options), read);
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

/** Of what decoding gives: `span`, and a check of the end where the span goes up to it. */
async function* trim(
  decoded: Pieces,
  layer: Layer,
  where: EncodedSpan,
  span: ByteSpan,
): AsyncGenerator<Uint8Array, void, undefined> {
  const end = span.offset + span.length;
  const toTheEnd = end === where.contentOffset + where.contentBytes;
  let at = where.contentOffset;
  for await (const piece of decoded) {
    const wanted = piece.subarray(clamp(span.offset - at, piece.length), clamp(end - at, piece.length));
    at += piece.length;
    if (wanted.length > 0) yield wanted;
    // Behind the last byte wait the checksum and, in a broken file, what should not be there.
    if (at >= end && !toTheEnd) return;
  }
  if (at !== where.contentOffset + where.contentBytes) {
    throw malformed(layer, `the content ends at byte ${at}, before it should`, where.span.offset + where.span.length);
  }
}

function clamp(value: number, highest: number): number {
  return Math.max(0, Math.min(value, highest));
}

/** A gzip file has one point, its start. */
async function* gzipContent(encoded: Pieces, points: SeekPoints): AsyncGenerator<Uint8Array, void, undefined> {
  let made = 0;
  for await (const piece of gunzip()(encoded)) {
    made += piece.length;
    if (made > points.contentBytes) throw new MalformedGzip('there is more content than expected', 0);
    yield piece;
  }
}

/** Decodes the groups of `where`; each piece has been held against the points before it is given. */
async function* zstdContent(
  encoded: Pieces,
  points: SeekPoints,
  where: EncodedSpan,
  { engine, oneShotBytes }: LayerReaderOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const check = new PointsCheck(points, where);
  const decode = zstdDecode({
    engine,
    maxBytes: Number.POSITIVE_INFINITY,
    onFrame: (frame) => check.frame(frame),
    ...(oneShotBytes === undefined ? {} : { oneShotBytes }),
  });
  try {
    for await (const piece of decode(encoded)) {
      check.piece(piece.length);
      yield piece;
    }
  } catch (error) {
    // Faults of the bytes are told from the start of the span that was read, and readers count from the file's.
    throw error instanceof MalformedZstd && !check.refused ? error.within(where.span.offset) : error;
  }
}

/** Holds what decoding meets against the points of a span. */
class PointsCheck {
  readonly #points: SeekPoints;
  readonly #where: EncodedSpan;
  /** The point whose group comes next. */
  #next: number;
  #made: number;
  /** Whether the points were at fault, and not the bytes. */
  refused = false;

  constructor(points: SeekPoints, where: EncodedSpan) {
    this.#points = points;
    this.#where = where;
    this.#next = where.firstPoint;
    this.#made = where.contentOffset;
  }

  /** A frame begins: every point up to here must have been a frame's start, with the content that was told. */
  frame({ encodedOffset, encodedEnd, contentBytes }: FrameStart): void {
    const at = this.#where.span.offset + encodedOffset;
    while (this.#next < this.#where.endPoint && encodedAt(this.#points, this.#next) <= at) this.#meet(at);
    const groupEnd = contentAt(this.#points, this.#next);
    if (contentBytes === null) return;
    const end = this.#made + contentBytes;
    const closesGroup =
      encodedEnd !== null && this.#where.span.offset + encodedEnd === encodedAt(this.#points, this.#next);
    if (end > groupEnd || (closesGroup && end !== groupEnd))
      this.#refuse('a frame does not hold as much as the points to seek say', at);
  }

  /** Content is about to be given; frames that tell no size are caught here. */
  piece(bytes: number): void {
    if (this.#made + bytes > contentAt(this.#points, this.#next)) {
      this.#refuse(
        'there is more content before this point than the points to seek say',
        encodedAt(this.#points, this.#next),
      );
    }
    this.#made += bytes;
  }

  #meet(frameOffset: number): void {
    const offset = encodedAt(this.#points, this.#next);
    const content = contentAt(this.#points, this.#next);
    if (content !== this.#made)
      this.#refuse('the content of this point does not begin where the points to seek say', offset);
    // Skippable frames may stand before the first frame of a file, and be all that a group without content is.
    const mayBeSkipped = offset === 0 || contentAt(this.#points, this.#next + 1) === content;
    if (offset !== frameOffset && !mayBeSkipped) this.#refuse('no frame begins where the points to seek say', offset);
    this.#next += 1;
  }

  #refuse(reason: string, offset: number): never {
    this.refused = true;
    throw new MalformedZstd(reason, offset);
  }
}

function malformed(layer: Layer, reason: string, offset: number): MalformedZstd | MalformedGzip {
  return layer.codec === 'zstd' ? new MalformedZstd(reason, offset) : new MalformedGzip(reason, offset);
}
