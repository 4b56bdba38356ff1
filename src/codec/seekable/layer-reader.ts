/**
 * Random access into compressed files: reads of the encoded bytes become reads of the content. A read finds its points,
 * makes one contiguous read of the bytes between them, decodes, and drops what comes before and after.
 *
 * Points may lie, by a fault or by intent. So they are held against the frames that are met, before a byte of such a
 * frame is given: what cannot be proven to be the bytes asked for breaks the read.
 */
import {
  type ByteSpan,
  type EncodedSpan,
  encodedSpan,
  type Layer,
  type ReadSpan,
  type SeekPoints,
} from '../../shared/seek-points.ts';
import type { Pieces } from '../../shared/streams.ts';
import { gunzip, MalformedGzip } from '../gzip.ts';
import type { ZstdEngine } from '../zstd/engine.ts';
import { MalformedZstd } from '../zstd/malformed-zstd.ts';
import { zstdDecode } from '../zstd/zstd-decode.ts';
import { PointsCheck, PointsRefused } from './points-check.ts';

export interface LayerReaderOptions {
  readonly engine: ZstdEngine;
  /**
   * As for zstdDecode: frames of more content than that are decoded in groups of blocks. Not less than FRAME_BYTES where
   * zstd lies within zstd: the wasm engine has one decoder of groups, for which the two layers would wait for ever.
   */
  readonly oneShotBytes?: number;
}

/**
 * Reads the content of `layer` by reading its encoded bytes with `read`, once for each span and not at all for an empty
 * one. Leaves that read as soon as the span is complete. Throws RangeError for a span beyond the content, MalformedZstd
 * or MalformedGzip where the bytes are not what the points say, and errors of `read` as they are.
 */
export function layerReader(read: ReadSpan, layer: Layer, options: LayerReaderOptions): ReadSpan {
  return (span) => {
    const where = encodedSpan(layer.points, span);
    if (span.length === 0) return nothing();
    const encoded = read(where.span);
    // A gzip file has one point, its start.
    const decoded = layer.codec === 'zstd' ? zstdContent(encoded, layer.points, where, options) : gunzip()(encoded);
    return trim(decoded, layer, where, span);
  };
}

/** Reads through several layers, from the outside in: `read` gives the bytes that the first of them encodes. */
export function readLayers(read: ReadSpan, layers: readonly Layer[], options: LayerReaderOptions): ReadSpan {
  return layers.reduce((outer, layer) => layerReader(outer, layer, options), read);
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

/**
 * Of what decoding gives: `span`. Where that goes up to the end of what was to be decoded, the rest is read too: behind
 * the last byte wait the checksum and, in a broken file, what should not be there.
 */
async function* trim(
  decoded: Pieces,
  layer: Layer,
  where: EncodedSpan,
  span: ByteSpan,
): AsyncGenerator<Uint8Array, void, undefined> {
  const end = span.offset + span.length;
  const decodedEnd = where.contentOffset + where.contentBytes;
  const fault = layer.codec === 'zstd' ? MalformedZstd : MalformedGzip;
  let at = where.contentOffset;
  for await (const piece of decoded) {
    const wanted = piece.subarray(clamp(span.offset - at, piece.length), clamp(end - at, piece.length));
    at += piece.length;
    if (wanted.length > 0) yield wanted;
    if (at >= end && end < decodedEnd) return;
    if (at > decodedEnd) throw new fault('there is more content than the points to seek say', where.span.offset);
  }
  if (at < decodedEnd) throw new fault(`the content ends at byte ${at}, before it should`, encodedEnd(where));
}

function encodedEnd({ span }: EncodedSpan): number {
  return span.offset + span.length;
}

function clamp(value: number, highest: number): number {
  return Math.max(0, Math.min(value, highest));
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
  let sourceFault: unknown;
  const source = noting(encoded, (error) => {
    sourceFault = error;
  });
  try {
    for await (const piece of decode(source)) {
      check.piece(piece.length);
      yield piece;
    }
  } catch (error) {
    // Faults of the bytes are told from the start of the span that was read, and readers count from the file's.
    const ours = error instanceof MalformedZstd && !(error instanceof PointsRefused) && error !== sourceFault;
    throw ours ? error.within(where.span.offset) : error;
  }
}

/** The same pieces; an error of theirs is noted, since those of a layer around this one are of the same kind. */
async function* noting(pieces: Pieces, note: (error: unknown) => void): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* pieces;
  } catch (error) {
    note(error);
    throw error;
  }
}
