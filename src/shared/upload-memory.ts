import { release } from './bytes.ts';
import { GrowingBuffer } from './growing-buffer.ts';
import type { IsolateMemory, RestAccount, Share } from './isolate-memory.ts';
import { SMALL_WINDOW_BYTES } from './limits.ts';

/** Storage of one upload for bytes that memory has no room for, by numbers from 0. */
export interface AsideStorage {
  /** `bytes` are valid until the promise settles. */
  put(segment: number, bytes: Uint8Array): Promise<void>;
  /** Resolves with all `bytes` of the segment, whose memory is the caller's to release. */
  read(segment: number, bytes: number): Promise<Uint8Array>;
  remove(segments: readonly number[]): Promise<void>;
}

/**
 * What one upload holds of the isolate: the buffers of unfinished bytes, which count in the ledger as they fill, and the
 * shares it borrows. While the upload is the most idle one above the ledger's limit, its buffers are put aside.
 * Call {@link close} in a `finally`.
 */
export class UploadMemory {
  readonly #memory: IsolateMemory;
  readonly #holder: string;
  readonly #aside: AsideStorage;
  readonly #account: RestAccount;
  readonly #buffers = new Set<UnfinishedBytes>();
  /** Segments in the storage. */
  readonly #stored = new Set<number>();
  #segments = 0;
  /** After a failure nothing more is put aside: the storage has its own retries. */
  #refused = false;

  /** @param holder the upload, for gates that serve uploads in turn */
  constructor(memory: IsolateMemory, holder: string, aside: AsideStorage) {
    this.#memory = memory;
    this.#holder = holder;
    this.#aside = aside;
    this.#account = memory.rest.open(() => this.#putAside());
  }

  /** A buffer for at most `limitBytes`; it is freed by {@link close}. */
  buffer(limitBytes: number): UnfinishedBytes {
    const buffer = new UnfinishedBytes(limitBytes, {
      count: (bytes) => this.#account.add(bytes),
      put: (bytes) => this.#put(bytes),
      read: (segment, bytes) => this.#aside.read(segment, bytes),
      remove: (segments) => this.#remove(segments),
      turn: () => this.#memory.turns.acquire(this.#holder),
    });
    this.#buffers.add(buffer);
    return buffer;
  }

  /** Counts bytes that are held outside of a buffer; with a negative number they are no longer held. */
  count(bytes: number): void {
    this.#account.add(bytes);
  }

  /** Resolves with a share for one part on its way to the storage. */
  flight(): Promise<Share> {
    return this.#memory.flights.acquire(this.#holder);
  }

  /** Resolves with a share for what a decoder holds for one frame; undefined for a frame that holds little. */
  window(bytes: number): Promise<Share> | undefined {
    return bytes < SMALL_WINDOW_BYTES ? undefined : this.#memory.windows.acquire(this.#holder, undefined, bytes);
  }

  /** Resolves once the isolate has room for more bytes of a sender. Throws VaultBusy where it has none for long. */
  room(): Promise<void> | undefined {
    return this.#memory.rest.room();
  }

  /** Frees everything, also what was put aside. Harmless twice. */
  async close(): Promise<void> {
    this.#refused = true;
    this.#account.close();
    for (const buffer of this.#buffers) await buffer.close();
    this.#buffers.clear();
    await this.#remove([...this.#stored]);
  }

  async #putAside(): Promise<void> {
    if (this.#refused) return;
    await Promise.all([...this.#buffers].map((buffer) => buffer.putAside()));
  }

  /** The number of the new segment; null where the storage failed. */
  async #put(bytes: Uint8Array): Promise<number | null> {
    const segment = this.#segments++;
    this.#stored.add(segment);
    try {
      await this.#aside.put(segment, bytes);
      return segment;
    } catch (cause) {
      this.#refused = true;
      console.warn(
        JSON.stringify({ level: 'warn', event: 'put-aside-failed', upload: this.#holder, cause: String(cause) }),
      );
      return null;
    }
  }

  /** What stays behind is removed with the other temporary objects of the upload, or as an orphan. */
  async #remove(segments: readonly number[]): Promise<void> {
    if (segments.length === 0) return;
    try {
      await this.#aside.remove(segments);
      for (const segment of segments) this.#stored.delete(segment);
    } catch (cause) {
      console.warn(JSON.stringify({ level: 'warn', event: 'aside-left', upload: this.#holder, cause: String(cause) }));
    }
  }
}

/** What a buffer needs of its upload. */
interface BufferDeps {
  count(bytes: number): void;
  put(bytes: Uint8Array): Promise<number | null>;
  read(segment: number, bytes: number): Promise<Uint8Array>;
  remove(segments: readonly number[]): Promise<void>;
  turn(): Promise<Share>;
}

interface Segment {
  readonly length: number;
  /** The bytes themselves until they are stored, then their number in the storage. */
  at: Uint8Array | number;
}

/**
 * Bytes that are gathered until there are enough of them for one piece of work: a frame or a part. They are in memory,
 * or in order: first those that were put aside, then those in memory. One caller appends and takes; only
 * {@link putAside} may run meanwhile.
 */
export class UnfinishedBytes {
  readonly #limitBytes: number;
  readonly #deps: BufferDeps;
  readonly #buffer: GrowingBuffer;
  readonly #segments: Segment[] = [];
  #asideBytes = 0;
  #putting: Promise<void> | null = null;
  /** While the bytes are put together they stay where they are. */
  #taking = false;

  constructor(limitBytes: number, deps: BufferDeps) {
    this.#limitBytes = limitBytes;
    this.#deps = deps;
    this.#buffer = new GrowingBuffer(limitBytes);
  }

  get length(): number {
    return this.#asideBytes + this.#buffer.length;
  }

  /** How many bytes fit. */
  get remaining(): number {
    return this.#limitBytes - this.length;
  }

  /** Copies `bytes` behind the others. */
  append(bytes: Uint8Array): void {
    const before = this.#buffer.capacity;
    this.#buffer.append(bytes);
    this.#deps.count(this.#buffer.capacity - before);
  }

  /** Empties the buffer and resolves with all bytes in one piece of memory, which is the caller's to release. */
  take(): Promise<Uint8Array> | Uint8Array {
    if (this.#segments.length > 0) return this.#putTogether();
    this.#deps.count(-this.#buffer.capacity);
    return this.#buffer.take();
  }

  /** Moves the bytes in memory to the storage. Never rejects: what the storage refused stays in memory. */
  async putAside(): Promise<void> {
    if (this.#taking || this.#putting || this.#buffer.length === 0) return;
    const capacity = this.#buffer.capacity;
    const bytes = this.#buffer.take();
    const segment: Segment = { length: bytes.length, at: bytes };
    this.#segments.push(segment);
    this.#asideBytes += bytes.length;
    this.#putting = this.#deps.put(bytes).then((stored) => {
      if (stored === null) return;
      segment.at = stored;
      release(bytes);
      this.#deps.count(-capacity);
    });
    await this.#putting;
    this.#putting = null;
  }

  /** Frees the memory; the upload removes what is in the storage. */
  async close(): Promise<void> {
    this.#taking = true;
    await this.#putting;
    for (const { at } of this.#segments.splice(0)) if (typeof at !== 'number') release(at);
    this.#buffer.clear();
    this.#asideBytes = 0;
  }

  async #putTogether(): Promise<Uint8Array> {
    this.#taking = true;
    await this.#putting;
    const turn = await this.#deps.turn();
    try {
      const whole = new Uint8Array(this.length);
      let filled = 0;
      for (const { length, at } of this.#segments) {
        const inMemory = typeof at !== 'number';
        const bytes = inMemory ? at : await this.#deps.read(at, length);
        whole.set(bytes, filled);
        filled += length;
        if (inMemory) this.#deps.count(-bytes.buffer.byteLength);
        release(bytes);
      }
      whole.set(this.#buffer.bytes, filled);
      this.#deps.count(-this.#buffer.capacity);
      this.#buffer.clear();
      await this.#deps.remove(this.#segments.map(({ at }) => at).filter((at) => typeof at === 'number'));
      this.#segments.length = 0;
      this.#asideBytes = 0;
      return whole;
    } finally {
      turn.release();
      this.#taking = false;
    }
  }
}
