import type { LRUCache } from 'lru-cache';
import type { Backup } from '../catalogue/backups.ts';
import { MalformedAge, openAge } from '../codec/age.ts';
import { pipeline } from '../codec/pipeline.ts';
import { layerReader } from '../codec/seekable/layer-reader.ts';
import { readStoredPoints } from '../codec/seekable/seek-table-points.ts';
import { gzip } from '../codec/stages.ts';
import { MalformedZstd } from '../codec/zstd/malformed-zstd.ts';
import { zstdReader } from '../codec/zstd/zstd-reader.ts';
import { VaultError } from '../shared/errors.ts';
import { DECODE_READ_BYTES, FRAME_BYTES, STORED_READ_BYTES } from '../shared/limits.ts';
import type { ByteSpan, ReadSpan, SeekPoints } from '../shared/seek-points.ts';
import { type ByteStream, type Pieces, readAhead, retold } from '../shared/streams.ts';
import { dataKey } from '../store/object-keys.ts';
import { readResuming } from '../store/resuming-read.ts';
import {
  asStored,
  brokenDownload,
  type DeliveryDeps,
  openBody,
  patienceOf,
  type Reader,
  StoredDataCorrupt,
} from './body.ts';
import { patientReader } from './patient-reader.ts';
import type { Representation } from './representation.ts';

/** Points of backups that this isolate has read, by backup; they never change. */
export type KnownPoints = LRUCache<string, SeekPoints>;

export interface DownloadDeps extends DeliveryDeps {
  readonly points: KnownPoints;
  /** The transfers of the isolate, this one among them. */
  readonly transfers: { readonly count: number };
}

export interface DownloadOrder {
  readonly span?: ByteSpan | undefined;
  /** Opens what is encrypted. */
  readonly identity?: string | null;
}

/**
 * The way out of a backup, top to bottom: stored object → (age → zstd frames → content → gzip) → the response's body.
 *
 * A pump of ours works behind a native stream, also for bytes that need no codec: R2's own stream could not be resumed
 * where it breaks. Each codec is a reader of any offset over the one before, so that a slow client costs no memory: what
 * is decoded for it is dropped and decoded again ({@link patientReader}).
 */
export function openDownload(
  deps: DownloadDeps,
  backup: Backup,
  representation: Representation,
  { span, identity = null }: DownloadOrder,
  { holder, keepAlive }: Reader,
): Promise<ByteStream> {
  const length = span?.length ?? representation.length;
  const pieces = (signal: AbortSignal): Pieces => {
    const stored = storedReader(deps, backup, signal);
    if (representation.way === 'stored') return stored(span ?? { offset: 0, length: backup.stored_size });
    const patient: Patience = (read) => patientReader(read, patienceOf(deps, holder, signal));
    if (representation.way === 'decoded' && span) return rangeOf(deps, backup, span, signal, patient);
    const content = unwrapped(deps, backup, representation.way, identity, signal, patient);
    const othersWait = () => deps.transfers.count > 1;
    return representation.way === 'gzip' ? pipeline(content).through(gzip(othersWait)) : content;
  };
  return openBody(deps.readerLimits, { log: brokenDownload(backup), length, pieces }, keepAlive);
}

/**
 * The content of a backup for who reads it here, from the first pull on; with `identity`, what is encrypted is opened.
 * Holds a frame, compressed and decoded. Leaving it leaves the storage.
 */
export async function* readContent(
  deps: Deps,
  backup: Backup,
  identity: string | null,
): AsyncGenerator<Uint8Array, void, undefined> {
  const leaving = new AbortController();
  try {
    yield* unwrapped(deps, backup, 'decoded', identity, leaving.signal, (read) => read);
  } catch (error) {
    throw asStored(error);
  } finally {
    leaving.abort(new Error('the reader left'));
  }
}

type Deps = Pick<DeliveryDeps, 'store' | 'engine'>;

/** Makes a reader of decoded bytes one for consumers that may be slow. */
type Patience = (read: ReadSpan) => ReadSpan;

/** Reads the stored object. A long read for a decoder, which takes more at once, is ahead of it by a piece. */
function storedReader({ store }: Deps, backup: Backup, signal: AbortSignal, pieceBytes = STORED_READ_BYTES): ReadSpan {
  const options = { pieceBytes, objectBytes: backup.stored_size, version: {}, signal };
  return (span) => {
    const pieces = readResuming(store, dataKey(backup.backup_id), span, options);
    return pieceBytes === DECODE_READ_BYTES && span.length > 2 * FRAME_BYTES ? readAhead(pieces) : pieces;
  };
}

/** A span of content is made of the frames that hold it, and of no others. */
async function* rangeOf(
  deps: DownloadDeps,
  backup: Backup,
  span: ByteSpan,
  signal: AbortSignal,
  patient: Patience,
): AsyncGenerator<Uint8Array, void, undefined> {
  const layer = { codec: 'zstd', points: await storedPoints(deps, backup) } as const;
  yield* patient(layerReader(storedReader(deps, backup, signal, DECODE_READ_BYTES), layer, deps))(span);
}

/**
 * What is stored, without the codecs around it, as far as the way goes. `identity` opens what the vault encrypted; with
 * one, what came encrypted is opened too. Frames are what a slow client must not hold; the other codecs hold little.
 */
async function* unwrapped(
  deps: Deps,
  backup: Backup,
  way: Exclude<Representation['way'], 'stored'>,
  identity: string | null,
  signal: AbortSignal,
  patient: Patience,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { engine } = deps;
  const { compression, encryption, stored_size, file_size } = backup;
  const decodes = compression.codec === 'zstd' && way !== 'frames';
  const stored = storedReader(deps, backup, signal, decodes ? DECODE_READ_BYTES : STORED_READ_BYTES);
  const inClear =
    encryption?.by === 'vault' && identity !== null
      ? await openAge(stored, stored_size, identity)
      : { read: stored, contentBytes: stored_size };
  const read = decodes
    ? patient(zstdReader(inClear.read, { engine, encodedBytes: inClear.contentBytes, contentBytes: file_size }))
    : inClear.read;
  const contentBytes = decodes ? file_size : inClear.contentBytes;
  if (encryption?.by === 'sender' && identity !== null) {
    return yield* retold(openedBySender(read, contentBytes, identity), asSent);
  }
  yield* read({ offset: 0, length: contentBytes });
}

async function* openedBySender(
  readSent: ReadSpan,
  sentBytes: number,
  identity: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { read, contentBytes } = await openAge(readSent, sentBytes, identity);
  yield* read({ offset: 0, length: contentBytes });
}

/** A file that came encrypted and cannot be opened is not damaged here: it is as it was sent. */
function asSent(error: unknown): unknown {
  return error instanceof MalformedAge ? new VaultError(error.code, error.message, { cause: error }) : error;
}

/** Where the frames of a backup in our stored form lie: its seek table, read once an isolate. */
async function storedPoints({ store, points }: DownloadDeps, backup: Backup): Promise<SeekPoints> {
  const { backup_id, stored_size: storedBytes, file_size: contentBytes, compression } = backup;
  const known = points.get(backup_id);
  if (known) return known;
  const frames = compression.codec === 'zstd' ? compression.frames : 0;
  try {
    const readBytes = (span: ByteSpan) => store.readBytes(dataKey(backup_id), span);
    const read = await readStoredPoints(readBytes, { storedBytes, contentBytes, frames });
    points.set(backup_id, read);
    return read;
  } catch (error) {
    if (!(error instanceof MalformedZstd)) throw error;
    // In an object of another size no table is where it was stored, and the object is lost.
    await store.requireSize(dataKey(backup_id), storedBytes);
    throw new StoredDataCorrupt(error);
  }
}
