import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { FileSource, SliceResult } from 'tus-js-client';
import { CommandFailed } from './failures.ts';
import type { PieceSize } from './piece-size.ts';
import type { RateLimit } from './rate-limit.ts';
import { causeOf } from './vault-client.ts';

/** What is to be sent. */
export interface Content {
  /** null: known only at its end. */
  readonly size: number | null;
  /** The bytes from `offset` on; other than from 0 only where there is `hashWhole`. */
  read(offset: number): AsyncIterable<Buffer>;
  /** SHA-256 of all the bytes, by reading them once more. */
  hashWhole?(): Promise<string>;
}

/** Handed to the socket at once, so that progress moves on a slow line too. */
const WRITE_BYTES = 64 * 1024;

/**
 * The way from the content to tus-js-client, which asks for "the bytes from here on" and gets a piece. In tus the
 * pieces of one upload go one after the other (each must begin at the offset that the one before made durable), so what
 * can overlap is the work before it: while a piece is sent, the next one is read, compressed and hashed.
 *
 * What the vault has not acknowledged is held, and sent again from where the vault says it is. So a pipe survives lost
 * connections too, at a cost of two pieces of memory.
 */
export class PieceSource implements FileSource {
  /** tus-js-client's types say number; it takes null for "unknown", as its own stream source has it. */
  readonly size: number;
  readonly #content: Content;
  readonly #pieces: PieceSize;
  readonly #limit: Pick<RateLimit, 'pass' | 'stepBytes'>;
  readonly #hash = createHash('sha256');
  /** Where the content was opened midway, its hash comes from a reading of its own. */
  #whole: Promise<string> | null = null;
  #input: AsyncIterator<Buffer> | null = null;
  #chunks: Buffer[] = [];
  /** Offset of the first byte held, and of the byte after the last. */
  #base = 0;
  #end = 0;
  /** Bytes before it are acknowledged. */
  #acknowledged = 0;
  #ended = false;
  #wanted = 0;
  #filling: Promise<void> | null = null;

  constructor(content: Content, pieces: PieceSize, limit: Pick<RateLimit, 'pass' | 'stepBytes'>) {
    this.size = content.size as number;
    this.#content = content;
    this.#pieces = pieces;
    this.#limit = limit;
  }

  /** Whether there is no byte at all. Waits for the first. */
  async isEmpty(): Promise<boolean> {
    await this.#fillTo(0, 1);
    return this.#end === 0;
  }

  /** The next piece from `start`, whatever end tus-js-client reckons with; `done` with the last one. */
  async slice(start: number): Promise<SliceResult> {
    const end = this.#pieces.endAfter(start);
    // One byte more, to know whether this piece is the last: it is the one that tells a length unknown so far.
    await this.#fillTo(start, end + 1);
    const stop = Math.min(end, this.#end);
    const done = this.#ended && stop === this.#end;
    const value = Object.assign(Readable.from(this.#limited(this.#bytes(start, stop))), { size: stop - start });
    if (!done) this.#readAhead(stop);
    return { value, done };
  }

  /** Length and SHA-256 of the whole content. To be asked for after the last piece. */
  async digest(): Promise<{ bytes: number; sha256: string }> {
    // An upload that was whole before it was gone on with is only hashed: nothing is held for it.
    this.#acknowledged = Number.POSITIVE_INFINITY;
    await this.#fillTo(this.#end, Number.POSITIVE_INFINITY);
    return { bytes: this.#end, sha256: await (this.#whole ?? this.#hash.digest('hex')) };
  }

  /** Of tus-js-client, after the last piece. There is nothing left to close: the content ends by itself. */
  close(): void {}

  async #fillTo(start: number, wanted: number): Promise<void> {
    if (start < this.#base) {
      throw new CommandFailed(
        `The vault asks for byte ${start} again, which it had acknowledged: what came before ${this.#base} is gone.`,
      );
    }
    this.#open(start);
    this.#acknowledged = Math.max(this.#acknowledged, start);
    this.#drop();
    this.#wanted = Math.max(this.#wanted, wanted);
    while (this.#end < this.#wanted && !this.#ended) await this.#fill();
  }

  #open(start: number): void {
    if (this.#input) return;
    const midway = start > 0 && this.#content.hashWhole !== undefined;
    if (midway) {
      this.#whole = this.#content.hashWhole?.() ?? null;
      // Whoever asks for the digest hears of it.
      this.#whole?.catch(() => undefined);
      this.#base = start;
      this.#end = start;
    }
    this.#input = this.#content.read(midway ? start : 0)[Symbol.asyncIterator]();
  }

  /** One at a time, whoever asks. A failure stays for the next who does. */
  #fill(): Promise<void> {
    this.#filling ??= this.#read().then(() => {
      this.#filling = null;
    });
    return this.#filling;
  }

  async #read(): Promise<void> {
    while (this.#input && this.#end < this.#wanted) {
      const { done, value } = await this.#input.next().catch((error: unknown) => {
        throw error instanceof CommandFailed
          ? error
          : new CommandFailed(`The input cannot be read: ${causeOf(error)}.`);
      });
      if (done) {
        this.#ended = true;
        return;
      }
      if (!this.#whole) this.#hash.update(value);
      this.#chunks.push(value);
      this.#end += value.length;
      // Where an upload goes on midway and the content had to be made from its start: not all of that is held.
      this.#drop();
    }
  }

  #readAhead(from: number): void {
    this.#wanted = Math.max(this.#wanted, this.#pieces.endAfter(from) + 1);
    this.#fill().catch(() => undefined);
  }

  /** Forgets whole chunks that were acknowledged. */
  #drop(): void {
    let chunks = 0;
    for (const { length } of this.#chunks) {
      if (this.#base + length > this.#acknowledged) break;
      this.#base += length;
      chunks += 1;
    }
    if (chunks > 0) this.#chunks.splice(0, chunks);
  }

  async *#limited(chunks: readonly Buffer[]): AsyncGenerator<Buffer, void, undefined> {
    for (const chunk of chunks) {
      await this.#limit.pass(chunk.length);
      yield chunk;
    }
  }

  /** What is held from `start` to `stop`, in small chunks and without a copy. */
  #bytes(start: number, stop: number): Buffer[] {
    const bytes: Buffer[] = [];
    const most = Math.min(WRITE_BYTES, this.#limit.stepBytes);
    let at = this.#base;
    for (const chunk of this.#chunks) {
      const last = Math.min(chunk.length, stop - at);
      for (let from = Math.max(0, start - at); from < last; from += most) {
        bytes.push(chunk.subarray(from, Math.min(last, from + most)));
      }
      at += chunk.length;
      if (at >= stop) break;
    }
    return bytes;
  }
}
