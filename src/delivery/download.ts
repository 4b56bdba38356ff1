import type { Backup } from '../catalogue/backups.ts';
import { gzipEncode } from '../codec/gzip.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { zstdDecode } from '../codec/zstd/transform.ts';
import { VaultError } from '../shared/errors.ts';
import type { IsolateBudget } from '../shared/isolate-budget.ts';
import { DECODE_BYTES, MIB, READER_STALL_MS, STORED_READ_BYTES } from '../shared/limits.ts';
import type { ByteSpan } from '../shared/seek-points.ts';
import { type ByteStream, type Pieces, pumpPieces, readAhead, type Stage } from '../shared/streams.ts';
import { dataKey } from '../store/object-keys.ts';
import type { ObjectStore, OpenObject } from '../store/object-store.ts';
import { readResuming } from '../store/resuming-read.ts';
import { StoredDataLost } from '../store/stored-data-lost.ts';
import type { Representation } from './representation.ts';

/** How much of the stored object is read at once where it is decoded. */
const READ_BYTES = MIB;

export interface DownloadRooms {
  readonly store: ObjectStore;
  readonly engine: ZstdEngine;
  readonly budget: IsolateBudget;
}

export class StoredDataMissing extends VaultError {
  constructor() {
    super(
      'stored-data-corrupt',
      'The data of this backup is missing from the storage, although the catalogue lists it.',
    );
  }
}

/**
 * The way out, top to bottom: stored object → (zstd frames → content → gzip) → the response's body.
 *
 * A pump of ours works behind a native stream, also for bytes that need no codec: R2's own stream could not be taken up
 * again where it breaks. What the pump cannot finish breaks the body, so that a short one never looks whole (`length` is
 * enforced by the runtime). `keepAlive` takes the pump's promise, which never rejects.
 */
export async function openDownload(
  rooms: DownloadRooms,
  backup: Backup,
  representation: Representation,
  span: ByteSpan | undefined,
  keepAlive: (pump: Promise<void>) => void,
): Promise<ByteStream> {
  const open = await rooms.store.read(dataKey(backup.backup_id), { span });
  if (open.kind !== 'open') throw new StoredDataMissing();
  if (open.size !== backup.stored_size) {
    await open.body.cancel();
    throw new StoredDataLost('changed', dataKey(backup.backup_id));
  }
  const stored = span ?? { offset: 0, length: backup.stored_size };
  const length = representation.way === 'stored' ? stored.length : representation.length;
  const { readable, writable } = length === null ? new IdentityTransformStream() : new FixedLengthStream(length);
  keepAlive(pump(rooms, backup, representation, stored, open, writable));
  return readable;
}

async function pump(
  rooms: DownloadRooms,
  backup: Backup,
  representation: Representation,
  span: ByteSpan,
  open: OpenObject,
  writable: WritableStream<Uint8Array>,
): Promise<void> {
  const heldBytes = representation.way === 'stored' ? STORED_READ_BYTES : DECODE_BYTES;
  const content = (signal: AbortSignal) => contentOf(rooms, backup, representation, span, open, signal);
  try {
    await pumpPieces((signal) => withShare(rooms.budget, heldBytes, signal, content(signal)), writable, {
      stallMs: READER_STALL_MS,
    });
  } catch (error) {
    await open.body.cancel(error).catch(() => undefined);
    console.warn(
      JSON.stringify({ level: 'warn', event: 'download-broken', backup_id: backup.backup_id, cause: String(error) }),
    );
  }
}

/** The pieces, once there is room for what they hold, and until the last one is written. */
async function* withShare(
  budget: IsolateBudget,
  bytes: number,
  signal: AbortSignal,
  pieces: Pieces,
): AsyncGenerator<Uint8Array> {
  const share = await budget.reserve(bytes, signal);
  try {
    yield* pieces;
  } finally {
    share.release();
  }
}

function contentOf(
  rooms: DownloadRooms,
  backup: Backup,
  representation: Representation,
  span: ByteSpan,
  first: OpenObject,
  signal: AbortSignal,
): Pieces {
  const read = (pieceBytes: number) =>
    readResuming(rooms.store, dataKey(backup.backup_id), span, { pieceBytes, signal, first });
  if (representation.way === 'stored') return read(STORED_READ_BYTES);
  const pieces = readAhead(read(READ_BYTES));
  const decode: Stage = zstdDecode({ engine: rooms.engine, maxBytes: backup.file_size });
  const content = backup.compression.codec === 'zstd' ? decode(pieces) : pieces;
  return representation.way === 'gzip' ? gzipEncode()(content) : content;
}
