import { BATCHES_IN_WORK } from './limits.ts';

/**
 * How large a batch is: its number of items, or that and what they weigh together (bytes of text, say). A batch ends as
 * soon as it is full, and before it would weigh more than `weight`; a single heavier item is a batch of its own.
 */
export type BatchSize<T> =
  | number
  | { readonly items: number; readonly weight: number; readonly weigh: (item: T) => number };

export interface ParallelOptions {
  /** Batches in work at once; {@link BATCHES_IN_WORK} by default. */
  readonly concurrency?: number;
  /** Aborting it counts as an error, which is its reason. */
  readonly signal?: AbortSignal | undefined;
}

type Items<T> = AsyncIterable<T> | Iterable<T>;

/**
 * The items in their order, in batches that are full but the last, which is not empty. One batch is held at a time (and
 * by a weight, the item that it had no room for). An error of the source is thrown as it is, and the items of the batch
 * that it cut short are lost; leaving early leaves the source. A size that is none is a RangeError at once.
 */
export function inBatches<T>(items: Items<T>, size: BatchSize<T>): AsyncGenerator<T[], void, undefined> {
  checkSize(size);
  return gather(items, size);
}

/**
 * Does `work` on batches of the items, `concurrency` at once, while the next batch is gathered; gives its results in the
 * order of the batches. No more than `concurrency + 1` batches are held: a result that was not yet asked for keeps the
 * place of its batch, so that a slow consumer holds the source back. Nothing is read before the first pull.
 *
 * What goes wrong first, in time, ends it all: an error of the source or of any work, or the signal. Then the source is
 * left by return(), the signal that work gets aborts with that error, whatever runs is waited for, and then that error is
 * thrown, and no other. Results that were not taken by then are dropped: what must be known of a batch also then, `work`
 * notes itself. A consumer that leaves stops the source and the work in the same way.
 *
 * A source is left when what it was asked for has come. One that may take long is given as a function: it gets the signal
 * that work gets. Sizes and a concurrency that are none are a RangeError at once.
 */
export function parallelBatches<T, R>(
  items: Items<T> | ((signal: AbortSignal) => Items<T>),
  size: BatchSize<T>,
  work: (batch: readonly T[], signal: AbortSignal) => Promise<R>,
  { concurrency = BATCHES_IN_WORK, signal }: ParallelOptions = {},
): AsyncGenerator<R, void, undefined> {
  checkSize(size);
  checkCount('concurrency', concurrency);
  return new BatchesInWork(work, concurrency).results(items, size, signal);
}

/** The batches of one call: a reader that begins them and a consumer that takes their results, of whom one may wait. */
class BatchesInWork<T, R> {
  readonly #work: (batch: readonly T[], signal: AbortSignal) => Promise<R>;
  readonly #concurrency: number;
  /** Aborts with what went wrong first; later reasons change nothing. */
  readonly #stop = new AbortController();
  /** Of batches in work, and of those that are done and not yet asked for; the oldest first. */
  readonly #results: Promise<R>[] = [];
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(work: (batch: readonly T[], signal: AbortSignal) => Promise<R>, concurrency: number) {
    this.#work = work;
    this.#concurrency = concurrency;
  }

  async *results(
    items: Items<T> | ((signal: AbortSignal) => Items<T>),
    size: BatchSize<T>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<R, void, undefined> {
    const onAbort = () => this.#fail(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
    const reading = this.#read(items, size);
    try {
      yield* this.#inOrder();
    } catch (error) {
      this.#fail(error);
      throw this.#stop.signal.reason;
    } finally {
      if (!this.#ended || this.#results.length > 0) this.#fail(new Error('the consumer left'));
      await reading;
      await Promise.allSettled(this.#results);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async *#inOrder(): AsyncGenerator<R, void, undefined> {
    const { signal } = this.#stop;
    for (;;) {
      while (this.#results.length === 0 && !this.#ended && !signal.aborted) await this.#change();
      signal.throwIfAborted();
      const first = this.#results[0];
      if (!first) return;
      const result = await first;
      signal.throwIfAborted();
      this.#results.shift();
      this.#wake();
      yield result;
    }
  }

  /** Never rejects: what goes wrong is for the consumer. */
  async #read(items: Items<T> | ((signal: AbortSignal) => Items<T>), size: BatchSize<T>): Promise<void> {
    const { signal } = this.#stop;
    try {
      const source = typeof items === 'function' ? items(signal) : items;
      for await (const batch of gather(source, size, signal)) {
        while (this.#results.length >= this.#concurrency && !signal.aborted) await this.#change();
        signal.throwIfAborted();
        this.#begin(batch);
      }
      this.#ended = true;
      this.#wake();
    } catch (error) {
      this.#fail(error);
    }
  }

  #begin(batch: T[]): void {
    const result = (async () => this.#work(batch, this.#stop.signal))();
    result.catch((error: unknown) => this.#fail(error));
    this.#results.push(result);
    this.#wake();
  }

  #fail(error: unknown): void {
    this.#stop.abort(error);
    this.#wake();
  }

  /** The consumer waits where there is no result, the reader where there are too many: never both. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** Batches of an abort are not filled up: the source is left at its next item. */
async function* gather<T>(
  source: Items<T>,
  size: BatchSize<T>,
  signal?: AbortSignal,
): AsyncGenerator<T[], void, undefined> {
  const { items, weight, weigh } = typeof size === 'number' ? unweighed(size) : size;
  if (signal?.aborted) await leave(source);
  signal?.throwIfAborted();
  let batch: T[] = [];
  let weighs = 0;
  for await (const item of source) {
    signal?.throwIfAborted();
    const more = weigh(item);
    if (batch.length > 0 && weighs + more > weight) {
      yield batch;
      batch = [];
      weighs = 0;
    }
    batch.push(item);
    weighs += more;
    if (batch.length < items && weighs < weight) continue;
    yield batch;
    batch = [];
    weighs = 0;
  }
  if (batch.length > 0) yield batch;
}

function unweighed(items: number) {
  return { items, weight: Number.POSITIVE_INFINITY, weigh: () => 0 };
}

/** Somebody may be giving to a source that nobody has asked yet. */
async function leave<T>(source: Items<T>): Promise<void> {
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  await iterator.return?.();
}

function checkSize<T>(size: BatchSize<T>): void {
  checkCount('items', typeof size === 'number' ? size : size.items);
  if (typeof size !== 'number' && !(size.weight > 0)) throw new RangeError(`weight of a batch: ${size.weight}`);
}

function checkCount(what: string, count: number): void {
  if (!Number.isSafeInteger(count) || count < 1) throw new RangeError(`${what} of batches: ${count}`);
}
