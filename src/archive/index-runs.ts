/**
 * Runs: sorted members that did not fit into memory, put aside until the end, and merged then. A run is entries in
 * order, each behind its length as a varint, so that a reader of chunks knows whether it has all of one.
 */
import { INDEX_MERGE_BYTES, INDEX_READS_IN_FLIGHT } from '../shared/limits.ts';
import type { ByteSpan } from '../shared/seek-points.ts';
import { BytesIn, BytesOut, discard } from './index-bytes.ts';
import { IndexCorrupt } from './index-errors.ts';
import { IndexEntry, readEntry, writeEntry } from './member-codec.ts';
import { compareHolders } from './member-order.ts';

/** Where runs are kept. */
export interface IndexRuns {
  /** `bytes` are valid until the promise is settled. */
  put(run: number, bytes: Uint8Array): Promise<void>;
  /** What it gives is the caller's, who gives its memory back: nothing may be kept of it. It has `span.length` bytes, or it throws. */
  read(run: number, span: ByteSpan): Promise<Uint8Array>;
}

const LENGTH_BYTES = 8;

export function encodeRun(entries: Iterable<IndexEntry>): BytesOut {
  const run = new BytesOut(64 * 1024);
  const one = new BytesOut();
  const previous = new IndexEntry();
  for (const entry of entries) {
    one.clear();
    writeEntry(one, previous, entry);
    run.varint(one.length);
    run.bytes(one.written);
  }
  return run;
}

/** All entries of all runs in order, some at a time, each in an object that is used again; `runBytes`: the runs' lengths. */
export async function* mergeRuns(
  runs: IndexRuns,
  runBytes: readonly number[],
  largestChunkBytes: number,
): AsyncGenerator<Iterable<IndexEntry>, void, undefined> {
  const chunkBytes = Math.min(largestChunkBytes, Math.floor(INDEX_MERGE_BYTES / (2 * runBytes.length)));
  const limit = readsInFlight(INDEX_READS_IN_FLIGHT);
  const readers = runBytes.map((bytes, run) => {
    return new RunReader((span) => limit(() => runs.read(run, span)), bytes, chunkBytes);
  });
  const heap: RunReader[] = [];
  for (const reader of readers) {
    while (!reader.next()) await reader.refill();
    push(heap, reader);
  }
  while (heap.length > 0) {
    yield untilRefill(heap);
    const first = heap[0];
    if (first && !first.finished) await first.refill();
  }
}

/** Entries as long as no run has to be read on, so that one await serves thousands of them. */
function* untilRefill(heap: RunReader[]): Generator<IndexEntry, void, undefined> {
  for (let first = heap[0]; first; first = heap[0]) {
    // After a refill the first in the heap stands on an entry that was given already.
    if (!first.given) {
      first.given = true;
      yield first.entry;
    }
    if (first.next()) sink(heap, first);
    else if (first.finished) removeFirst(heap);
    else return;
  }
}

/** One run, read in chunks, the next one while this one is used. */
class RunReader {
  readonly entry = new IndexEntry();
  /** Whether the merge gave this entry on. */
  given = false;
  readonly #read: (span: ByteSpan) => Promise<Uint8Array>;
  readonly #bytes: number;
  readonly #chunkBytes: number;
  #chunk = new BytesIn(new Uint8Array(0));
  #asked = 0;
  #coming: Promise<Uint8Array> | undefined;

  constructor(read: (span: ByteSpan) => Promise<Uint8Array>, bytes: number, chunkBytes: number) {
    this.#read = read;
    this.#bytes = bytes;
    this.#chunkBytes = chunkBytes;
    this.#prefetch();
  }

  get finished(): boolean {
    return this.#chunk.left === 0 && this.#coming === undefined;
  }

  /** Goes to the next entry; false where the chunk does not hold it whole, or the run has no more. */
  next(): boolean {
    const chunk = this.#chunk;
    if (chunk.left === 0 || (this.#coming && chunk.left < LENGTH_BYTES)) return false;
    const start = chunk.at;
    const length = chunk.varint();
    if (length > chunk.left && this.#coming) {
      chunk.at = start;
      return false;
    }
    readEntry(chunk, this.entry);
    this.given = false;
    return true;
  }

  async refill(): Promise<void> {
    if (!this.#coming) return;
    const chunk = await this.#coming;
    this.#prefetch();
    this.#chunk = new BytesIn(joined(this.#chunk, chunk));
  }

  #prefetch(): void {
    const length = Math.min(this.#chunkBytes, this.#bytes - this.#asked);
    this.#coming = length > 0 ? this.#whole({ offset: this.#asked, length }) : undefined;
    // A failure is for the refill; until then, and where the merge is left, nobody awaits it.
    this.#coming?.catch(() => undefined);
    this.#asked += length;
  }

  async #whole(span: ByteSpan): Promise<Uint8Array> {
    const chunk = await this.#read(span);
    if (chunk.length !== span.length) throw new IndexCorrupt('a run is cut short');
    return chunk;
  }
}

/** What is left of one chunk, and the next; both are given back where they are no longer needed. */
function joined(rest: BytesIn, chunk: Uint8Array): Uint8Array {
  const { buffer, left, at } = rest;
  if (left === 0) {
    discard(buffer);
    return chunk;
  }
  const whole = new Uint8Array(left + chunk.length);
  whole.set(buffer.subarray(at, at + left));
  whole.set(chunk, left);
  discard(buffer);
  discard(chunk);
  return whole;
}

/** Lets at most `most` of what it is given run at once. */
function readsInFlight(most: number): (read: () => Promise<Uint8Array>) => Promise<Uint8Array> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (read) => {
    if (running >= most) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await read();
    } finally {
      // The place is handed on, so that nobody takes it between.
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}

/** A binary heap: no reader stands before its parent. */
function push(heap: RunReader[], reader: RunReader): void {
  let at = heap.length;
  heap.push(reader);
  while (at > 0) {
    const above = (at - 1) >> 1;
    const parent = heap[above];
    if (!parent || compareHolders(parent.entry, reader.entry) <= 0) break;
    heap[at] = parent;
    at = above;
  }
  heap[at] = reader;
}

function removeFirst(heap: RunReader[]): void {
  const last = heap.pop();
  if (last && heap.length > 0) sink(heap, last);
}

/** Puts `reader` in the first one's place and lets it sink to its own. */
function sink(heap: RunReader[], reader: RunReader): void {
  let at = 0;
  for (;;) {
    let below = 2 * at + 1;
    let child = heap[below];
    if (!child) break;
    const right = heap[below + 1];
    if (right && compareHolders(right.entry, child.entry) < 0) {
      child = right;
      below++;
    }
    if (compareHolders(reader.entry, child.entry) <= 0) break;
    heap[at] = child;
    at = below;
  }
  heap[at] = reader;
}
