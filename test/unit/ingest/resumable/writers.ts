/** Writers of one upload, one after the other, on the storage of a session and without one. */
import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect } from 'vitest';
import { ageDecrypt } from '../../../../src/codec/age.ts';
import { seekableEncode } from '../../../../src/codec/seekable/seekable-encoder.ts';
import { isCompressedAlready } from '../../../../src/codec/sniff.ts';
import { ResumableWriter } from '../../../../src/ingest/resumable/resumable-writer.ts';
import { type Kept, SessionStore } from '../../../../src/ingest/resumable/session-store.ts';
import {
  newUpload,
  type SessionOrder,
  type StoredObject,
  type Written,
  withStored,
  withWritten,
} from '../../../../src/ingest/resumable/upload-record.ts';
import { services } from '../../../../src/services.ts';
import { type IsolateMemory, isolateMemory } from '../../../../src/shared/isolate-memory.ts';
import { FLIGHTS_PER_UPLOAD, FRAME_BYTES, KIB, PART_BYTES } from '../../../../src/shared/limits.ts';
import { dataKey } from '../../../../src/store/object-keys.ts';
import { ObjectStore } from '../../../../src/store/object-store.ts';
import { firstDifference, run } from '../../codec/bytes.ts';
import { newId, orderOf } from './orders.ts';
import type { PartsBucket } from './parts-bucket.ts';

/** Work on the storage of a Durable Object that nobody else knows. */
export function inStorage<T>(work: (storage: DurableObjectStorage) => Promise<T>): Promise<T> {
  const stub = env.UPLOADS.get(env.UPLOADS.idFromName(newId()));
  return runInDurableObject(stub, (_, state) => work(state.storage));
}

export class Writers {
  readonly storage: DurableObjectStorage;
  readonly order: SessionOrder;
  readonly store: SessionStore;
  readonly memory: IsolateMemory;
  /** What comes next goes there. */
  bucket: R2Bucket;

  constructor(
    storage: DurableObjectStorage,
    bucket: R2Bucket,
    more: Partial<SessionOrder> = {},
    memory = isolateMemory(),
  ) {
    this.memory = memory;
    this.storage = storage;
    this.bucket = bucket;
    this.order = orderOf(more);
    this.store = new SessionStore(storage);
    this.store.create(newUpload(this.order, null));
  }

  get written(): Written {
    return this.store.known.written;
  }

  /** A writer that stands where the record does. */
  next(): ResumableWriter {
    const { engine } = services(env);
    return new ResumableWriter(new ObjectStore(this.bucket), this.memory, this.store, engine, this.order, this.written);
  }

  /** A checkpoint; what it left in the storage is looked through. */
  note(writer: ResumableWriter): void {
    writer.checkpoint((written) => {
      this.store.record = withWritten(this.store.known, written);
    });
    this.check();
  }

  /** Nothing is kept twice, nothing is missing, and no more is kept than may be. */
  check(): void {
    const { offset, compressed, frames, encoded_bytes, parts } = this.written;
    const tailStart = compressed === false ? offset : frames * FRAME_BYTES;
    expect(offset - tailStart).toBeLessThanOrEqual(FRAME_BYTES);
    expect(encoded_bytes - parts * PART_BYTES).toBeLessThanOrEqual((FLIGHTS_PER_UPLOAD + 1) * PART_BYTES);
    this.#checkRows('tail', tailStart, offset);
    this.#checkRows('rest', parts * PART_BYTES, encoded_bytes);
    expect([this.count('frames'), this.count('parts')]).toEqual([frames, parts]);
  }

  count(table: 'kept' | 'frames' | 'parts'): number {
    return this.storage.sql.exec<{ rows: number }>(`SELECT count(*) AS rows FROM ${table}`).one().rows;
  }

  /** Seals, and completes what is open. Gives the object that stands in the bucket then. */
  async seal(writer: ResumableWriter): Promise<StoredObject> {
    const stored = await writer.seal((object) => {
      this.store.record = withStored(this.store.known, object);
    });
    await writer.close();
    await this.complete(stored);
    return stored;
  }

  async complete({ open, bytes }: StoredObject): Promise<void> {
    if (open) await new ObjectStore(this.bucket).completeUpload(open, this.store.parts(), bytes);
  }

  #checkRows(kind: Kept, from: number, to: number): void {
    const rows = this.storage.sql
      .exec<{ at: number; bytes: number }>(
        'SELECT at, length(bytes) AS bytes FROM kept WHERE kind = ? ORDER BY at',
        kind,
      )
      .toArray();
    let at = from;
    for (const row of rows) {
      expect(row.at, `${kind}: a row follows the one before`).toBe(at);
      at += row.bytes;
    }
    expect(at, `${kind}: all of it is kept`).toBe(to);
  }
}

/** Content as a piece's body comes: in what one read gives. */
export async function writeAll(writer: ResumableWriter, content: Uint8Array, readBytes = 500 * KIB): Promise<void> {
  for (let at = 0; at < content.length; at += readBytes) await writer.write(content.subarray(at, at + readBytes));
}

/** What an upload in one request stores of the content, but for the encryption around it. */
export async function objectOf(content: Uint8Array, { compression, level }: SessionOrder): Promise<Uint8Array> {
  const compressed = compression === 'zstd' || (compression === 'auto' && !isCompressedAlready(content));
  return compressed ? run(seekableEncode({ engine: services(env).engine, level }), content) : content;
}

/** The object in the bucket is the one that was expected: as it is, or within the encryption for `identity`. */
export async function expectObject(
  { order, store }: Writers,
  { objects, open }: PartsBucket,
  expected: Uint8Array,
  identity?: string,
): Promise<void> {
  const object = objects.get(dataKey(order.backup_id)) ?? new Uint8Array();
  expect(object.length).toBe(store.known.stored?.bytes);
  const content = identity === undefined ? object : await run(ageDecrypt(identity), object);
  expect(firstDifference(content, expected)).toBeNull();
  expect(open, 'uploads left open').toEqual([]);
}
