import { release } from './bytes.ts';
import type { Pieces } from './streams.ts';

/**
 * The one pull reader that every parser stands on: it holds as much as a parser asks to see at once and no more than
 * a piece beyond that.
 */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #buffer: Uint8Array;
  #start = 0;
  #end = 0;
  #ended = false;
  #position = 0;

  /** `capacity`: bytes to begin with; the buffer grows to at most one and a half times what {@link fill} is asked for plus a piece. */
  constructor(source: Pieces, capacity = 64 * 1024) {
    this.#source = source[Symbol.asyncIterator]();
    this.#buffer = new Uint8Array(capacity);
  }

  /** Bytes consumed so far: the offset of the next one. */
  get position(): number {
    return this.#position;
  }

  /** What is held and not consumed. Valid until the next fill() or consume(). */
  get buffered(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /** Reads until at least `bytes` are buffered or the source has ended; gives all that is buffered. */
  async fill(bytes: number): Promise<Uint8Array> {
    while (this.#end - this.#start < bytes && !this.#ended) await this.#pull(bytes);
    return this.buffered;
  }

  /** Reads one more piece. False at the end of the source. */
  async more(): Promise<boolean> {
    if (this.#ended) return false;
    const before = this.#end - this.#start;
    while (!this.#ended && this.#end - this.#start === before) await this.#pull(before + 1);
    return this.#end - this.#start > before;
  }

  /** Steps over `count` buffered bytes. */
  consume(count: number): void {
    if (count > this.#end - this.#start) throw new RangeError('consume() past what is buffered');
    this.#start += count;
    this.#position += count;
  }

  /** Steps over `count` bytes, reading as needed. False where the source ended before. */
  async skip(count: number): Promise<boolean> {
    let left = count;
    while (left > 0) {
      const held = await this.fill(1);
      if (held.length === 0) return false;
      const step = Math.min(left, held.length);
      this.consume(step);
      left -= step;
    }
    return true;
  }

  /** Leaves the source: it is cancelled. To be called in the parser's `finally`. */
  async close(): Promise<void> {
    this.#ended = true;
    release(this.#buffer);
    this.#buffer = new Uint8Array();
    this.#start = this.#end = 0;
    await this.#source.return?.();
  }

  async #pull(wanted: number): Promise<void> {
    const { done, value } = await this.#source.next();
    if (done) {
      this.#ended = true;
      return;
    }
    this.#reserve(value.length, wanted);
    this.#buffer.set(value, this.#end);
    this.#end += value.length;
  }

  /** Makes room for `count` more bytes: by moving to the front, or by growing. */
  #reserve(count: number, wanted: number): void {
    if (this.#end + count <= this.#buffer.length) return;
    const held = this.#end - this.#start;
    if (held + count <= this.#buffer.length) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
    } else {
      // By half at least: a parser that asks for a little more each time would else copy all it holds every time.
      const grown = new Uint8Array(Math.max(held + count, wanted, held + (held >> 1)));
      grown.set(this.buffered);
      release(this.#buffer);
      this.#buffer = grown;
    }
    this.#start = 0;
    this.#end = held;
  }
}
