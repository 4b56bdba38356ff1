import { unlessAborted } from './abort.ts';
import { STORAGE_RETRY, waitAfter } from './retry.ts';
import type { Pieces } from './streams.ts';

/**
 * The bytes from `offset` on. What it opens late, after an abort, is left by return(), also where nothing was pulled of
 * it; what a generator holds before its first pull it lets go of by the signal.
 */
export type OpenAt = (offset: number, signal: AbortSignal | undefined) => Promise<Pieces>;

export interface ResilientOptions {
  /** Sources that may begin at the same byte; 3 by default. */
  readonly tries?: number;
  /** The wait after the first break, in milliseconds (100 by default); it doubles as long as no byte comes. */
  readonly waitMs?: number;
  /** Aborting it ends the pieces with its reason at once, also during an opening, a read or a wait. */
  readonly signal?: AbortSignal | undefined;
  /** In bytes, where it is known: what ends before has broken, and what lies behind is not asked for. */
  readonly length?: number;
  /** Whether another source may do better; by default it may. */
  readonly worthTrying?: (error: unknown) => boolean;
}

/**
 * One run of bytes from sources that break: where one fails to open, throws, or ends before `length`, the next is opened
 * at the first byte that did not come, after a wait (see {@link waitAfter}). No byte comes twice, none is left out.
 *
 * When `tries` sources in a row began at the same byte and gave none, the error of the last is thrown as it is; at once
 * where it is not worth trying. After an abort nothing is opened. One source is open at a time; leaving early leaves it.
 * A piece is valid until the next pull, as the source's own.
 */
export async function* resilient(
  open: OpenAt,
  options: ResilientOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const sources = new Sources(open, options);
  try {
    for (let piece = await sources.next(); piece; piece = await sources.next()) yield piece;
  } finally {
    await sources.leave();
  }
}

/** Outside of the generator's loop, so that only what a source throws is a break. */
class Sources {
  readonly #open: OpenAt;
  readonly #options: ResilientOptions;
  #source: AsyncIterator<Uint8Array> | undefined;
  /** Bytes that came, so the offset of the next source. */
  #at = 0;
  /** Breaks since the last byte that came, and sources among them that gave none. */
  #breaks = 0;
  #fruitless = 0;
  /** Where the open source began. */
  #begin = 0;

  constructor(open: OpenAt, options: ResilientOptions) {
    this.#open = open;
    this.#options = options;
  }

  /** The next piece, of whichever source; null at the end. */
  async next(): Promise<Uint8Array | null> {
    const { signal, length = Number.POSITIVE_INFINITY } = this.#options;
    while (this.#at < length) {
      signal?.throwIfAborted();
      try {
        return await this.#pull();
      } catch (error) {
        await this.#afterBreak(error);
      }
    }
    return null;
  }

  /** Waits until the open source is left; an error of that changes nothing by then. */
  async leave(): Promise<void> {
    const source = this.#source;
    this.#source = undefined;
    await leaveQuietly(source);
  }

  async #pull(): Promise<Uint8Array | null> {
    const { signal, length } = this.#options;
    this.#source ??= await this.#openNext();
    const { done, value } = await unlessAborted(this.#source.next(), signal);
    if (done) {
      this.#source = undefined;
      if (length !== undefined) throw new Error(`the source ended at byte ${this.#at} of ${length}`);
      return null;
    }
    const piece = length === undefined ? value : value.subarray(0, length - this.#at);
    this.#at += piece.length;
    return piece;
  }

  async #openNext(): Promise<AsyncIterator<Uint8Array>> {
    const { signal } = this.#options;
    this.#begin = this.#at;
    const opening = this.#open(this.#at, signal);
    const iterating = opening.then((pieces) => pieces[Symbol.asyncIterator]());
    return unlessAborted(iterating, signal, leaveQuietly);
  }

  /** Throws what ends it all. */
  async #afterBreak(error: unknown): Promise<void> {
    const { signal, tries = STORAGE_RETRY.tries, waitMs = STORAGE_RETRY.firstWaitMs, worthTrying } = this.#options;
    const source = this.#source;
    this.#source = undefined;
    // Not waited for: a generator is left when its pull comes back, which may not heed the signal.
    if (signal?.aborted) void leaveQuietly(source);
    signal?.throwIfAborted();
    if (worthTrying && !worthTrying(error)) throw error;
    const came = this.#at > this.#begin;
    this.#breaks = came ? 1 : this.#breaks + 1;
    this.#fruitless = came ? 0 : this.#fruitless + 1;
    if (this.#fruitless >= tries) throw error;
    await waitAfter(this.#breaks, { tries, firstWaitMs: waitMs }, signal);
  }
}

async function leaveQuietly(source: AsyncIterator<Uint8Array> | undefined): Promise<void> {
  try {
    await source?.return?.();
  } catch {
    // What came of it is known.
  }
}
