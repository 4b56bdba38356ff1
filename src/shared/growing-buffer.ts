import { KIB, MIB } from './limits.ts';

const FIRST_BYTES = 64 * KIB;
/** From here on the buffer grows by this much at a time, so that it is at most this much larger than its content. */
const STEP_BYTES = MIB;

/** Bytes that are appended to one buffer, which is never much larger than what came. */
export class GrowingBuffer {
  readonly #limitBytes: number;
  #buffer = new ArrayBuffer(0);
  #length = 0;

  /** @param limitBytes the most that it will hold */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get length(): number {
    return this.#length;
  }

  /** How many bytes fit. */
  get remaining(): number {
    return this.#limitBytes - this.#length;
  }

  /** Bytes of memory that it holds. */
  get capacity(): number {
    return this.#buffer.byteLength;
  }

  /** A view of the content, valid until the next call that changes it. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.#buffer, 0, this.#length);
  }

  /** Copies `bytes` behind the content. Throws a RangeError over the limit. */
  append(bytes: Uint8Array): void {
    const end = this.#length + bytes.length;
    if (end > this.#limitBytes) throw new RangeError(`${end} bytes do not fit into ${this.#limitBytes}`);
    if (end > this.capacity) this.#buffer = this.#buffer.transfer(this.#capacityFor(end));
    new Uint8Array(this.#buffer).set(bytes, this.#length);
    this.#length = end;
  }

  /** Empties the buffer and returns its content, whose memory is the caller's to release. */
  take(): Uint8Array {
    const taken = this.bytes;
    this.#buffer = new ArrayBuffer(0);
    this.#length = 0;
    return taken;
  }

  /** Empties the buffer and frees its memory. */
  clear(): void {
    this.#buffer.transfer(0);
    this.#buffer = new ArrayBuffer(0);
    this.#length = 0;
  }

  #capacityFor(bytes: number): number {
    let capacity = Math.max(this.capacity, FIRST_BYTES);
    while (capacity < bytes) capacity = Math.min(2 * capacity, capacity + STEP_BYTES);
    return Math.min(capacity, this.#limitBytes);
  }
}
