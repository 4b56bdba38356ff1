import type { ArchiveSummary, Backup, Encryption } from '../../catalogue/backups.ts';
import { MalformedAge } from '../../codec/age.ts';
import type { AgeSealing } from '../../codec/age-sealer.ts';
import { updateCrc32 } from '../../codec/crc32.ts';
import { DigestCheck, sha256Digest } from '../../codec/digest.ts';
import { type Pipeline, pipeline } from '../../codec/pipeline.ts';
import { readStoredPoints } from '../../codec/seekable/seek-table-points.ts';
import { isAge, isEnoughToSniff } from '../../codec/sniff.ts';
import { decompress, digest, meter, reopen } from '../../codec/stages.ts';
import type { ZstdEngine } from '../../codec/zstd/engine.ts';
import { MalformedZstd } from '../../codec/zstd/malformed-zstd.ts';
import { ZstdTooLarge } from '../../codec/zstd/zstd-decode.ts';
import { hex } from '../../shared/bytes.ts';
import { VaultError } from '../../shared/errors.ts';
import { type IsolateMemory, inTurns } from '../../shared/isolate-memory.ts';
import { type Pieces, peek, readAhead } from '../../shared/streams.ts';
import { takingTurns } from '../../shared/turns.ts';
import { UploadMemory } from '../../shared/upload-memory.ts';
import { asideObjects } from '../../store/aside-objects.ts';
import { dataKey } from '../../store/object-keys.ts';
import type { ObjectStore, OpenUpload } from '../../store/object-store.ts';
import { readWhole } from '../../store/resuming-read.ts';
import { StoredDataLost } from '../../store/stored-data-lost.ts';
import { expiresAt } from '../expiry.ts';
import { type IndexBounds, MemberIndexing, membersInto } from '../member-indexing.ts';
import { ChecksumMismatch, checkArchive } from '../upload.ts';
import type { StoredObject, UploadRecord } from './upload-record.ts';

export interface ReadBackRooms {
  readonly store: ObjectStore;
  readonly engine: ZstdEngine;
  readonly memory: IsolateMemory;
  readonly indexBounds?: IndexBounds;
}

/** What the storage gives is not what the sender sent. */
export class StoredOtherwise extends VaultError {
  constructor(cause: unknown) {
    super('stored-data-corrupt', 'What was stored is not what was sent. Nothing of it was kept; send the file again.', {
      cause,
    });
  }
}

/**
 * Reads the object of a whole upload back, and makes its receipt of what is really stored:
 *
 *     object → digest → (age) → frames → content → length, CRC-32, digest → members of an archive
 *
 * The pieces came through many requests, so no digest of them could be kept; their CRC-32 could, and ties what is stored
 * to what came. Rejects with {@link StoredOtherwise} where the two differ, with ChecksumMismatch or DigestMismatch where the
 * sender expected other bytes, and with what the storage failed of. Can be done again at any time.
 *
 * @param sealing how the object was encrypted, where it was
 * @param onRead told of the content that was read, in bytes; what it throws ends the reading
 * @param noteOpen told of the multipart upload of a large index before its first part, so that it can be aborted
 */
export async function readBack(
  rooms: ReadBackRooms,
  record: UploadRecord,
  stored: StoredObject,
  sealing: AgeSealing | null,
  onRead: (bytes: number) => void,
  noteOpen: (open: OpenUpload) => Promise<void>,
): Promise<Backup> {
  const { backup_id } = record;
  const memory = new UploadMemory(rooms.memory, backup_id, asideObjects(rooms.store, backup_id));
  const indexing = new MemberIndexing(rooms.store, memory, rooms.engine, backup_id, rooms.indexBounds);
  try {
    return await readInto(indexing, rooms, record, stored, sealing, onRead, noteOpen);
  } finally {
    await memory.close();
  }
}

async function readInto(
  indexing: MemberIndexing,
  rooms: ReadBackRooms,
  record: UploadRecord,
  stored: StoredObject,
  sealing: AgeSealing | null,
  onRead: (bytes: number) => void,
  noteOpen: (open: OpenUpload) => Promise<void>,
): Promise<Backup> {
  const { backup_id, job_id, name, filename, content_type, written } = record;
  const storedDigest = sha256Digest();
  const contentDigest = sha256Digest();
  const sentDigests = new DigestCheck(record.sent_digests);
  let bytes = 0;
  let crc32 = 0;
  const turn = takingTurns();
  const compare = (piece: Uint8Array, upTo: number) => {
    bytes = upTo;
    crc32 = updateCrc32(crc32, piece);
    sentDigests.update(piece);
    onRead(upTo);
    // Who asks where the upload stands would else wait for its end.
    return turn(piece.length);
  };
  const read = readWhole(rooms.store, dataKey(backup_id), stored.bytes);
  const asItCame = stored.compression.codec === 'none' && sealing === null;
  const object = readAhead(asItCame ? read : pipeline(read).through(digest(storedDigest)));
  const content = unwrapped(rooms.engine, stored, sealing, object, written.offset);
  let encryption: Encryption | null = null;
  try {
    // A turn for each frame, so that other requests do not wait for the end of many gigabytes.
    const { first, pieces } = await peek(inTurns(content, rooms.memory.turns, backup_id), isEnoughToSniff);
    encryption = encryptionOf(sealing, first);
    const compared = pipeline(pieces).through(meter(compare)).through(digest(contentDigest));
    for await (const _ of encryption ? compared : compared.through(membersInto(indexing)));
  } catch (error) {
    throw asStoredHere(error);
  }
  if (bytes !== written.offset || crc32 !== written.crc32) {
    throw new StoredOtherwise(`${bytes} of ${written.offset} bytes, CRC-32 ${crc32} instead of ${written.crc32}`);
  }
  sentDigests.check();
  const checksum = hex(contentDigest.digest());
  if (record.sha256 !== null && record.sha256 !== checksum) throw new ChecksumMismatch(checksum);
  // An index in clear would reveal what the encryption hides.
  const archive = encryption ? null : await writeIndex(rooms, indexing, stored, record, noteOpen);
  checkArchive(archive, record);
  return {
    backup_id,
    job_id,
    name,
    filename,
    content_type,
    file_size: bytes,
    checksum,
    stored_size: stored.bytes,
    stored_checksum: asItCame ? checksum : hex(storedDigest.digest()),
    compression: stored.compression,
    encryption,
    archive,
    created_at: stored.stored_at,
    created_by: record.token_id,
    expires_at: expiresAt(record.expiry, stored.stored_at),
    verified_at: null,
    damage: null,
  };
}

/** The members' index; of what is no archive there is none. The seek table is read as those who come later will read it. */
async function writeIndex(
  { store }: ReadBackRooms,
  indexing: MemberIndexing,
  { bytes, compression }: StoredObject,
  { backup_id, written }: UploadRecord,
  noteOpen: (open: OpenUpload) => Promise<void>,
): Promise<ArchiveSummary | null> {
  if (compression.codec === 'none') return indexing.write(null, noteOpen);
  const sizes = { storedBytes: bytes, contentBytes: written.offset, frames: compression.frames };
  try {
    const points = await readStoredPoints((span) => store.readBytes(dataKey(backup_id), span), sizes);
    return await indexing.write({ codec: 'zstd', points }, noteOpen);
  } catch (error) {
    throw asStoredHere(error);
  }
}

function unwrapped(
  engine: ZstdEngine,
  { compression }: StoredObject,
  sealing: AgeSealing | null,
  object: Pieces,
  maxBytes: number,
): Pipeline<[]> {
  if (compression.codec === 'none')
    return sealing ? pipeline<['age']>(object).through(reopen(sealing)) : pipeline(object);
  const frames = sealing ? pipeline<['age', 'zstd']>(object).through(reopen(sealing)) : pipeline<['zstd']>(object);
  return frames.through(decompress({ engine, maxBytes }));
}

function encryptionOf(sealing: AgeSealing | null, first: Uint8Array): Encryption | null {
  if (sealing) return { format: 'age', by: 'vault', recipients: sealing.recipients };
  return isAge(first) ? { format: 'age', by: 'sender', recipients: [] } : null;
}

/** What decoders say of bytes that were stored here. */
function asStoredHere(error: unknown): unknown {
  const other = [MalformedZstd, MalformedAge, ZstdTooLarge, StoredDataLost].some((kind) => error instanceof kind);
  return other ? new StoredOtherwise(error) : error;
}
