import type { Backup } from '../../catalogue/backups.ts';
import { updateCrc32 } from '../../codec/crc32.ts';
import { DigestCheck } from '../../codec/digest.ts';
import { pipeline } from '../../codec/pipeline.ts';
import { meter } from '../../codec/stages.ts';
import { VaultError } from '../../shared/errors.ts';
import { partBytesFor } from '../../shared/limits.ts';
import { type Pieces, readAhead } from '../../shared/streams.ts';
import { UploadMemory } from '../../shared/upload-memory.ts';
import { asideObjects } from '../../store/aside-objects.ts';
import { dataKey, sentKey } from '../../store/object-keys.ts';
import type { OpenUpload } from '../../store/object-store.ts';
import { ObjectWriter } from '../../store/object-writer.ts';
import { readWhole } from '../../store/resuming-read.ts';
import { StoredDataLost } from '../../store/stored-data-lost.ts';
import { MemberIndexing } from '../member-indexing.ts';
import { receive } from '../upload.ts';
import { StoredOtherwise } from './read-back.ts';
import type { SessionRooms } from './session-rooms.ts';
import type { UploadRecord } from './upload-record.ts';

export interface DecodeSentOptions {
  /** Called with the bytes read so far, as they were sent. */
  readonly onRead: (bytes: number) => void;
  /** Called with the multipart upload of the decoded object, and of a large index, before its first part. */
  readonly noteData: (open: OpenUpload) => Promise<void>;
  readonly noteIndex: (open: OpenUpload) => Promise<void>;
  readonly signal: AbortSignal;
}

/**
 * Makes the object of an upload whose bytes encode the file: reads what was sent, and takes it in as the body of an upload in
 * one request. The CRC-32 of the bytes ties them to those that came. Resolves with the receipt; rejects with what is wrong
 * with the encoding or the file, or with {@link StoredOtherwise}. May be called again after any failure.
 */
export async function decodeSent(
  rooms: SessionRooms,
  record: UploadRecord,
  options: DecodeSentOptions,
): Promise<Backup> {
  const { backup_id, written } = record;
  const { onRead, noteData, noteIndex, signal } = options;
  const digests = new DigestCheck(record.sent_digests);
  let crc32 = 0;
  const onSent = (piece: Uint8Array, upTo: number) => {
    crc32 = updateCrc32(crc32, piece);
    digests.update(piece);
    onRead(upTo);
  };
  const checkSent = () => {
    if (crc32 !== written.crc32) throw new StoredOtherwise(`CRC-32 ${crc32} instead of ${written.crc32}`);
  };
  const order = {
    ...record,
    content: pipeline(readAhead(readSent(rooms, record))).through(meter(onSent)),
    total: written.offset,
    exact: true,
    ending: async () => {
      checkSent();
      digests.check();
      return record.sha256 ?? undefined;
    },
  };
  const job = { publish: () => undefined, noteOpen: noteIndex, alive: () => true, signal };
  const memory = new UploadMemory(rooms.memory, backup_id, asideObjects(rooms.store, backup_id));
  const partBytes = partBytesFor(record.max_bytes);
  const writer = new ObjectWriter(rooms.store, memory, dataKey(backup_id), partBytes, noteData);
  const indexing = new MemberIndexing(rooms.store, memory, rooms.engine, backup_id, rooms.indexBounds);
  try {
    const { default_recipients: defaultRecipients } = record;
    return await receive({ ...rooms, defaultRecipients, uploadRate: null }, order, job, memory, writer, indexing);
  } catch (error) {
    for (const each of [writer, indexing]) await each.abort();
    if (error instanceof StoredDataLost) throw new StoredOtherwise(error);
    // Only what came may be called malformed: what the storage changed is not the sender's fault.
    if (error instanceof VaultError && FAULTS_OF_THE_BYTES.has(error.code)) await checkAgain(rooms, record, signal);
    throw error;
  } finally {
    await memory.close();
  }
}

const FAULTS_OF_THE_BYTES: ReadonlySet<string> = new Set(['malformed-zstd', 'malformed-gzip', 'file-too-large']);

function readSent({ store }: SessionRooms, { backup_id, written }: UploadRecord): Pieces {
  return readWhole(store, sentKey(backup_id), written.offset);
}

/** Reads all that was sent. Throws {@link StoredOtherwise} where it is not what came. */
async function checkAgain(rooms: SessionRooms, record: UploadRecord, signal: AbortSignal): Promise<void> {
  let crc32 = 0;
  for await (const piece of readSent(rooms, record)) {
    signal.throwIfAborted();
    crc32 = updateCrc32(crc32, piece);
  }
  if (crc32 !== record.written.crc32) throw new StoredOtherwise(`CRC-32 ${crc32} instead of ${record.written.crc32}`);
}
