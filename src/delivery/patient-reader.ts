/**
 * Content for a client that may take it slowly, from a source that can be opened anew at any offset.
 *
 * A decoded frame is 4 MiB, and a reader on a slow line takes it in half a minute. Held for so long, two dozen of them
 * fill the isolate. What was decoded can be decoded again, so it is held only while the client takes it:
 *
 * - A fast reader keeps one open source, and a turn for each frame.
 * - A chunk that is pending for {@link READER_SLOW_MS} shows a slow one: the frame is dropped but for a copy of its next
 *   {@link READER_KEPT_BYTES}, the source is closed and the turn released. It is next opened for so many bytes only.
 * - After {@link READER_STOPPED_MS} the copy is dropped as well: a reader that stopped holds one chunk.
 *
 * The figures behind these numbers are in docs/decisions/0017-fair-memory.md.
 */
import { release } from '../shared/bytes.ts';
import type { Share } from '../shared/isolate-memory.ts';
import {
  FRAME_BYTES,
  READER_CHUNK_BYTES,
  READER_KEPT_BYTES,
  READER_SLOW_MS,
  READER_STOPPED_MS,
  TURN_PATIENCE_MS,
} from '../shared/limits.ts';
import type { ByteSpan, ReadSpan } from '../shared/seek-points.ts';

export interface PatientReaderOptions {
  /** Resolves with a turn to read and decode a frame. It is released when the frame is taken or dropped. */
  readonly turn: () => Promise<Share>;
  /** Shorter times, for tests. */
  readonly slowMs?: number;
  readonly stoppedMs?: number;
}

/**
 * `read` for a consumer that may be slow. Yields the same bytes in chunks of {@link READER_CHUNK_BYTES} or fewer, each in
 * a buffer that is used again with the next pull. `read` is called again, from where the consumer stands, after each
 * drop; leaving early closes what is open. Errors of `read` and of `turn` are thrown as they are.
 */
export function patientReader(read: ReadSpan, options: PatientReaderOptions): ReadSpan {
  return (span) => (span.length === 0 ? read(span) : new PatientRead(read, span, options).chunks());
}

class PatientRead {
  readonly #read: ReadSpan;
  readonly #turnOf: () => Promise<Share>;
  readonly #slowMs: number;
  readonly #stoppedMs: number;
  readonly #end: number;
  /** Offset of the first byte that was not handed out. */
  #at: number;
  #source: AsyncIterator<Uint8Array> | null = null;
  /** What closing sources still do; they hold memory until it is done. */
  #closing: Promise<unknown> = Promise.resolve();
  #turn: Share | null = null;
  /** What is decoded and not handed out: a view of the source's frame, or a copy of ours. */
  #decoded: Uint8Array = new Uint8Array();
  /** Bytes that the reader must take without a wait to count as fast again; 0 while it does. */
  #probation = 0;

  constructor(read: ReadSpan, { offset, length }: ByteSpan, options: PatientReaderOptions) {
    this.#read = read;
    this.#turnOf = options.turn;
    this.#slowMs = options.slowMs ?? READER_SLOW_MS;
    this.#stoppedMs = options.stoppedMs ?? READER_STOPPED_MS;
    this.#at = offset;
    this.#end = offset + length;
  }

  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    const buffer = new Uint8Array(Math.min(READER_CHUNK_BYTES, this.#end - this.#at));
    try {
      while (this.#at < this.#end) {
        await this.#decode();
        while (this.#decoded.length > 0) {
          const chunk = buffer.subarray(0, this.#decoded.length);
          chunk.set(this.#decoded.subarray(0, chunk.length));
          this.#decoded = this.#decoded.subarray(chunk.length);
          this.#at += chunk.length;
          this.#probation = Math.max(0, this.#probation - chunk.length);
          const slow = setTimeout(() => this.#slowDown(), this.#slowMs);
          const stopped = setTimeout(() => this.#forget(), this.#stoppedMs);
          try {
            yield chunk;
          } finally {
            clearTimeout(slow);
            clearTimeout(stopped);
          }
        }
        this.#forget();
        if (this.#at === this.#end) await this.#finish();
        this.#releaseTurn();
      }
    } finally {
      this.#close();
      this.#releaseTurn();
      release(buffer);
      await this.#closing;
    }
  }

  /** Fills {@link #decoded} with the source's next bytes, under a turn. */
  async #decode(): Promise<void> {
    this.#turn = await this.#nextTurn();
    await this.#closing;
    const left = this.#end - this.#at;
    if (this.#probation > 0) {
      const length = Math.min(left, READER_KEPT_BYTES);
      this.#source = this.#read({ offset: this.#at, length })[Symbol.asyncIterator]();
      await this.#keepSome(length);
      return;
    }
    this.#source ??= this.#read({ offset: this.#at, length: left })[Symbol.asyncIterator]();
    this.#decoded = (await this.#next()).subarray(0, left);
  }

  /** Copies a part of the source that is worth its decoding, and closes it. */
  async #keepSome(atMost: number): Promise<void> {
    const kept = new Uint8Array(atMost);
    let filled = 0;
    while (filled < atMost && filled < READER_KEPT_BYTES / 2) {
      const piece = (await this.#next()).subarray(0, atMost - filled);
      kept.set(piece, filled);
      filled += piece.length;
    }
    this.#decoded = kept.subarray(0, filled);
    this.#close();
    this.#releaseTurn();
  }

  async #next(): Promise<Uint8Array> {
    const next = await this.#source?.next();
    if (!next || next.done) throw new Error(`the content ended ${this.#end - this.#at} bytes early`);
    return next.value;
  }

  /** Behind the last byte wait checksums, and in a broken file what should not be there. */
  async #finish(): Promise<void> {
    const after = await this.#source?.next();
    if (after && !after.done) throw new Error('there is more content than was asked for');
  }

  /** An open source holds what it has read: it is closed unless the turn comes at once. */
  async #nextTurn(): Promise<Share> {
    const patience = setTimeout(() => this.#close(), TURN_PATIENCE_MS);
    try {
      return await this.#turnOf();
    } finally {
      clearTimeout(patience);
    }
  }

  /** Keeps a copy of some of the frame, and gives back all the rest. */
  #slowDown(): void {
    this.#probation = FRAME_BYTES;
    if (!this.#source) return;
    // Buffers of node:zlib make a view of slice(), which the released frame would take along.
    this.#decoded = Uint8Array.prototype.slice.call(this.#decoded, 0, READER_KEPT_BYTES);
    this.#close();
    this.#releaseTurn();
  }

  /** Without a source, what is decoded is a copy of ours. */
  #forget(): void {
    const decoded = this.#decoded;
    this.#decoded = new Uint8Array();
    if (!this.#source) release(decoded);
  }

  #close(): void {
    const source = this.#source;
    this.#source = null;
    // What fails while it is left has no consequence for the bytes.
    if (source?.return) this.#closing = source.return().catch(() => undefined);
  }

  #releaseTurn(): void {
    this.#turn?.release();
    this.#turn = null;
  }
}
