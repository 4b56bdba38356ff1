import type { Member, Stopped } from '../archive/member.ts';
import { scanTar, type TarEnd } from '../archive/tar-scan.ts';
import { gunzip } from '../codec/gzip.ts';
import { PointsCollector } from '../codec/seekable/points-collector.ts';
import { compressedAs } from '../codec/sniff.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { type FrameStart, zstdDecode } from '../codec/zstd/zstd-decode.ts';
import { VaultError } from '../shared/errors.ts';
import { type Share, VaultBusy } from '../shared/isolate-memory.ts';
import {
  SCAN_CONTENT_BYTES,
  SCAN_EXPANSION,
  SCAN_FRAMES,
  SCAN_FREE_BYTES,
  SCAN_ONE_SHOT_BYTES,
  SCAN_SLICE_BYTES,
  SCAN_STEPS,
  SCAN_YIELD_BYTES,
  SCAN_YIELD_FRAMES,
} from '../shared/limits.ts';
import { type Layer, singlePoint } from '../shared/seek-points.ts';
import type { Pieces, Stage } from '../shared/streams.ts';

/** What was found in an upload that is an archive. */
export interface ScannedArchive {
  readonly stopped: Stopped | null;
  /** How the archive is compressed within an upload of so many bytes; null where it is not. */
  readonly inner: (uploadedBytes: number) => Layer | null;
}

/** What `take` throws when it wants no more members: the scan ends, and so does the decoding for it. */
export class EnoughMembers extends Error {
  readonly stopped: Stopped;

  constructor(stopped: Stopped) {
    super(stopped.reason);
    this.name = new.target.name;
    this.stopped = stopped;
  }
}

class TooManyPieces extends VaultError {
  constructor(most: number) {
    super('file-too-large', `The archive is compressed in more than ${most} pieces`);
  }
}

/** How much may be done, beside bytes of content. */
export interface ScanBounds {
  /** SCAN_FRAMES by default. */
  readonly frames?: number;
  /** SCAN_STEPS by default. */
  readonly steps?: number;
  /** Borrows memory for a frame of an archive within zstd, see ZstdDecodeOptions. A throw of VaultBusy is not caught. */
  readonly hold?: (bytes: number) => Promise<Share> | undefined;
}

type TakeMember = (member: Member) => void | Promise<void>;

/**
 * Reads an upload as a tar archive, also within zstd or gzip, and tells its members. null where it is no archive. What
 * is broken ends the reading and is told, not thrown; errors of `take` are, but for {@link EnoughMembers}.
 *
 * @param first how the upload begins: that tells the compression
 */
export async function scanArchive(
  uploaded: Pieces,
  first: Uint8Array,
  engine: ZstdEngine,
  take: TakeMember,
  { frames = SCAN_FRAMES, steps = SCAN_STEPS, hold }: ScanBounds = {},
): Promise<ScannedArchive | null> {
  const codec = compressedAs(first);
  if (codec === null) return scanned(await tarEnd(uploaded, take), () => null);
  const expansion = codec === 'zstd' ? ofZstd(engine, frames, steps, hold) : ofGzip(frames);
  const end = await tarEnd(expansion.content(uploaded), take);
  return scanned(expansion.explain(end), (uploadedBytes) => ({ codec, points: expansion.points(uploadedBytes) }));
}

async function tarEnd(archive: Pieces, take: TakeMember): Promise<TarEnd> {
  try {
    return await scanTar(archive, take);
  } catch (error) {
    if (error instanceof EnoughMembers) return { kind: 'stopped', stopped: error.stopped };
    throw error;
  }
}

function scanned(end: TarEnd, inner: ScannedArchive['inner']): ScannedArchive | null {
  if (end.kind === 'not-an-archive') return null;
  return { stopped: end.kind === 'stopped' ? end.stopped : null, inner };
}

function ofZstd(engine: ZstdEngine, mostFrames: number, mostSteps: number, hold: ScanBounds['hold']) {
  const countFrame = counter(mostFrames);
  const collector = new PointsCollector();
  let last: FrameStart | null = null;
  const decode = zstdDecode({
    engine: inBackground(engine),
    maxBytes: SCAN_CONTENT_BYTES,
    oneShotBytes: SCAN_ONE_SHOT_BYTES,
    onFrame: (frame) => {
      countFrame();
      collector.add(frame);
      last = frame;
    },
    onStep: counter(mostSteps),
    ...(hold && { hold }),
  });
  const points = (uploadedBytes: number, contentBytes: number) => {
    const { encodedEnd, contentEnd } = endOf(last, contentBytes);
    return collector.finish(encodedEnd ?? uploadedBytes, contentEnd);
  };
  return expanding(decode, { points, frames: () => collector.frames });
}

/**
 * Where the last frame ends that was met. Its content may reach farther than what was decoded of it, if the archive
 * ends before; and what lies behind its bytes, be it broken, must not be decoded for what it holds.
 */
function endOf(last: FrameStart | null, contentBytes: number) {
  const told = last ? last.contentOffset + (last.contentBytes ?? 0) : 0;
  return { encodedEnd: last?.encodedEnd ?? null, contentEnd: Math.max(told, contentBytes) };
}

function ofGzip(mostMembers: number) {
  let members = 0;
  const countMember = counter(mostMembers);
  const onMember = () => {
    countMember();
    members += 1;
  };
  return expanding(gunzip({ maxBytes: SCAN_CONTENT_BYTES, onMember }), { points: singlePoint, frames: () => members });
}

/** To be called for each of something; throws where there are more than `most`. */
function counter(most: number): () => void {
  let count = 0;
  return () => {
    count += 1;
    if (count > most) throw new TooManyPieces(most);
  };
}

/** The scan goes at the pace of whoever uploads: where an engine has but one decoder of groups, it makes way. */
function inBackground(engine: ZstdEngine): ZstdEngine {
  return { ...engine, decompressor: (windowBytes) => engine.decompressor(windowBytes, { background: true }) };
}

interface Compression {
  readonly points: (uploadedBytes: number, contentBytes: number) => Layer['points'];
  /** Frames or members met so far. */
  readonly frames: () => number;
}

/** A decoder whose faults end its content instead of breaking it, bombs among them, and are explained afterwards. */
function expanding(decode: Stage, { points, frames }: Compression) {
  let uploadedBytes = 0;
  let contentBytes = 0;
  let fault: string | null = null;

  async function* counted(uploaded: Pieces): AsyncGenerator<Uint8Array, void, undefined> {
    let resting = { contentBytes: 0, frames: 0 };
    for await (const piece of uploaded) {
      for (let at = 0; at < piece.length; at += SCAN_SLICE_BYTES) {
        const slice = piece.subarray(at, at + SCAN_SLICE_BYTES);
        uploadedBytes += slice.length;
        yield slice;
        const much =
          contentBytes - resting.contentBytes > SCAN_YIELD_BYTES || frames() - resting.frames > SCAN_YIELD_FRAMES;
        if (!much) continue;
        // Decoding waits for nothing but bytes, and the isolate has other requests, and timers.
        await scheduler.wait(0);
        resting = { contentBytes, frames: frames() };
      }
    }
  }

  return {
    async *content(uploaded: Pieces): AsyncGenerator<Uint8Array, void, undefined> {
      try {
        for await (const piece of decode(counted(uploaded))) {
          contentBytes += piece.length;
          if (contentBytes > SCAN_FREE_BYTES + SCAN_EXPANSION * uploadedBytes) {
            fault = `The archive expands to more than ${SCAN_EXPANSION} times its size`;
            return;
          }
          yield piece;
        }
      } catch (error) {
        if (error instanceof VaultBusy) throw error;
        fault = error instanceof VaultError ? error.message.replace(/\.$/, '') : 'The archive cannot be decoded';
      }
    },

    /** An end that a fault caused has the fault's reason. */
    explain(end: TarEnd): TarEnd {
      if (fault === null || end.kind === 'not-an-archive') return end;
      const offset = end.kind === 'stopped' ? end.stopped.offset : contentBytes;
      return { kind: 'stopped', stopped: { offset, reason: fault } };
    },

    points: (bytes: number) => points(bytes, contentBytes),
  };
}
