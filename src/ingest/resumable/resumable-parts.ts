import { release } from '../../shared/bytes.ts';
import { VaultError } from '../../shared/errors.ts';
import { KEPT_RATHER_BYTES, PART_BYTES, PARTS_IN_FLIGHT, R2_PART_NUMBERS } from '../../shared/limits.ts';
import type { ObjectStore, OpenUpload, UploadedPart } from '../../store/object-store.ts';
import type { SessionStore } from './session-store.ts';

export class TooOftenInterrupted extends VaultError {
  constructor() {
    super('upload-failed', 'The upload was interrupted more often than its storage can take. Send the file anew.');
  }
}

/** A part that fills, or is on its way. Offsets count from its start. */
interface PartBuffer {
  /** Its place in the object, counted from 0. */
  readonly place: number;
  readonly bytes: Uint8Array;
  filled: number;
  /** Bytes at its start that are kept in the session's storage. */
  kept: number;
  /** Those of them that an earlier writer kept, and that are not in `bytes` yet. */
  missing: number;
  sent: UploadedPart | null;
}

/**
 * The parts of an object that is written by several requests, one after the other. Parts are equal ({@link PART_BYTES});
 * the beginning of one that is not full is kept in the session's storage, and is brought back when the part is sent.
 *
 * What is appended *counts* once {@link count} is called: a checkpoint then holds all of a frame or nothing of it.
 *
 * A part that was on its way when its writer was left, or died, may still arrive. So no number is given to a second part:
 * the next writer sends the bytes again under a higher one, and the object is made of the parts that were noted (R2 takes
 * numbers with gaps, in their order).
 */
export class ResumableParts {
  readonly #objects: ObjectStore;
  readonly #store: SessionStore;
  readonly #key: string;
  /** Throws where this writer may write no more. */
  readonly #checkFence: () => void;
  /** Bytes of the object that were put here, and those of them that count. */
  #put: number;
  #counted: number;
  #noted: number;
  #resumed = false;
  /** In their order: on their way, and the last one filling. */
  readonly #parts: PartBuffer[] = [];
  /** Those that the storage has, whose buffers are free, and that are not noted yet. */
  readonly #taken: { readonly place: number; readonly sent: UploadedPart }[] = [];
  readonly #free: Uint8Array[] = [];
  readonly #inFlight = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | null = null;

  /** @param from where the object stands: its durable bytes, and how many parts of them the storage has */
  constructor(
    objects: ObjectStore,
    store: SessionStore,
    key: string,
    from: { readonly bytes: number; readonly parts: number },
    checkFence: () => void,
  ) {
    this.#objects = objects;
    this.#store = store;
    this.#key = key;
    this.#put = this.#counted = from.bytes;
    this.#noted = from.parts;
    this.#checkFence = checkFence;
  }

  /** Bytes of the object that count. */
  get counted(): number {
    return this.#counted;
  }

  /** Whether the storage refused a part. */
  get failed(): boolean {
    return this.#failure !== null;
  }

  /** Puts bytes behind those before; copies them. Waits while all buffers are on their way. */
  async append(bytes: Uint8Array): Promise<void> {
    await this.#resume();
    for (let at = 0; at < bytes.length; ) {
      const part = this.#filling() ?? (await this.#begin(this.#noted + this.#taken.length + this.#parts.length));
      const taken = Math.min(PART_BYTES - part.filled, bytes.length - at);
      part.bytes.set(bytes.subarray(at, at + taken), part.filled);
      part.filled += taken;
      this.#put += taken;
      at += taken;
      if (part.filled === PART_BYTES) await this.#send(part);
    }
    this.#checkFailure();
  }

  /** All that was appended counts. */
  count(): void {
    this.#counted = this.#put;
  }

  /**
   * Within a transaction: notes the parts that the storage has, and keeps what counts of the others. Gives how many parts
   * are noted then. {@link checkpointed} tells that the transaction was done.
   */
  checkpoint(): number {
    const noted = this.#note();
    this.#store.dropBefore('rest', noted * PART_BYTES);
    for (const { place, bytes, kept, missing } of this.#parts) {
      const start = place * PART_BYTES;
      const from = Math.max(kept, missing);
      this.#store.keep('rest', start + from, bytes.subarray(from, Math.max(from, this.#counted - start)));
    }
    return noted;
  }

  checkpointed(): void {
    this.#noted += this.#taken.length;
    this.#taken.length = 0;
    for (const part of this.#parts) {
      part.kept = Math.max(part.kept, Math.min(part.filled, this.#counted - part.place * PART_BYTES));
    }
  }

  /** Waits until a checkpoint would have to keep but little of what is on its way. */
  async settleMost(): Promise<void> {
    while (this.#inFlight.size > 0 && this.#unkeptOnTheWay() > KEPT_RATHER_BYTES) await Promise.race(this.#inFlight);
  }

  /** Waits for what is on its way. What failed of it stays here, to be kept by a checkpoint. */
  async settle(): Promise<void> {
    await Promise.all(this.#inFlight);
  }

  /**
   * After the last byte: sends what is left, or puts the object at once where it fits into one part. Gives the multipart
   * upload that is to be completed, whose parts are noted by {@link note}; null where the object is there.
   */
  async finish(): Promise<OpenUpload | null> {
    await this.#resume();
    const [only] = this.#parts;
    if (this.#store.open === null) {
      if (only) this.#bringBack(only);
      this.#checkFence();
      await this.#objects.put(this.#key, only ? only.bytes.subarray(0, only.filled) : new Uint8Array());
      return null;
    }
    const last = this.#filling();
    if (last) await this.#send(last);
    await this.settle();
    this.#checkFailure();
    return this.#store.open;
  }

  /** Within a transaction: notes the parts that the storage has. */
  note(): void {
    this.#note();
  }

  /** Gives all buffers back once nothing is on its way any more. */
  async close(): Promise<void> {
    await this.settle();
    for (const { bytes } of this.#parts.splice(0)) release(bytes);
    for (const bytes of this.#free.splice(0)) release(bytes);
  }

  /** Begins with what was left by an earlier writer: whole parts that the storage refused are sent, the last one fills on. */
  async #resume(): Promise<void> {
    if (this.#resumed) return;
    this.#resumed = true;
    for (let place = this.#noted; place * PART_BYTES < this.#put; place++) {
      const part = await this.#begin(place, Math.min(PART_BYTES, this.#put - place * PART_BYTES));
      if (part.filled === PART_BYTES) await this.#send(part);
    }
  }

  /** @param kept bytes at its start that an earlier writer kept; said at once, since a checkpoint may come at any turn */
  async #begin(place: number, kept = 0): Promise<PartBuffer> {
    const part = { place, bytes: await this.#buffer(), filled: kept, kept, missing: kept, sent: null };
    this.#parts.push(part);
    return part;
  }

  #unkeptOnTheWay(): number {
    let bytes = 0;
    for (const { filled, kept, sent } of this.#parts) if (filled === PART_BYTES && !sent) bytes += filled - kept;
    return bytes;
  }

  #filling(): PartBuffer | null {
    const last = this.#parts.at(-1);
    return last && last.filled < PART_BYTES ? last : null;
  }

  async #buffer(): Promise<Uint8Array> {
    for (;;) {
      this.#checkFence();
      this.#checkFailure();
      this.#freeSent();
      const bytes = this.#free.pop();
      if (bytes) return bytes;
      if (this.#parts.length <= PARTS_IN_FLIGHT) return new Uint8Array(PART_BYTES);
      await Promise.race(this.#inFlight);
    }
  }

  /** Buffers become free in their order, and not before all in them counts: a checkpoint may have to keep the rest. */
  #freeSent(): void {
    for (let [first] = this.#parts; first?.sent; [first] = this.#parts) {
      if (first.place * PART_BYTES + first.filled > this.#counted) return;
      this.#taken.push({ place: first.place, sent: first.sent });
      this.#free.push(first.bytes);
      this.#parts.shift();
    }
  }

  #note(): number {
    this.#freeSent();
    for (const { place, sent } of this.#taken) this.#store.addPart(place, sent);
    return this.#noted + this.#taken.length;
  }

  async #send(part: PartBuffer): Promise<void> {
    const open = this.#store.open ?? (await this.#open());
    this.#checkFence();
    this.#bringBack(part);
    const number = this.#store.nextPartNumber;
    if (number > R2_PART_NUMBERS) throw new TooOftenInterrupted();
    this.#store.nextPartNumber = number + 1;
    const sending = this.#objects
      .putPart(open, number, part.bytes.subarray(0, part.filled))
      .then((sent) => {
        part.sent = sent;
      })
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#inFlight.delete(sending));
    this.#inFlight.add(sending);
  }

  /** Opens the multipart upload; who may write no more meanwhile aborts it, since nobody else will know of it. */
  async #open(): Promise<OpenUpload> {
    this.#checkFence();
    const open = await this.#objects.openUpload(this.#key);
    try {
      this.#checkFence();
    } catch (error) {
      await this.#objects.abortUpload(open).catch(() => undefined);
      throw error;
    }
    this.#store.open = open;
    return open;
  }

  #bringBack(part: PartBuffer): void {
    if (part.missing === 0) return;
    this.#store.readKept('rest', part.place * PART_BYTES, part.bytes.subarray(0, part.missing));
    part.missing = 0;
  }

  #checkFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }
}
