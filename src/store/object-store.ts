import { retry } from '../shared/retry.ts';
import type { ByteSpan } from '../shared/seek-points.ts';
import type { ByteStream } from '../shared/streams.ts';
import { isNoSuchUpload, isTransient, StorageFailed } from './r2-errors.ts';

/** A multipart upload under way: what is needed to go on with it, or to abort it later. */
export interface OpenUpload {
  readonly key: string;
  readonly upload_id: string;
}

/**
 * The bucket as the vault uses it: every call is retried where that is safe, and fails as {@link StorageFailed}.
 * Bodies are always buffers: a stream cannot be sent a second time.
 */
export class ObjectStore {
  readonly #bucket: R2Bucket;

  constructor(bucket: R2Bucket) {
    this.#bucket = bucket;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#call('put', () => this.#bucket.put(key, bytes));
  }

  /** The object's bytes, or a span of them; null where there is no such object. Read the body or cancel it. */
  async read(key: string, span?: ByteSpan): Promise<ByteStream | null> {
    const object = await this.#call('get', () => this.#bucket.get(key, span ? { range: span } : undefined));
    return object?.body ?? null;
  }

  /** A small object whole, as JSON. Null where there is none. */
  async readJson(key: string): Promise<unknown> {
    const object = await this.#call('get', () => this.#bucket.get(key));
    return object ? object.json() : null;
  }

  /** The object's size in bytes, or null where there is none. */
  async size(key: string): Promise<number | null> {
    const head = await this.#call('head', () => this.#bucket.head(key));
    return head?.size ?? null;
  }

  /** Removes objects; those that are not there are no error. */
  async remove(keys: string[]): Promise<void> {
    await this.#call('delete', () => this.#bucket.delete(keys));
  }

  /** A page of keys in their order. */
  async list(cursor: string | undefined): Promise<{ keys: string[]; cursor: string | undefined }> {
    const page = await this.#call('list', () => this.#bucket.list({ cursor, limit: 1000 }));
    return { keys: page.objects.map((object) => object.key), cursor: page.truncated ? page.cursor : undefined };
  }

  async openUpload(key: string): Promise<OpenUpload> {
    const upload = await this.#call('create multipart upload', () => this.#bucket.createMultipartUpload(key));
    return { key, upload_id: upload.uploadId };
  }

  /** Sends a part (numbers begin at 1). `bytes` may be used again when the promise has settled. */
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

  async #call<T>(operation: string, work: () => Promise<T>): Promise<T> {
    try {
      return await retry(work, isTransient);
    } catch (error) {
      throw new StorageFailed(operation, error);
    }
  }
}
