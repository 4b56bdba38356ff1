import { release } from '../shared/bytes.ts';
import { PARTS_IN_FLIGHT } from '../shared/limits.ts';
import type { ObjectStore, OpenUpload } from './object-store.ts';

/**
 * Writes one object of unknown length in constant memory: a single put where it fits into one part, else a multipart
 * upload of equal parts, of which {@link PARTS_IN_FLIGHT} are on their way while the next one fills. The part buffers
 * are made once and used again.
 *
 * `write` copies; it waits while all buffers are busy. End with `close`, or with `abort`, which leaves nothing.
 */
export class ObjectWriter {
  readonly #store: ObjectStore;
  readonly #key: string;
  readonly #partBytes: number;
  /** Called with the upload's name before its first part is sent, so that somebody can abort what dies. */
  readonly #beforeFirstPart: (open: OpenUpload) => Promise<void>;
  readonly #free: Uint8Array[] = [];
  readonly #inFlight = new Set<Promise<void>>();
  readonly #parts: R2UploadedPart[] = [];
  #buffers = 0;
  /** Made by the first write: a writer may wait long for its turn, and holds nothing meanwhile. */
  #part: Uint8Array = new Uint8Array();
  #filled = 0;
  #sent = 0;
  #open: OpenUpload | null = null;
  #failure: { readonly error: unknown } | null = null;

  constructor(
    store: ObjectStore,
    key: string,
    partBytes: number,
    beforeFirstPart: (open: OpenUpload) => Promise<void>,
  ) {
    this.#store = store;
    this.#key = key;
    this.#partBytes = partBytes;
    this.#beforeFirstPart = beforeFirstPart;
  }

  /** Bytes taken so far. */
  get bytesWritten(): number {
    return this.#sent + this.#filled;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#buffers === 0) this.#part = this.#newBuffer();
    for (let at = 0; at < bytes.length; ) {
      if (this.#filled === this.#partBytes) await this.#send();
      const taken = Math.min(this.#partBytes - this.#filled, bytes.length - at);
      this.#part.set(bytes.subarray(at, at + taken), this.#filled);
      this.#filled += taken;
      at += taken;
    }
    if (this.#failure) throw this.#failure.error;
  }

  /** Resolves when the object is there, whole. */
  async close(): Promise<void> {
    if (!this.#open && this.#sent === 0) {
      await this.#store.put(this.#key, this.#part.subarray(0, this.#filled));
      this.#freeBuffers();
      return;
    }
    if (this.#filled > 0) await this.#send();
    await Promise.all(this.#inFlight);
    if (this.#failure) throw this.#failure.error;
    const open = this.#open;
    if (!open) throw new Error('parts without an upload');
    this.#parts.sort((a, b) => a.partNumber - b.partNumber);
    this.#freeBuffers();
    await this.#store.completeUpload(open, this.#parts, this.#sent);
  }

  /** Waits for what is on its way, then removes all of it. Rejects where the storage cannot be reached. */
  async abort(): Promise<void> {
    await Promise.all(this.#inFlight);
    this.#freeBuffers();
    if (this.#open) await this.#store.abortUpload(this.#open);
  }

  async #send(): Promise<void> {
    if (!this.#open) {
      this.#open = await this.#store.openUpload(this.#key);
      await this.#beforeFirstPart(this.#open);
    }
    const open = this.#open;
    const buffer = this.#part;
    const number = Math.ceil(this.#sent / this.#partBytes) + 1;
    this.#sent += this.#filled;
    const sending = this.#store
      .putPart(open, number, buffer.subarray(0, this.#filled))
      .then((part) => void this.#parts.push(part))
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#free.push(buffer);
        this.#inFlight.delete(sending);
      });
    this.#inFlight.add(sending);
    this.#filled = 0;
    this.#part = await this.#nextBuffer();
    if (this.#failure) throw this.#failure.error;
  }

  async #nextBuffer(): Promise<Uint8Array> {
    if (this.#free.length === 0 && this.#buffers <= PARTS_IN_FLIGHT) return this.#newBuffer();
    while (this.#free.length === 0) await Promise.race(this.#inFlight);
    return this.#free.pop() ?? this.#newBuffer();
  }

  #freeBuffers(): void {
    release(this.#part);
    for (const buffer of this.#free.splice(0)) release(buffer);
  }

  #newBuffer(): Uint8Array {
    this.#buffers += 1;
    return new Uint8Array(this.#partBytes);
  }
}
