import { TimedOut, withinTime } from '../shared/abort.ts';
import { STORAGE_CALL_MS } from '../shared/limits.ts';
import { type RetryPolicy, retry, STORAGE_RETRY } from '../shared/retry.ts';
import type { ByteSpan } from '../shared/seek-points.ts';
import type { ByteStream } from '../shared/streams.ts';
import { isNoSuchUpload, isTransient, r2ErrorNumber, StorageFailed } from './r2-errors.ts';
import { type LossKind, StoredDataLost } from './stored-data-lost.ts';

/** A multipart upload under way: what is needed to go on with it, or to abort it later. */
export interface OpenUpload {
  readonly key: string;
  readonly upload_id: string;
}

/** What the storage says of a part that it took: R2 wants it back to make the object. */
export type UploadedPart = R2UploadedPart;

/** An object being read. Read the body or cancel it: it holds one of the request's few connections. */
export interface OpenObject {
  readonly body: ByteStream;
  /** R2's own, unquoted: names this version of the object. */
  readonly etag: string;
  /** Of the whole object in bytes, also where a span of it is read. */
  readonly size: number;
}

/** An object as a listing has it. */
export interface ListedObject {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  readonly uploaded: Date;
}

/** `changed`: the object under the key is not the one that the ETag names. */
export type ObjectRead =
  | ({ readonly kind: 'open' } & OpenObject)
  | { readonly kind: 'missing' }
  | { readonly kind: 'changed' };

export interface ReadOptions {
  /** At least one byte. What lies behind the object's end is not given; all behind it throws {@link StoredDataLost}. */
  readonly span?: ByteSpan | undefined;
  /** Only this version of the object. */
  readonly etag?: string | undefined;
  readonly policy?: RetryPolicy | undefined;
}

/**
 * The bucket as the vault uses it: every call has a deadline, is retried where that is safe, and fails as
 * {@link StorageFailed}. A call that passed its deadline is not retried, since it may still be carried out; what it holds
 * until then is known by {@link storageCallEnded}. Bodies are always buffers: a stream cannot be sent a second time.
 */
export class ObjectStore {
  readonly #bucket: R2Bucket;
  readonly #callMs: number;

  constructor(bucket: R2Bucket, { callMs = STORAGE_CALL_MS }: { readonly callMs?: number } = {}) {
    this.#bucket = bucket;
    this.#callMs = callMs;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#call('put', () => this.#bucket.put(key, bytes));
  }

  /** Opens an object, or a span of it. What breaks after that is the reader's to see (`readResuming` goes on). */
  async read(key: string, { span, etag, policy }: ReadOptions = {}): Promise<ObjectRead> {
    const options: R2GetOptions = {
      ...(span && { range: { offset: span.offset, length: span.length } }),
      ...(etag !== undefined && { onlyIf: { etagMatches: etag } }),
    };
    const object: R2ObjectBody | R2Object | null = await this.#call(
      'get',
      () => this.#get(key, options),
      policy,
      cancelBody,
    );
    if (!object) return { kind: 'missing' };
    if (!hasBody(object)) return { kind: 'changed' };
    return { kind: 'open', body: object.body, etag: object.etag, size: object.size };
  }

  /**
   * A small span whole, in memory. Throws {@link StoredDataLost} where the object is missing or ends before the span,
   * and StorageFailed where it cannot be read.
   */
  async readBytes(key: string, span: ByteSpan): Promise<Uint8Array> {
    if (span.length === 0) return new Uint8Array();
    return this.#call('get', async () => {
      const object = await this.#get(key, { range: { offset: span.offset, length: span.length } });
      if (!object || !hasBody(object)) throw new StoredDataLost('missing', key);
      if (object.size < span.offset + span.length) {
        await object.body.cancel();
        throw new StoredDataLost('cut', key);
      }
      return wholeOf(object, span.length);
    });
  }

  /** The object's last `bytes` (all of it where it has fewer) and its size; null where there is none. */
  async readTail(key: string, bytes: number): Promise<{ bytes: Uint8Array; size: number } | null> {
    return this.#call('get', async () => {
      const object = await this.#getTail(key, bytes);
      return object && { bytes: await wholeOf(object, Math.min(bytes, object.size)), size: object.size };
    });
  }

  /** A small object whole, as JSON. Null where there is none. */
  async readJson(key: string): Promise<unknown> {
    return this.#call('get', async () => {
      const object = await this.#bucket.get(key);
      return object ? object.json() : null;
    });
  }

  /** The object's size in bytes, or null where there is none. */
  async size(key: string): Promise<number | null> {
    const head = await this.#call('head', () => this.#bucket.head(key));
    return head?.size ?? null;
  }

  /** Throws {@link StoredDataLost} unless the object exists and has `bytes` bytes. Reads none of them. */
  async requireSize(key: string, bytes: number): Promise<void> {
    const size = await this.size(key);
    if (size !== bytes) throw new StoredDataLost(lossOf(size, bytes), key);
  }

  /** Removes objects, 1000 a call (R2 limits); those that are not there are no error. */
  async remove(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += 1000) {
      const some = keys.slice(at, at + 1000);
      await this.#call('delete', () => this.#bucket.delete(some));
    }
  }

  /** Removes every object whose key begins with `prefix`. */
  async removeAll(prefix: string): Promise<void> {
    let cursor: string | undefined;
    do {
      const page = await this.#call('list', () => this.#bucket.list({ prefix, cursor, limit: 1000 }));
      await this.remove(page.objects.map((object) => object.key));
      cursor = page.truncated ? page.cursor : undefined;
    } while (cursor);
  }

  /** Objects whose keys begin with `prefix`, in the order of their keys, by pages of 1000 or `limit`. */
  async *list(prefix: string, limit = 1000): AsyncGenerator<ListedObject, void, undefined> {
    let cursor: string | undefined;
    do {
      const page = await this.#call('list', () => this.#bucket.list({ prefix, cursor, limit }));
      for (const { key, size, uploaded } of page.objects) yield { key, size, uploaded };
      cursor = page.truncated ? page.cursor : undefined;
    } while (cursor);
  }

  /** What the keys of the bucket begin with, up to and with the first `/`, and keys without one; 1000 at most. */
  async prefixes(): Promise<string[]> {
    const page = await this.#call('list', () => this.#bucket.list({ delimiter: '/', limit: 1000 }));
    return [...page.delimitedPrefixes, ...page.objects.map((object) => object.key)];
  }

  async openUpload(key: string): Promise<OpenUpload> {
    const upload = await this.#call('create multipart upload', () => this.#bucket.createMultipartUpload(key));
    return { key, upload_id: upload.uploadId };
  }

  /**
   * Sends a part (numbers begin at 1). `bytes` may be used again when the promise has settled, and after a failure when
   * {@link storageCallEnded} has resolved too.
   */
  async putPart(open: OpenUpload, partNumber: number, bytes: Uint8Array): Promise<R2UploadedPart> {
    const upload = this.#bucket.resumeMultipartUpload(open.key, open.upload_id);
    return this.#call('upload part', () => upload.uploadPart(partNumber, bytes));
  }

  /**
   * Makes the parts an object. A try whose answer was lost may have succeeded: then the upload is gone and the object
   * is there with the size that was sent, which counts as done.
   */
  async completeUpload(open: OpenUpload, parts: R2UploadedPart[], sizeBytes: number): Promise<void> {
    const upload = this.#bucket.resumeMultipartUpload(open.key, open.upload_id);
    try {
      await this.#call('complete multipart upload', () => upload.complete(parts));
    } catch (error) {
      if (!isNoSuchUpload(error instanceof Error ? error.cause : null)) throw error;
      if ((await this.size(open.key)) !== sizeBytes) throw error;
    }
  }

  /** Frees the parts. An upload that is gone already is no error. */
  async abortUpload(open: OpenUpload): Promise<void> {
    const upload = this.#bucket.resumeMultipartUpload(open.key, open.upload_id);
    try {
      await this.#call('abort multipart upload', () => upload.abort());
    } catch (error) {
      if (!isNoSuchUpload(error instanceof Error ? error.cause : null)) throw error;
    }
  }

  /** An object that ends before the span begins is an error for R2, and another try would not make it longer. */
  async #get(key: string, options: R2GetOptions): Promise<R2ObjectBody | R2Object | null> {
    try {
      return await this.#bucket.get(key, options);
    } catch (error) {
      throw r2ErrorNumber(error) === RANGE_NOT_SATISFIABLE ? new StoredDataLost('cut', key) : error;
    }
  }

  /** An empty object has no tail for R2, which then answers with an error. */
  async #getTail(key: string, bytes: number): Promise<R2ObjectBody | null> {
    try {
      return await this.#bucket.get(key, { range: { suffix: bytes } });
    } catch (error) {
      if (r2ErrorNumber(error) !== RANGE_NOT_SATISFIABLE) throw error;
      const object = await this.#bucket.get(key);
      if (object && object.size > bytes) {
        await object.body.cancel();
        throw error;
      }
      return object;
    }
  }

  async #call<T>(
    operation: string,
    work: () => Promise<T>,
    policy: RetryPolicy = STORAGE_RETRY,
    discard?: (late: T) => void,
  ): Promise<T> {
    const once = () => withinTime(work(), this.#callMs, `${operation}: the storage did not answer`, discard);
    try {
      return await retry(once, isWorthAnotherTry, policy);
    } catch (error) {
      if (error instanceof StoredDataLost) throw error;
      throw new StorageFailed(operation, error);
    }
  }
}

/** How an object of another size than `bytes` is lost; null: there is none. */
export function lossOf(size: number | null, bytes: number): LossKind {
  if (size === null) return 'missing';
  return size < bytes ? 'cut' : 'changed';
}

/** Resolves when the storage holds nothing of a failed call any more: at once, unless its deadline had passed. */
export function storageCallEnded(failure: unknown): Promise<void> {
  const cause = failure instanceof StorageFailed ? failure.cause : null;
  return cause instanceof TimedOut ? cause.ended : Promise.resolve();
}

function isWorthAnotherTry(error: unknown): boolean {
  return !(error instanceof StoredDataLost) && !(error instanceof TimedOut) && isTransient(error);
}

/** An open body holds one of the request's few connections. */
function cancelBody(object: R2ObjectBody | R2Object | null): void {
  if (object && hasBody(object)) object.body.cancel().catch(() => undefined);
}

const RANGE_NOT_SATISFIABLE = 10039;

/** R2 answers without a body where `onlyIf` was not met. */
function hasBody(object: R2ObjectBody | R2Object): object is R2ObjectBody {
  return 'body' in object && object.body !== undefined;
}

/** Throws where other than `length` bytes came. */
async function wholeOf(object: R2ObjectBody, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(await object.arrayBuffer());
  if (bytes.length !== length) throw new Error(`${object.key}: ${bytes.length} of ${length} bytes came`);
  return bytes;
}
