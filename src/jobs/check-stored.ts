import type { Backup, Damage } from '../catalogue/backups.ts';
import { sha256Digest } from '../codec/digest.ts';
import { pipeline } from '../codec/pipeline.ts';
import type { SeekEntry } from '../codec/seekable/seek-table.ts';
import { type ReadBytes, readStoredTable, type StoredForm } from '../codec/seekable/seek-table-points.ts';
import { digest, meter } from '../codec/stages.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { MalformedZstd } from '../codec/zstd/malformed-zstd.ts';
import { ByteReader } from '../shared/byte-reader.ts';
import { hex, release } from '../shared/bytes.ts';
import type { Share } from '../shared/isolate-memory.ts';
import { DECODE_READ_BYTES, FRAME_BYTES } from '../shared/limits.ts';
import { readAhead } from '../shared/streams.ts';
import { takingTurns } from '../shared/turns.ts';
import { dataKey } from '../store/object-keys.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { readWhole } from '../store/resuming-read.ts';
import { type LossKind, StoredDataLost } from '../store/stored-data-lost.ts';
import { readStoredFrame } from './stored-frame.ts';

/** A frame and the piece that its end came with fit without growing. */
const READER_BYTES = FRAME_BYTES + 2 * DECODE_READ_BYTES;

/** What a check holds from its first byte to its last: the reader's buffer, and two pieces. */
export const CHECK_BYTES = READER_BYTES + 2 * DECODE_READ_BYTES;

/** What is broken and where, as {@link Damage} has it. */
export type Fault = Omit<Damage, 'found_at'>;

export interface StoredCheck {
  /** Whether there is no stored object. */
  readonly missing: boolean;
  /** The first one in the order of the stored bytes; null: everything is whole. */
  readonly fault: Fault | null;
  /** Frames that were looked at. Where frame and seek table are both broken, those behind it cannot be found. */
  readonly frames_checked: number;
  readonly broken_frames: number;
}

export interface CheckDeps {
  readonly store: ObjectStore;
  readonly engine: ZstdEngine;
  /** Resolves with a turn of the isolate to read and decode one frame. */
  readonly turn: () => Promise<Share>;
}

/**
 * Reads a stored object back, once and in order, and compares all that is known of it: its size, the SHA-256 of its
 * bytes, the seek table, each frame with its checksum and its entry, the SHA-256 of the content. Holds {@link CHECK_BYTES},
 * and in a turn of the isolate the content of a frame. What the storage refuses to give is thrown (StorageFailed): that says nothing of the bytes.
 *
 * @param onRead told how many bytes of the object have been read; what it throws ends the reading
 */
export async function checkStored(
  deps: CheckDeps,
  backup: Backup,
  onRead: (bytes: number) => void,
): Promise<StoredCheck> {
  const objectBytes = await deps.store.size(dataKey(backup.backup_id));
  if (objectBytes === null) return lost('missing');
  try {
    return await checkObject(deps, backup, objectBytes, onRead);
  } catch (error) {
    if (error instanceof StoredDataLost) return lost(error.how);
    throw error;
  }
}

function lost(how: LossKind): StoredCheck {
  const missing = how === 'missing';
  const reason = missing ? 'the data is missing' : 'the data was replaced while it was read';
  return { missing, fault: { reason, frame: null, offset: null }, frames_checked: 0, broken_frames: 0 };
}

async function checkObject(
  { store, engine, turn: frameTurn }: CheckDeps,
  backup: Backup,
  objectBytes: number,
  onRead: (bytes: number) => void,
): Promise<StoredCheck> {
  const key = dataKey(backup.backup_id);
  const storedDigest = sha256Digest();
  const turn = takingTurns();
  const told = (piece: Uint8Array, upTo: number) => {
    onRead(upTo);
    return turn(piece.length);
  };
  const read = pipeline(readWhole(store, key, objectBytes))
    .through(digest(storedDigest))
    .through(meter(told));
  const pieces = readAhead(read);
  const reader = new ByteReader(pieces, Math.min(READER_BYTES, objectBytes));
  try {
    const frames = await checkContent(reader, { engine, turn: frameTurn }, backup, objectBytes, (span) =>
      store.readBytes(key, span),
    );
    await reader.skip(objectBytes - reader.position);
    const sizes = sizeFault(objectBytes, backup.stored_size);
    const bytesAgree = hex(storedDigest.digest()) === backup.stored_checksum;
    const fault = frames.fault ?? sizes ?? frames.tableFault ?? digestFault(frames.content, bytesAgree);
    return { missing: false, fault, frames_checked: frames.checked, broken_frames: frames.broken };
  } finally {
    await reader.close();
  }
}

function sizeFault(objectBytes: number, storedBytes: number): Fault | null {
  if (objectBytes === storedBytes) return null;
  const reason = `the stored object has ${objectBytes} bytes instead of ${storedBytes}`;
  return { reason, frame: null, offset: Math.min(objectBytes, storedBytes) };
}

/** Where frames carry no checksums, only the digests know of a changed byte, and cannot tell its place. */
function digestFault(content: ContentState, bytesAgree: boolean): Fault | null {
  if (content !== 'different' && bytesAgree) return null;
  const still = content === 'same' ? '; the content still has its own' : '';
  const reason =
    content === 'different' && bytesAgree
      ? 'the content has another SHA-256 than what was uploaded'
      : `the stored bytes have another SHA-256 than when they were written${still}`;
  return { reason, frame: null, offset: null };
}

/** What of the object's content was found, up to its own SHA-256. */
type ContentState = 'same' | 'different' | 'unknown';

interface ContentCheck {
  readonly fault: Fault | null;
  readonly tableFault: Fault | null;
  readonly checked: number;
  readonly broken: number;
  readonly content: ContentState;
}

type Decoding = Pick<CheckDeps, 'engine' | 'turn'>;

/** Frames and seek table; of what is stored as it came, or encrypted, there is nothing to be said but by its digest. */
async function checkContent(
  reader: ByteReader,
  decoding: Decoding,
  { compression, encryption, checksum, file_size }: Backup,
  objectBytes: number,
  readBytes: ReadBytes,
): Promise<ContentCheck> {
  if (compression.codec === 'none' || encryption?.by === 'vault') {
    return { fault: null, tableFault: null, checked: 0, broken: 0, content: 'unknown' };
  }
  const { frames } = compression;
  const table = await storedTable(readBytes, { storedBytes: objectBytes, contentBytes: file_size, frames });
  const found = await checkFrames(reader, decoding, frames, table.kind === 'whole' ? table.entries : null);
  const content = found.malformed.count > 0 ? 'unknown' : found.sha256 === checksum ? 'same' : 'different';
  const tableFault = tableFaultOf(table, found, content, reader.position);
  // Where a frame and its entry differ, the content's digest tells which of the two is not what was written.
  if (content === 'same') return { fault: null, tableFault, checked: found.checked, broken: 0, content };
  return {
    fault: earlier(found.malformed.first, found.unlisted.first),
    tableFault,
    checked: found.checked,
    broken: found.malformed.count + found.unlisted.count,
    content,
  };
}

type TableFound =
  | { readonly kind: 'whole'; readonly entries: readonly SeekEntry[] }
  | { readonly kind: 'broken'; readonly reason: string };

/** What the table says of single frames is compared when they are read. */
async function storedTable(readBytes: ReadBytes, stored: StoredForm): Promise<TableFound> {
  try {
    const { entries } = await readStoredTable(readBytes, stored);
    return { kind: 'whole', entries };
  } catch (error) {
    if (error instanceof MalformedZstd) return { kind: 'broken', reason: error.reason };
    throw error;
  }
}

function tableFaultOf(table: TableFound, found: FramesFound, content: ContentState, offset: number): Fault | null {
  const whole = content === 'same' ? '; the content is whole' : '';
  if (table.kind === 'broken') return { reason: `${table.reason}${whole}`, frame: null, offset };
  if (content !== 'same' || found.unlisted.first === null) return null;
  const frame = found.unlisted.first.frame;
  return { reason: `the seek table has another checksum than frame ${frame}${whole}`, frame: null, offset };
}

function earlier(a: Fault | null, b: Fault | null): Fault | null {
  if (a === null || b === null) return a ?? b;
  return (a.frame ?? 0) < (b.frame ?? 0) ? a : b;
}

/** The first of many faults, and how many there are. */
class Faults {
  first: Fault | null = null;
  count = 0;

  add(fault: Fault): void {
    this.first ??= fault;
    this.count += 1;
  }
}

interface FramesFound {
  readonly checked: number;
  /** Frames that cannot be decoded. */
  readonly malformed: Faults;
  /** Frames that can, but have another checksum than the seek table tells. */
  readonly unlisted: Faults;
  /** Of the content of all frames that were decoded. */
  readonly sha256: string;
}

/** Frames are independent: with `entries`, which tell where the next one begins, a broken one hides no other. */
async function checkFrames(
  reader: ByteReader,
  { engine, turn: frameTurn }: Decoding,
  frames: number,
  entries: readonly SeekEntry[] | null,
): Promise<FramesFound> {
  const digest = sha256Digest();
  const turn = takingTurns();
  const malformed = new Faults();
  const unlisted = new Faults();
  let checked = 0;
  while (checked < frames) {
    const frame = checked++;
    const offset = reader.position;
    const entry = entries?.[frame];
    const share = await frameTurn();
    try {
      const { content, checksum } = await readStoredFrame(reader, engine, entry);
      digest.update(content);
      const { length } = content;
      release(content);
      // Of content too: little that is stored may hold much.
      await turn(length);
      if (entry?.checksum !== undefined && entry.checksum !== checksum)
        unlisted.add({ reason: UNLISTED, frame, offset });
    } catch (error) {
      if (!(error instanceof MalformedZstd)) throw error;
      malformed.add({ reason: error.reason, frame, offset });
      if (!entry) break;
      await reader.skip(entry.compressedBytes);
    } finally {
      share.release();
    }
  }
  return { checked, malformed, unlisted, sha256: hex(digest.digest()) };
}

const UNLISTED = 'the frame is not the one that was written here: its checksum is not the one in the seek table';
