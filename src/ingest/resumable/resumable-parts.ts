import { release } from '../../shared/bytes.ts';
import { VaultError } from '../../shared/errors.ts';
import { GrowingBuffer } from '../../shared/growing-buffer.ts';
import type { Share } from '../../shared/isolate-memory.ts';
import { FLIGHTS_PER_UPLOAD, KEPT_RATHER_BYTES, R2_PART_NUMBERS } from '../../shared/limits.ts';
import { type ObjectStore, type OpenUpload, storageCallEnded, type UploadedPart } from '../../store/object-store.ts';
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
  /** The bytes behind `missing`, until the part is sent. */
  readonly buffer: GrowingBuffer;
  /** All of them, from then on. */
  whole: Uint8Array | null;
  filled: number;
  /** Bytes at its start that are kept in the upload's storage. */
  kept: number;
  /** Those of them that are not in memory. */
  missing: number;
  sent: UploadedPart | null;
}

/** What the parts of one upload borrow of the isolate. */
export interface PartsMemory {
  /** Bytes of memory that are held more, or with a negative number less. */
  count(bytes: number): void;
  /** A share for one part on its way. */
  flight(): Promise<Share>;
}

/**
 * The parts of an object that is written by several requests, one after the other. Parts are equal;
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
  readonly #memory: PartsMemory;
  readonly #partBytes: number;
  /** Bytes of the object that were put here, and those of them that count. */
  #put: number;
  #counted: number;
  #noted: number;
  #resumed = false;
  /** In their order: on their way, and the last one filling. */
  readonly #parts: PartBuffer[] = [];
  /** Those that the storage has, whose buffers are free, and that are not noted yet. */
  readonly #taken: { readonly place: number; readonly sent: UploadedPart }[] = [];
  readonly #inFlight = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | null = null;

  /** @param from where the object stands: its durable bytes, and how many parts of them the storage has */
  constructor(
    objects: ObjectStore,
    store: SessionStore,
    key: string,
    from: { readonly bytes: number; readonly parts: number; readonly partBytes: number },
    checkFence: () => void,
    memory: PartsMemory,
  ) {
    this.#objects = objects;
    this.#store = store;
    this.#key = key;
    this.#put = this.#counted = from.bytes;
    this.#noted = from.parts;
    this.#partBytes = from.partBytes;
    this.#checkFence = checkFence;
    this.#memory = memory;
  }

  /** Bytes of the object that count. */
  get counted(): number {
    return this.#counted;
  }

  /** Whether the storage refused a part. */
  get failed(): boolean {
    return this.#failure !== null;
  }

  /** Puts bytes behind those before; copies them. Waits while as many parts are on their way as may be. */
  async append(bytes: Uint8Array): Promise<void> {
    await this.#resume();
    for (let at = 0; at < bytes.length; ) {
      const part = this.#filling() ?? this.#begin(this.#noted + this.#taken.length + this.#parts.length);
      const taken = bytes.subarray(at, at + this.#partBytes - part.filled);
      const before = part.buffer.capacity;
      part.buffer.append(taken);
      this.#memory.count(part.buffer.capacity - before);
      part.filled += taken.length;
      this.#put += taken.length;
      at += taken.length;
      if (part.filled === this.#partBytes) await this.#send(part);
    }
    this.#checkFailure();
  }

  /** All that was appended counts. */
  count(): void {
    this.#counted = this.#put;
    this.#freeSent();
  }

  /**
   * Within a transaction: notes the parts that the storage has, and keeps what counts of the others. Gives how many parts
   * are noted then. {@link checkpointed} tells that the transaction was done.
   */
  checkpoint(): number {
    const noted = this.#note();
    this.#store.dropBefore('rest', noted * this.#partBytes);
    this.#keep();
    return noted;
  }

  checkpointed(): void {
    this.#noted += this.#taken.length;
    this.#taken.length = 0;
    this.#markKept();
  }

  /** Within a transaction: keeps what counts, so that {@link keptAside} can free its memory. It is not noted. */
  keepAside(): void {
    this.#keep();
  }

  /** After that transaction. */
  keptAside(): void {
    this.#markKept();
    for (const part of this.#parts) {
      if (part.whole || part.kept < part.filled) continue;
      part.missing = part.filled;
      this.#clear(part);
    }
  }

  #keep(): void {
    for (const part of this.#parts) {
      const start = part.place * this.#partBytes;
      const from = Math.max(part.kept, part.missing);
      this.#store.keep('rest', start + from, bytesOf(part, from, Math.max(from, this.#counted - start)));
    }
  }

  #markKept(): void {
    for (const part of this.#parts) {
      part.kept = Math.max(part.kept, Math.min(part.filled, this.#counted - part.place * this.#partBytes));
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
      const flight = await this.#memory.flight();
      try {
        this.#checkFence();
        await this.#objects.put(this.#key, only ? this.#gathered(only) : new Uint8Array());
      } finally {
        flight.release();
      }
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
    for (const part of this.#parts.splice(0)) this.#free(part);
  }

  /** Begins with what was left by an earlier writer: whole parts that the storage refused are sent, the last one fills on. */
  async #resume(): Promise<void> {
    if (this.#resumed) return;
    this.#resumed = true;
    for (let place = this.#noted; place * this.#partBytes < this.#put; place++) {
      const part = this.#begin(place, Math.min(this.#partBytes, this.#put - place * this.#partBytes));
      if (part.filled === this.#partBytes) await this.#send(part);
    }
  }

  /** @param kept bytes at its start that an earlier writer kept; said at once, since a checkpoint may come at any turn */
  #begin(place: number, kept = 0): PartBuffer {
    const buffer = new GrowingBuffer(this.#partBytes);
    const part: PartBuffer = { place, buffer, whole: null, filled: kept, kept, missing: kept, sent: null };
    this.#parts.push(part);
    return part;
  }

  #unkeptOnTheWay(): number {
    let bytes = 0;
    for (const { filled, kept, sent } of this.#parts) if (filled === this.#partBytes && !sent) bytes += filled - kept;
    return bytes;
  }

  #filling(): PartBuffer | null {
    const last = this.#parts.at(-1);
    return last && last.filled < this.#partBytes ? last : null;
  }

  /** Buffers become free in their order, and not before all in them counts: a checkpoint may have to keep the rest. */
  #freeSent(): void {
    for (let [first] = this.#parts; first?.sent; [first] = this.#parts) {
      if (first.place * this.#partBytes + first.filled > this.#counted) return;
      this.#taken.push({ place: first.place, sent: first.sent });
      this.#free(first);
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
    while (this.#inFlight.size >= FLIGHTS_PER_UPLOAD) await Promise.race(this.#inFlight);
    const flight = await this.#memory.flight();
    try {
      this.#checkFence();
      this.#checkFailure();
      const number = this.#store.nextPartNumber;
      if (number > R2_PART_NUMBERS) throw new TooOftenInterrupted();
      this.#store.nextPartNumber = number + 1;
      this.#fly(open, number, part, flight);
    } catch (error) {
      flight.release();
      throw error;
    }
  }

  #fly(open: OpenUpload, number: number, part: PartBuffer, flight: Share): void {
    const sending = this.#objects
      .putPart(open, number, this.#gathered(part))
      .then(
        (sent) => {
          part.sent = sent;
          this.#freeSent();
          flight.release();
        },
        (error: unknown) => {
          this.#failure ??= { error };
          // A call that passed its deadline still holds the bytes.
          void storageCallEnded(error).then(flight.release);
        },
      )
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

  /** All bytes of a part in one piece of memory, which is the part's until it is freed. */
  #gathered(part: PartBuffer): Uint8Array {
    if (part.whole) return part.whole;
    const { missing, filled, buffer } = part;
    if (missing === 0) {
      this.#memory.count(-buffer.capacity);
      part.whole = buffer.take();
      return part.whole;
    }
    const whole = new Uint8Array(filled);
    this.#store.readKept('rest', part.place * this.#partBytes, whole.subarray(0, missing));
    whole.set(buffer.bytes, missing);
    this.#clear(part);
    part.missing = 0;
    part.whole = whole;
    return whole;
  }

  #clear({ buffer }: PartBuffer): void {
    this.#memory.count(-buffer.capacity);
    buffer.clear();
  }

  #free(part: PartBuffer): void {
    this.#clear(part);
    if (part.whole) release(part.whole);
  }

  #checkFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }
}

/** Bytes of a part that are in memory. */
function bytesOf({ buffer, whole, missing }: PartBuffer, from: number, to: number): Uint8Array {
  return whole ? whole.subarray(from, to) : buffer.bytes.subarray(from - missing, to - missing);
}
