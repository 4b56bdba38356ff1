import type { AgeSealing } from '../../codec/age-sealer.ts';
import type { SeekEntry } from '../../codec/seekable/seek-table.ts';
import { MIB } from '../../shared/limits.ts';
import type { OpenUpload, UploadedPart } from '../../store/object-store.ts';
import type { UploadRecord } from './upload-record.ts';

/** Bytes that wait for more: of the object, those in no part yet (`rest`); of the content, those in no frame (`tail`). */
export type Kept = 'rest' | 'tail';

/** A value takes 2 MB (Durable Object limits). */
const ROW_BYTES = MIB;

const TABLES = `
  CREATE TABLE IF NOT EXISTS kept (kind TEXT NOT NULL, at INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (kind, at));
  CREATE TABLE IF NOT EXISTS parts (place INTEGER PRIMARY KEY, number INTEGER NOT NULL, etag TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS frames (frame INTEGER PRIMARY KEY, compressed INTEGER NOT NULL, content INTEGER NOT NULL,
    checksum INTEGER);
`;

type FrameRow = { readonly compressed: number; readonly content: number; readonly checksum: number | null };

/**
 * The storage of one upload session. Every call is done when it returns, and the object answers nobody before what it
 * wrote is durable; what must be true together goes into one {@link transaction}. An upload that does not exist stores
 * nothing, not even tables.
 */
export class SessionStore {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  get record(): UploadRecord | null {
    const record = this.#storage.kv.get<UploadRecord>('record');
    // An upload that began before names were paths and backups could expire.
    return record ? { ...record, name: record.name ?? record.filename, expiry: record.expiry ?? null } : null;
  }

  /** The record of a session that was created. */
  get known(): UploadRecord {
    const { record } = this;
    if (!record) throw new Error('there is no such upload');
    return record;
  }

  set record(record: UploadRecord) {
    this.#storage.kv.put('record', record);
  }

  /** The multipart upload that holds the parts, noted before the first of them is sent. */
  get open(): OpenUpload | null {
    return this.#storage.kv.get<OpenUpload>('open') ?? null;
  }

  set open(open: OpenUpload) {
    this.#storage.kv.put('open', open);
  }

  /** How far the object is encrypted, where it is. It can be read with it, and goes with the content. */
  get sealing(): AgeSealing | null {
    return this.#storage.kv.get<AgeSealing>('sealing') ?? null;
  }

  set sealing(sealing: AgeSealing) {
    this.#storage.kv.put('sealing', sealing);
  }

  /** The multipart upload of the members' index, where it is large. */
  get indexOpen(): OpenUpload | null {
    return this.#storage.kv.get<OpenUpload>('index-open') ?? null;
  }

  set indexOpen(open: OpenUpload) {
    this.#storage.kv.put('index-open', open);
  }

  /** The multipart upload of the object that is decoded from what was sent, where it is large. */
  get decodedOpen(): OpenUpload | null {
    return this.#storage.kv.get<OpenUpload>('decoded-open') ?? null;
  }

  set decodedOpen(open: OpenUpload) {
    this.#storage.kv.put('decoded-open', open);
  }

  /** The number that the next part gets, noted before it is sent: no number is ever given to a second part. */
  get nextPartNumber(): number {
    return this.#storage.kv.get<number>('next-part-number') ?? 1;
  }

  set nextPartNumber(number: number) {
    this.#storage.kv.put('next-part-number', number);
  }

  create(record: UploadRecord): void {
    this.#storage.sql.exec(TABLES);
    this.record = record;
  }

  transaction(work: () => void): void {
    this.#storage.transactionSync(work);
  }

  /** Keeps bytes whose first is number `at` of their kind. */
  keep(kind: Kept, at: number, bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; from += ROW_BYTES) {
      const row = bytes.slice(from, from + ROW_BYTES);
      this.#storage.sql.exec(
        'INSERT OR REPLACE INTO kept (kind, at, bytes) VALUES (?, ?, ?)',
        kind,
        at + from,
        row.buffer,
      );
    }
  }

  /** Forgets rows that begin before `at`. */
  dropBefore(kind: Kept, at: number): void {
    this.#storage.sql.exec('DELETE FROM kept WHERE kind = ? AND at < ?', kind, at);
  }

  /** Forgets rows that begin at `at` or behind it: those that a writer put aside and never noted. */
  dropFrom(kind: Kept, at: number): void {
    this.#storage.sql.exec('DELETE FROM kept WHERE kind = ? AND at >= ?', kind, at);
  }

  /** Fills `target` with kept bytes, the first of which is number `at`. They are there, or it is a fault of ours. */
  readKept(kind: Kept, at: number, target: Uint8Array): void {
    let filled = 0;
    const rows = this.#storage.sql.exec<{ at: number; bytes: ArrayBuffer }>(
      'SELECT at, bytes FROM kept WHERE kind = ? AND at >= ? AND at < ? ORDER BY at',
      kind,
      at,
      at + target.length,
    );
    for (const row of rows) {
      if (row.at !== at + filled) break;
      target.set(new Uint8Array(row.bytes).subarray(0, target.length - filled), filled);
      filled += Math.min(row.bytes.byteLength, target.length - filled);
    }
    if (filled !== target.length) throw new Error(`${kind}: ${filled} of ${target.length} bytes are kept`);
  }

  addPart(place: number, part: UploadedPart): void {
    const { partNumber, etag } = part;
    this.#storage.sql.exec('INSERT INTO parts (place, number, etag) VALUES (?, ?, ?)', place, partNumber, etag);
  }

  /** In their order. */
  parts(): UploadedPart[] {
    const rows = this.#storage.sql.exec<{ number: number; etag: string }>(
      'SELECT number, etag FROM parts ORDER BY place',
    );
    return rows.toArray().map(({ number, etag }) => ({ partNumber: number, etag }));
  }

  addFrames(first: number, frames: readonly SeekEntry[]): void {
    for (const [i, { compressedBytes, contentBytes, checksum }] of frames.entries()) {
      const values = [first + i, compressedBytes, contentBytes, checksum ?? null];
      this.#storage.sql.exec(
        'INSERT INTO frames (frame, compressed, content, checksum) VALUES (?, ?, ?, ?)',
        ...values,
      );
    }
  }

  /** In their order. */
  frames(): SeekEntry[] {
    const rows = this.#storage.sql.exec<FrameRow>('SELECT compressed, content, checksum FROM frames ORDER BY frame');
    return rows.toArray().map(({ compressed, content, checksum }) => ({
      compressedBytes: compressed,
      contentBytes: content,
      ...(checksum !== null && { checksum }),
    }));
  }

  /** Forgets what was kept for writing; the record stays. */
  dropContent(): void {
    this.#storage.kv.delete('sealing');
    for (const table of ['kept', 'parts', 'frames']) this.#storage.sql.exec(`DELETE FROM ${table}`);
  }

  setAlarm(at: number): Promise<void> {
    return this.#storage.setAlarm(at);
  }

  async forget(): Promise<void> {
    await this.#storage.deleteAlarm();
    await this.#storage.deleteAll();
  }
}
