import type { Backup } from '../catalogue/backups.ts';
import { gzipEncode } from '../codec/gzip.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { zstdDecode } from '../codec/zstd/transform.ts';
import { VaultError } from '../shared/errors.ts';
import type { IsolateBudget } from '../shared/isolate-budget.ts';
import { DECODE_BYTES, MIB, READER_STALL_MS } from '../shared/limits.ts';
import type { ByteSpan } from '../shared/seek-points.ts';
import { type ByteStream, type Pieces, pumpPieces, readAhead, type Stage } from '../shared/streams.ts';
import { dataKey } from '../store/object-keys.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { readResuming } from '../store/resuming-read.ts';
import type { Representation } from './representation.ts';

/** How much of the stored object is read at once on the way out. */
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
 * Bytes that need no codec are R2's own stream: none passes through JavaScript. Otherwise a pump of ours works behind
 * a native stream; what it cannot finish breaks the body, so that a short one never looks whole (`length` is enforced
 * by the runtime). `keepAlive` takes the pump's promise, which never rejects.
 */
export async function openDownload(
  rooms: DownloadRooms,
  backup: Backup,
  representation: Representation,
  span: ByteSpan | undefined,
  keepAlive: (pump: Promise<void>) => void,
): Promise<ByteStream> {
  const open = await rooms.store.read(dataKey(backup.backup_id), span);
  if (!open) throw new StoredDataMissing();
  if (representation.way === 'stored') return open;

  const { readable, writable } =
    representation.length === null ? new IdentityTransformStream() : new FixedLengthStream(representation.length);
  keepAlive(pump(rooms, backup, representation, open, writable));
  return readable;
}

async function pump(
  rooms: DownloadRooms,
  backup: Backup,
  representation: Representation,
  stored: ByteStream,
  writable: WritableStream<Uint8Array>,
): Promise<void> {
  try {
    const share = await rooms.budget.reserve(DECODE_BYTES);
    try {
      await pumpPieces(contentOf(rooms, backup, representation, stored), writable, { stallMs: READER_STALL_MS });
    } finally {
      share.release();
    }
  } catch (error) {
    await stored.cancel(error).catch(() => undefined);
    await writable.abort(error).catch(() => undefined);
    console.warn(
      JSON.stringify({ level: 'warn', event: 'download-broken', backup_id: backup.backup_id, cause: String(error) }),
    );
  }
}

function contentOf(rooms: DownloadRooms, backup: Backup, representation: Representation, stored: ByteStream): Pieces {
  const decode: Stage = zstdDecode({ engine: rooms.engine, maxBytes: backup.file_size });
  const pieces = readAhead(
    readResuming(rooms.store, dataKey(backup.backup_id), backup.stored_size, READ_BYTES, stored),
  );
  const content = backup.compression.codec === 'zstd' ? decode(pieces) : pieces;
  return representation.way === 'gzip' ? gzipEncode()(content) : content;
}
