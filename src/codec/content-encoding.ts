/**
 * Content-Encoding of an upload (RFC 9110, section 8.4): the body is an encoding of the file. The vault undoes it on the
 * way, so that name, size, checksum and members are the file's.
 */
import { VaultError } from '../shared/errors.ts';
import { FRAME_BYTES, MIB, SCAN_FRAMES, SCAN_SLICE_BYTES, SCAN_STEPS, SCAN_YIELD_FRAMES } from '../shared/limits.ts';
import type { Pieces } from '../shared/streams.ts';
import { gunzip, MalformedGzip } from './gzip.ts';
import type { ZstdEngine } from './zstd/engine.ts';
import { MalformedZstd } from './zstd/malformed-zstd.ts';
import { type WholeFrame, type ZstdDecodeOptions, zstdDecode } from './zstd/zstd-decode.ts';

export type ContentCoding = 'zstd' | 'gzip';

export class UnsupportedEncoding extends VaultError {
  constructor(field: string, advice: string) {
    super('unsupported-encoding', `The content encoding "${field.slice(0, 100)}" is not supported here. ${advice}`);
  }
}

const CODINGS: Readonly<Record<string, ContentCoding | 'identity'>> = {
  zstd: 'zstd',
  gzip: 'gzip',
  // RFC 9110, section 8.4.1.3: the same as gzip.
  'x-gzip': 'gzip',
  identity: 'identity',
};

/**
 * The codings in the order in which they were applied; none for `identity` and for no field. Throws
 * {@link UnsupportedEncoding} for any other, and for one that was applied twice.
 */
export function parseContentEncoding(field: string | null | undefined): ContentCoding[] {
  const codings: ContentCoding[] = [];
  for (const name of (field ?? 'identity').split(',')) {
    const word = name.trim().toLowerCase();
    const coding = Object.hasOwn(CODINGS, word) ? CODINGS[word] : undefined;
    if (coding === undefined || (coding !== 'identity' && codings.includes(coding))) {
      throw new UnsupportedEncoding(field ?? '', 'Send the file as it is, or with zstd, gzip or each of them once.');
    }
    if (coding !== 'identity') codings.push(coding);
  }
  return codings;
}

export interface DecodeContentOptions {
  readonly engine: ZstdEngine;
  /** Content that may come out, in bytes; more is refused as `file-too-large`. */
  readonly maxBytes: number;
  /** Borrows memory for a zstd frame, see ZstdDecodeOptions. */
  readonly hold?: ZstdDecodeOptions['hold'];
  /** Called for every zstd frame of the innermost coding that has at most FRAME_BYTES, before its content comes out. */
  readonly onWholeFrame?: (frame: WholeFrame) => void;
}

/**
 * The bytes that a sender may need for a file of `contentBytes`: content that does not compress gets a few bytes longer with
 * each block (RFC 8878, section 3.1.1.2; RFC 1951, section 3.2.4), and headers are added.
 */
export function mostSentBytes(contentBytes: number, codings: readonly ContentCoding[]): number {
  return codings.length === 0 ? contentBytes : contentBytes + Math.ceil(contentBytes / 64) + MIB;
}

/**
 * Undoes `codings`, the last one first. Throws MalformedZstd, MalformedGzip, and `file-too-large` for more content than
 * allowed: also for a bomb, which is met after at most a frame of FRAME_BYTES. Holds, for each coding, a frame and its content,
 * or a window.
 */
export function decodeContent(
  source: Pieces,
  codings: readonly ContentCoding[],
  { engine, maxBytes, hold, onWholeFrame }: DecodeContentOptions,
): Pieces {
  const decoded = codings.reduceRight<Pieces>((encoded, coding, i) => {
    const isInnermost = i === 0;
    const most = isInnermost ? maxBytes : mostSentBytes(maxBytes, codings);
    return coding === 'gzip'
      ? gunzipBounded(encoded, most)
      : unzstdBounded(encoded, engine, most, hold, isInnermost ? onWholeFrame : undefined);
  }, source);
  return withoutEmpty(decoded);
}

/** Empty frames make empty chunks, and a first chunk without bytes says that there is no content. */
async function* withoutEmpty(content: Pieces): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of content) if (chunk.length > 0) yield chunk;
}

function gunzipBounded(source: Pieces, maxBytes: number): Pieces {
  const members = counter(SCAN_FRAMES, () => new MalformedGzip(`it has more than ${SCAN_FRAMES} members`, 0));
  return gunzip({ maxBytes, onMember: members.add, trailing: 'refused' })(takingBreaks(source, members));
}

function unzstdBounded(
  source: Pieces,
  engine: ZstdEngine,
  maxBytes: number,
  hold: ZstdDecodeOptions['hold'],
  onWholeFrame?: (frame: WholeFrame) => void,
): Pieces {
  const frames = counter(SCAN_FRAMES, () => new MalformedZstd(`there are more than ${SCAN_FRAMES} frames`, 0));
  const steps = counter(SCAN_STEPS, () => new MalformedZstd(`there are more than ${SCAN_STEPS} blocks`, 0));
  const decode = zstdDecode({
    engine,
    maxBytes,
    oneShotBytes: FRAME_BYTES,
    onFrame: frames.add,
    onStep: steps.add,
    ...(hold && { hold }),
    ...(onWholeFrame && { onWholeFrame }),
  });
  return decode(takingBreaks(source, frames));
}

interface Counter {
  count: number;
  readonly add: () => void;
}

/** Frames, members and blocks cost time also where they hold nothing, so they are counted. */
function counter(most: number, tooMany: () => Error): Counter {
  const counting: Counter = {
    count: 0,
    add: () => {
      counting.count += 1;
      if (counting.count > most) throw tooMany();
    },
  };
  return counting;
}

/** The isolate's other requests take a turn where a few bytes are many frames: those wait for nothing but bytes. */
async function* takingBreaks(source: Pieces, frames: Counter): AsyncGenerator<Uint8Array, void, undefined> {
  let breakAt = SCAN_YIELD_FRAMES;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += SCAN_SLICE_BYTES) {
      yield chunk.subarray(at, at + SCAN_SLICE_BYTES);
      if (frames.count < breakAt) continue;
      await scheduler.wait(0);
      breakAt = frames.count + SCAN_YIELD_FRAMES;
    }
  }
}
