import type { Member, Stopped } from '../archive/member.ts';
import { scanTar, type TarEnd } from '../archive/tar-scan.ts';
import { gunzip } from '../codec/gzip.ts';
import { PointsCollector } from '../codec/seekable/points-collector.ts';
import { compressedAs } from '../codec/sniff.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { zstdDecode } from '../codec/zstd/zstd-decode.ts';
import { VaultError } from '../shared/errors.ts';
import {
  SCAN_CONTENT_BYTES,
  SCAN_EXPANSION,
  SCAN_FRAMES,
  SCAN_FREE_BYTES,
  SCAN_ONE_SHOT_BYTES,
} from '../shared/limits.ts';
import { type Layer, singlePoint } from '../shared/seek-points.ts';
import type { Pieces, Stage } from '../shared/streams.ts';

/** What was found in an upload that is an archive. */
export interface ScannedArchive {
  readonly stopped: Stopped | null;
  /** How the archive is compressed within an upload of so many bytes; null where it is not. */
  readonly inner: (uploadedBytes: number) => Layer | null;
}

class TooManyFrames extends VaultError {
  constructor() {
    super('file-too-large', `The archive is compressed in more than ${SCAN_FRAMES} pieces`);
  }
}

type TakeMember = (member: Member) => void | Promise<void>;

/**
 * Reads an upload as a tar archive, also within zstd or gzip, and tells its members. null where it is no archive. What
 * is broken ends the reading and is told, not thrown; errors of `take` are.
 *
 * @param first how the upload begins: that tells the compression
 */
export async function scanArchive(
  uploaded: Pieces,
  first: Uint8Array,
  engine: ZstdEngine,
  take: TakeMember,
): Promise<ScannedArchive | null> {
  const codec = compressedAs(first);
  if (codec === null) return scanned(await scanTar(uploaded, take), () => null);
  const expansion = codec === 'zstd' ? ofZstd(engine) : ofGzip();
  const end = await scanTar(expansion.content(uploaded), take);
  return scanned(expansion.explain(end), (uploadedBytes) => ({ codec, points: expansion.points(uploadedBytes) }));
}

function scanned(end: TarEnd, inner: ScannedArchive['inner']): ScannedArchive | null {
  if (end.kind === 'not-an-archive') return null;
  return { stopped: end.kind === 'stopped' ? end.stopped : null, inner };
}

function ofZstd(engine: ZstdEngine) {
  const collector = new PointsCollector();
  /** A frame's told end may lie behind what was decoded of it, where the archive ends before. */
  let told = 0;
  const decode = zstdDecode({
    engine,
    maxBytes: SCAN_CONTENT_BYTES,
    oneShotBytes: SCAN_ONE_SHOT_BYTES,
    onFrame: (frame) => {
      collector.add(frame);
      if (collector.frames > SCAN_FRAMES) throw new TooManyFrames();
      told = frame.contentOffset + (frame.contentBytes ?? 0);
    },
  });
  return expanding(decode, (uploadedBytes, contentBytes) =>
    collector.finish(uploadedBytes, Math.max(told, contentBytes)),
  );
}

function ofGzip() {
  let members = 0;
  const onMember = () => {
    members += 1;
    if (members > SCAN_FRAMES) throw new TooManyFrames();
  };
  return expanding(gunzip({ maxBytes: SCAN_CONTENT_BYTES, onMember }), singlePoint);
}

/** A decoder whose faults end its content instead of breaking it, bombs among them, and are explained afterwards. */
function expanding(decode: Stage, pointsOf: (uploadedBytes: number, contentBytes: number) => Layer['points']) {
  let uploadedBytes = 0;
  let contentBytes = 0;
  let fault: string | null = null;

  async function* counted(uploaded: Pieces): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of uploaded) {
      uploadedBytes += piece.length;
      yield piece;
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
        fault = error instanceof VaultError ? error.message.replace(/\.$/, '') : 'The archive cannot be decoded';
      }
    },

    /** An end that a fault caused has the fault's reason. */
    explain(end: TarEnd): TarEnd {
      if (fault === null || end.kind === 'not-an-archive') return end;
      const offset = end.kind === 'stopped' ? end.stopped.offset : contentBytes;
      return { kind: 'stopped', stopped: { offset, reason: fault } };
    },

    points: (bytes: number) => pointsOf(bytes, contentBytes),
  };
}
