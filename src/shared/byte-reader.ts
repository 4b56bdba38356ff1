import { release } from './bytes.ts';
import type { Pieces } from './streams.ts';

/**
 * The one pull reader that every parser stands on: it holds as much as a parser asks to see at once and no more than
 * a piece beyond that.
 *
 * Where nothing is held, a piece of the source is looked at where it lies, so that to step over content costs no copy.
 * It is the reader's only until the next pull; what is left of it then moves into a buffer of the reader's own.
 */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #capacity: number;
  /** The reader's own memory, made when first needed. */
  #own: Uint8Array = new Uint8Array();
  /** What is read from: {@link #own}, or a piece of the source. */
  #view: Uint8Array = this.#own;
  #start = 0;
  #end = 0;
  #ended = false;
  #position = 0;

  /** `capacity`: bytes of the own buffer to begin with; it grows to at most one and a half times what {@link fill} is asked for plus a piece. */
  constructor(source: Pieces, capacity = 64 * 1024) {
    this.#source = source[Symbol.asyncIterator]();
    this.#capacity = capacity;
  }

  /** Bytes consumed so far: the offset of the next one. */
  get position(): number {
    return this.#position;
  }

  /** How many bytes are held and not consumed. */
  get held(): number {
    return this.#end - this.#start;
  }

  /** What is held and not consumed. Valid until the next fill(), more() or skip(). */
  get buffered(): Uint8Array {
    return this.#view.subarray(this.#start, this.#end);
  }

  /** Reads until at least `bytes` are buffered or the source has ended; gives all that is buffered. */
  async fill(bytes: number): Promise<Uint8Array> {
    while (this.held < bytes && !this.#ended) await this.#pull(bytes);
    return this.buffered;
  }

  /** Reads one more piece. False at the end of the source. */
  async more(): Promise<boolean> {
    if (this.#ended) return false;
    const before = this.held;
    while (!this.#ended && this.held === before) await this.#pull(before + 1);
    return this.held > before;
  }

  /** Steps over `count` buffered bytes. */
  consume(count: number): void {
    if (count > this.held) throw new RangeError('consume() past what is buffered');
    this.#start += count;
    this.#position += count;
  }

  /** Steps over `count` bytes, reading as needed. False where the source ended before. */
  async skip(count: number): Promise<boolean> {
    let left = count;
    while (left > 0) {
      if (this.held === 0 && !(await this.more())) return false;
      const step = Math.min(left, this.held);
      this.consume(step);
      left -= step;
    }
    return true;
  }

  /** Leaves the source: it is cancelled. To be called in the parser's `finally`. */
  async close(): Promise<void> {
    this.#ended = true;
    release(this.#own);
    this.#own = this.#view = new Uint8Array();
    this.#start = this.#end = 0;
    await this.#source.return?.();
  }

  async #pull(wanted: number): Promise<void> {
    this.#keep(wanted);
    const { done, value } = await this.#source.next();
    if (done) {
      this.#ended = true;
    } else if (this.held === 0) {
      this.#look(value, 0, value.length);
    } else {
      this.#reserve(value.length, wanted);
      this.#own.set(value, this.#end);
      this.#end += value.length;
    }
  }

  /** Moves what is left of a piece into the own buffer, with room for the next one, which is as long most times. */
  #keep(wanted: number): void {
    if (this.#view === this.#own) return;
    const rest = this.buffered;
    const bytes = rest.length === 0 ? 0 : Math.max(rest.length + this.#view.length, wanted);
    if (bytes > this.#own.length) this.#replace(Math.max(bytes, this.#capacity));
    this.#own.set(rest);
    this.#look(this.#own, 0, rest.length);
  }

  /** Makes room for `count` more bytes: by moving to the front, or by growing. */
  #reserve(count: number, wanted: number): void {
    if (this.#end + count <= this.#own.length) return;
    const { held } = this;
    if (held + count <= this.#own.length) {
      this.#own.copyWithin(0, this.#start, this.#end);
    } else {
      // By half at least: a parser that asks for a little more each time would else copy all it holds every time.
      const before = this.buffered;
      const grown = new Uint8Array(Math.max(held + count, wanted, held + (held >> 1)));
      grown.set(before);
      release(this.#own);
      this.#own = grown;
    }
    this.#look(this.#own, 0, held);
  }

  #replace(bytes: number): void {
    release(this.#own);
    this.#own = new Uint8Array(bytes);
  }

  #look(view: Uint8Array, start: number, end: number): void {
    this.#view = view;
    this.#start = start;
    this.#end = end;
  }
}
