/**
 * Content for a client that may take it slowly, from a source that can be opened anew at any offset.
 *
 * A decoded frame is 4 MiB, and a reader on a slow line takes it in half a minute. Held for so long, two dozen of them
 * fill the isolate. What was decoded can be decoded again, so it is held only while the client takes it:
 *
 * - A fast reader keeps one open source, and a turn for each frame.
 * - A chunk that is pending for {@link READER_SLOW_MS} shows a slow one. If others wait for a turn, the frame is dropped
 *   but for a copy of its next bytes, as many as its share of {@link SlowReaders}; the source is closed and the turn
 *   released. As long as the reader is slow, the source is next opened for so many bytes only, and the turn is released
 *   once they are copied. Each chunk that was handed out is freed.
 * - After {@link READER_STOPPED_MS} all is dropped: a reader that stopped holds one chunk.
 *
 * The figures behind these numbers are in docs/decisions/0017-fair-memory.md.
 */
import { release } from '../shared/bytes.ts';
import type { Share, SlowReaders } from '../shared/isolate-memory.ts';
import {
  FRAME_BYTES,
  READER_CHUNK_BYTES,
  READER_SLOW_MS,
  READER_STOPPED_MS,
  TURN_PATIENCE_MS,
} from '../shared/limits.ts';
import type { ByteSpan, ReadSpan } from '../shared/seek-points.ts';

/** A share of the isolate to read and decode one frame. */
export interface Turn extends Share {
  /** Whether others wait for it. */
  wanted(): boolean;
}

export interface PatientReaderOptions {
  /** It is released when the frame is taken or dropped. */
  readonly turn: () => Promise<Turn>;
  /** Tells how much a slow reader may keep. */
  readonly slowReaders: SlowReaders;
  /** Shorter times, for tests. */
  readonly slowMs?: number;
  readonly stoppedMs?: number;
}

/**
 * `read` for a consumer that may be slow. Yields the same bytes in chunks of {@link READER_CHUNK_BYTES} or fewer, each in
 * a buffer that is used again with the next pull. `read` is called again, from the consumer's offset, after each
 * drop; leaving early closes what is open. Errors of `read` and of `turn` are thrown as they are.
 */
export function patientReader(read: ReadSpan, options: PatientReaderOptions): ReadSpan {
  return (span) => (span.length === 0 ? read(span) : new PatientRead(read, span, options).chunks());
}

class PatientRead {
  readonly #read: ReadSpan;
  readonly #nextTurn: () => Promise<Turn>;
  readonly #slowReaders: SlowReaders;
  readonly #slowMs: number;
  readonly #stoppedMs: number;
  readonly #end: number;
  /** Offset of the first byte that was not handed out. */
  #at: number;
  #source: AsyncIterator<Uint8Array> | null = null;
  /** Offset where the open source ends. */
  #sourceEnd = 0;
  /** What closing sources still do; they hold memory until it is done. */
  #closing: Promise<unknown> = Promise.resolve();
  #turn: Turn | null = null;
  /** The next bytes: a view of the source's frame, or a copy of ours where no source is open. */
  #decoded: Uint8Array = new Uint8Array();
  /** Copies of the bytes behind {@link #decoded}, of one chunk each. */
  #kept: Uint8Array[] = [];
  /** Bytes that the reader must take without a wait to count as fast again; 0 while it does. */
  #probation = 0;
  /** Looks at a chunk that is pending. */
  #pending: ReturnType<typeof setTimeout> | undefined;

  constructor(read: ReadSpan, { offset, length }: ByteSpan, options: PatientReaderOptions) {
    this.#read = read;
    this.#nextTurn = options.turn;
    this.#slowReaders = options.slowReaders;
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
          this.#await(0);
          try {
            yield chunk;
          } finally {
            clearTimeout(this.#pending);
          }
        }
        this.#forget();
        if (this.#at === this.#sourceEnd) await this.#finish();
        this.#releaseTurn();
      }
    } finally {
      this.#stop();
      release(buffer);
      await this.#closing;
    }
  }

  /** Fills {@link #decoded}: with bytes that were kept, or under a turn with the source's next ones. */
  async #decode(): Promise<void> {
    this.#decoded = this.#kept.shift() ?? this.#decoded;
    if (this.#decoded.length > 0) return;
    const turn = await this.#waitForTurn();
    this.#turn = turn;
    await this.#closing;
    const left = this.#end - this.#at;
    const toFrameEnd = Math.min(left, FRAME_BYTES - (this.#at % FRAME_BYTES));
    if (this.#source) {
      this.#decoded = await this.#next();
    } else if (this.#probation > 0) {
      await this.#keepSome(toFrameEnd);
    } else {
      this.#slowReaders.leave(this);
      // A read to the end would be interrupted, and a storage may read ahead for all that was asked.
      this.#open(turn.wanted() ? toFrameEnd : left);
      this.#decoded = await this.#next();
    }
  }

  #open(length: number): void {
    this.#sourceEnd = this.#at + length;
    this.#source = this.#read({ offset: this.#at, length })[Symbol.asyncIterator]();
  }

  async #next(): Promise<Uint8Array> {
    const next = await this.#source?.next();
    if (!next || next.done) throw new Error(`the content ended ${this.#end - this.#at} bytes early`);
    return next.value.subarray(0, this.#end - this.#at);
  }

  /** Copies an equal part of the `frameBytes` that are left of a frame, and closes the source. */
  async #keepSome(frameBytes: number): Promise<void> {
    const share = this.#slowReaders.share(this);
    const atMost = Math.ceil(frameBytes / Math.ceil(frameBytes / share));
    this.#open(atMost);
    let filled = 0;
    while (filled < atMost / 2) {
      const piece = (await this.#next()).subarray(0, atMost - filled);
      this.#keep(piece);
      filled += piece.length;
    }
    this.#decoded = this.#kept.shift() ?? this.#decoded;
    this.#close();
    this.#releaseTurn();
  }

  #keep(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += READER_CHUNK_BYTES) {
      // Buffers of node:zlib make a view of slice(), which the released frame would take along.
      this.#kept.push(Uint8Array.prototype.slice.call(bytes, at, at + READER_CHUNK_BYTES));
    }
  }

  /** Behind the last byte wait checksums, and in a broken file what should not be there. */
  async #finish(): Promise<void> {
    const after = await this.#source?.next();
    if (after && !after.done) throw new Error('there is more content than was asked for');
    this.#close();
  }

  /** An open source holds what it has read: it is closed unless the turn comes at once. */
  async #waitForTurn(): Promise<Turn> {
    const patience = setTimeout(() => this.#close(), TURN_PATIENCE_MS);
    try {
      return await this.#nextTurn();
    } finally {
      clearTimeout(patience);
    }
  }

  /** Watches a chunk that has been pending for `ms`. */
  #await(ms: number): void {
    this.#pending = setTimeout(() => {
      const pendingMs = ms + this.#slowMs;
      this.#probation = FRAME_BYTES;
      if (pendingMs >= this.#stoppedMs) return this.#stop();
      if (this.#source && this.#turn?.wanted()) this.#shrink();
      this.#await(pendingMs);
    }, this.#slowMs);
  }

  #stop(): void {
    this.#forget();
    for (const chunk of this.#kept.splice(0)) release(chunk);
    this.#slowReaders.leave(this);
    this.#close();
    this.#releaseTurn();
  }

  /** Keeps a copy of some of the frame, and frees the rest. */
  #shrink(): void {
    this.#keep(this.#decoded.subarray(0, this.#slowReaders.share(this)));
    this.#decoded = this.#kept.shift() ?? new Uint8Array();
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
