import { release } from '../shared/bytes.ts';
import type { Share } from '../shared/isolate-memory.ts';
import { FLIGHTS_PER_UPLOAD } from '../shared/limits.ts';
import type { UnfinishedBytes, UploadMemory } from '../shared/upload-memory.ts';
import { type ObjectStore, type OpenUpload, storageCallEnded } from './object-store.ts';

/**
 * Writes one object of unknown length: a single put where it fits into one part, else a multipart upload of equal parts.
 * It holds what came of the part that fills; a full part waits for a flight (see IsolateMemory) and is held until the
 * storage has it.
 *
 * `write` copies; it waits while the parts before are on their way. End with `close`, or with `abort`, which leaves
 * nothing. The memory is the caller's to close.
 */
export class ObjectWriter {
  readonly #store: ObjectStore;
  readonly #memory: UploadMemory;
  readonly #key: string;
  readonly #partBytes: number;
  /** Called with the upload's name before its first part is sent, so that what dies can be aborted. */
  readonly #beforeFirstPart: (open: OpenUpload) => Promise<void>;
  readonly #inFlight = new Set<Promise<void>>();
  readonly #parts: R2UploadedPart[] = [];
  readonly #part: UnfinishedBytes;
  #sent = 0;
  #open: OpenUpload | null = null;
  #failure: { readonly error: unknown } | null = null;

  constructor(
    store: ObjectStore,
    memory: UploadMemory,
    key: string,
    partBytes: number,
    beforeFirstPart: (open: OpenUpload) => Promise<void>,
  ) {
    this.#store = store;
    this.#memory = memory;
    this.#key = key;
    this.#partBytes = partBytes;
    this.#beforeFirstPart = beforeFirstPart;
    this.#part = memory.buffer(partBytes);
  }

  /** Bytes taken so far. */
  get bytesWritten(): number {
    return this.#sent + this.#part.length;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#part.remaining === 0) await this.#send();
      const taken = bytes.subarray(at, at + this.#part.remaining);
      this.#part.append(taken);
      at += taken.length;
    }
    if (this.#failure) throw this.#failure.error;
  }

  /** Resolves when the object is there, whole. */
  async close(): Promise<void> {
    if (!this.#open && this.#sent === 0) {
      const flight = await this.#memory.flight();
      try {
        const bytes = await this.#part.take();
        this.#sent = bytes.length;
        await this.#store.put(this.#key, bytes);
        release(bytes);
      } finally {
        flight.release();
      }
      return;
    }
    if (this.#part.length > 0) await this.#send();
    await Promise.all(this.#inFlight);
    if (this.#failure) throw this.#failure.error;
    const open = this.#open;
    if (!open) throw new Error('parts without an upload');
    this.#parts.sort((a, b) => a.partNumber - b.partNumber);
    await this.#store.completeUpload(open, this.#parts, this.#sent);
  }

  /** Waits for what is on its way, then removes all of it. Rejects where the storage cannot be reached. */
  async abort(): Promise<void> {
    await Promise.all(this.#inFlight);
    if (this.#open) await this.#store.abortUpload(this.#open);
  }

  /** Sends the part that fills, and empties it. While it waits for its flight it can be put aside. */
  async #send(): Promise<void> {
    if (!this.#open) {
      this.#open = await this.#store.openUpload(this.#key);
      await this.#beforeFirstPart(this.#open);
    }
    const open = this.#open;
    while (this.#inFlight.size >= FLIGHTS_PER_UPLOAD) await Promise.race(this.#inFlight);
    if (this.#failure) throw this.#failure.error;
    const flight = await this.#memory.flight();
    try {
      const bytes = await this.#part.take();
      const number = Math.ceil(this.#sent / this.#partBytes) + 1;
      this.#sent += bytes.length;
      this.#fly(open, number, bytes, flight);
    } catch (error) {
      flight.release();
      throw error;
    }
  }

  #fly(open: OpenUpload, number: number, bytes: Uint8Array, flight: Share): void {
    const landed = () => {
      release(bytes);
      flight.release();
    };
    const sending = this.#store
      .putPart(open, number, bytes)
      .then(
        (part) => {
          this.#parts.push(part);
          landed();
        },
        (error: unknown) => {
          this.#failure ??= { error };
          // A call that passed its deadline still holds the bytes.
          void storageCallEnded(error).then(landed);
        },
      )
      .finally(() => this.#inFlight.delete(sending));
    this.#inFlight.add(sending);
  }
}
