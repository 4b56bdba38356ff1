import type { LRUCache } from 'lru-cache';
import type { Backup } from '../catalogue/backups.ts';
import { MalformedAge } from '../codec/age.ts';
import { type Layers, type Pipeline, pipeline } from '../codec/pipeline.ts';
import { layerReader } from '../codec/seekable/layer-reader.ts';
import { readStoredPoints } from '../codec/seekable/seek-table-points.ts';
import { decompress, decrypt, gzip } from '../codec/stages.ts';
import { MalformedZstd } from '../codec/zstd/malformed-zstd.ts';
import { VaultError } from '../shared/errors.ts';
import { DECODE_READ_BYTES, STORED_READ_BYTES } from '../shared/limits.ts';
import type { ByteSpan, SeekPoints } from '../shared/seek-points.ts';
import { type ByteStream, type Pieces, readAhead, retold } from '../shared/streams.ts';
import { dataKey } from '../store/object-keys.ts';
import { readResuming } from '../store/resuming-read.ts';
import { StoredDataLost } from '../store/stored-data-lost.ts';
import { asStored, type DeliveryRooms, type KeepAlive, openBody, StoredDataCorrupt } from './body.ts';
import type { Representation } from './representation.ts';

/** Points of backups that this isolate has read, by backup; they never change. */
export type KnownPoints = LRUCache<string, SeekPoints>;

export interface DownloadRooms extends DeliveryRooms {
  readonly points: KnownPoints;
}

/**
 * The way out of a backup, top to bottom: stored object → (age → zstd frames → content → gzip) → the response's body.
 *
 * A pump of ours works behind a native stream, also for bytes that need no codec: R2's own stream could not be taken up
 * again where it breaks. A span of decoded content is made of the frames that hold it, and of no others.
 */
export async function openDownload(
  rooms: DownloadRooms,
  backup: Backup,
  representation: Representation,
  { span, identity }: { readonly span?: ByteSpan | undefined; readonly identity?: string | null },
  keepAlive: KeepAlive,
): Promise<ByteStream> {
  const { backup_id } = backup;
  if (representation.way === 'decoded' && span) {
    const pieces = await decodedSpan(rooms, backup, span);
    return openBody(rooms.budget, { backup_id, length: span.length, operation: 'range', pieces }, keepAlive);
  }
  const stored = span ?? { offset: 0, length: backup.stored_size };
  if (representation.way === 'stored') {
    const pieces = await storedPieces(rooms, backup, stored, STORED_READ_BYTES);
    return openBody(rooms.budget, { backup_id, length: stored.length, operation: 'stored', pieces }, keepAlive);
  }
  const read = await storedPieces(rooms, backup, stored, DECODE_READ_BYTES);
  const pieces = (signal: AbortSignal) =>
    unwrapped(rooms, backup, representation.way, identity ?? null, readAhead(read(signal)));
  const operation = representation.way === 'gzip' ? 'gzip' : 'decoded';
  return openBody(rooms.budget, { backup_id, length: representation.length, operation, pieces }, keepAlive);
}

/**
 * The content of a backup for who reads it here, from the first pull on; with `identity`, what is encrypted is opened.
 * Holds what a decoded download does, for which the reader has a share. Leaving it leaves the storage.
 */
export async function* readContent(
  rooms: DeliveryRooms,
  backup: Backup,
  identity: string | null,
): AsyncGenerator<Uint8Array, void, undefined> {
  const leaving = new AbortController();
  try {
    const read = await storedPieces(rooms, backup, { offset: 0, length: backup.stored_size }, DECODE_READ_BYTES);
    yield* unwrapped(rooms, backup, 'decoded', identity, read(leaving.signal));
  } catch (error) {
    throw asStored(error);
  } finally {
    leaving.abort(new Error('the reader left'));
  }
}

/** A span of the stored object, which is opened at once: a missing one, or one of another size, throws. */
async function storedPieces(
  { store }: DeliveryRooms,
  backup: Backup,
  span: ByteSpan,
  pieceBytes: number,
): Promise<(signal: AbortSignal) => Pieces> {
  const key = dataKey(backup.backup_id);
  // No range is satisfiable of an object that is empty.
  const first = await store.read(key, span.length === 0 ? {} : { span });
  if (first.kind !== 'open') throw new StoredDataLost(first.kind, key);
  if (first.size !== backup.stored_size) {
    await first.body.cancel();
    throw new StoredDataLost('changed', key);
  }
  return (signal) => {
    // A client that leaves before the first piece is pulled leaves the body to us; later the reader has it locked.
    signal.addEventListener('abort', () => void first.body.cancel().catch(() => undefined), { once: true });
    return readResuming(store, key, span, { pieceBytes, signal, first });
  };
}

async function decodedSpan(
  rooms: DownloadRooms,
  backup: Backup,
  span: ByteSpan,
): Promise<(signal: AbortSignal) => Pieces> {
  const points = await storedPoints(rooms, backup);
  const key = dataKey(backup.backup_id);
  return (signal) => {
    const options = { pieceBytes: DECODE_READ_BYTES, objectBytes: backup.stored_size, signal };
    const read = (encoded: ByteSpan) => readResuming(rooms.store, key, encoded, options);
    return layerReader(read, { codec: 'zstd', points }, { engine: rooms.engine })(span);
  };
}

/** Where the frames of a backup in our stored form lie: its seek table, read once an isolate. */
async function storedPoints({ store, points }: DownloadRooms, backup: Backup): Promise<SeekPoints> {
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
    throw error instanceof MalformedZstd ? new StoredDataCorrupt(error) : error;
  }
}

/**
 * What is stored, without the codecs around it, as far as the way goes. `identity` opens what the vault encrypted; with
 * one, what came encrypted is opened too.
 */
function unwrapped(
  { engine }: DeliveryRooms,
  { compression, encryption, file_size }: Backup,
  way: Representation['way'],
  identity: string | null,
  stored: Pieces,
): Pieces {
  const inClear = <L extends Layers>(): Pipeline<L> =>
    encryption?.by === 'vault' && identity !== null
      ? pipeline<['age', ...L]>(stored).through(decrypt(identity))
      : pipeline<L>(stored);
  if (way === 'frames') return inClear();
  const content: Pipeline<[]> =
    compression.codec === 'zstd'
      ? inClear<['zstd']>().through(decompress({ engine, maxBytes: file_size }))
      : inClear<[]>();
  if (encryption?.by === 'sender' && identity !== null) {
    const sent: Pieces = content;
    return retold(pipeline<['age']>(sent).through(decrypt(identity)), asSent);
  }
  return way === 'gzip' ? content.through(gzip()) : content;
}

/** A file that came encrypted and cannot be opened is not damaged here: it is as it was sent. */
function asSent(error: unknown): unknown {
  return error instanceof MalformedAge ? new VaultError(error.code, error.message, { cause: error }) : error;
}
