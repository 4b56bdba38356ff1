import { scheduler } from 'node:timers/promises';
import type { HeapUsage, IsolateHeap } from '../../bench/support/isolate-heap.ts';

/** Between two looks: a collection takes a few milliseconds, and the isolate has other work. */
const EVERY_MS = 20;
/** Looks at an isolate that rests, of which the least counts: what the collector frees comes back a little later. */
const IDLE_LOOKS = 6;
/** What nobody looked at so often proves nothing. */
const FEWEST_LOOKS = 10;

/** Watches what an isolate holds, garbage apart, while something is done. */
export class HeapWatch {
  readonly #heap: IsolateHeap;
  #looks: number[] = [];

  constructor(heap: IsolateHeap) {
    this.#heap = heap;
  }

  /** The most that was held beyond what the isolate held at rest. What one look shows and the next does not, was garbage. */
  async during(work: () => Promise<unknown>): Promise<number> {
    const idle = await this.#idleBytes();
    const ending = new AbortController();
    this.#looks = [];
    const looking = this.#look(ending.signal);
    try {
      await work();
    } finally {
      ending.abort();
      await looking;
    }
    const looks = this.#looks;
    if (looks.length < FEWEST_LOOKS) throw new Error(`only ${looks.length} looks at the heap`);
    return Math.max(...looks.slice(1).map((bytes, i) => Math.min(bytes, looks[i] ?? bytes))) - idle;
  }

  /** Resolves when the isolate has been looked at so many times more: for who stops in the middle of something. */
  async looks(count: number): Promise<void> {
    const enough = this.#looks.length + count;
    while (this.#looks.length < enough) await scheduler.wait(EVERY_MS);
  }

  close(): void {
    this.#heap.close();
  }

  async #look(ending: AbortSignal): Promise<void> {
    while (!ending.aborted) {
      this.#looks.push(bytesOf(await this.#heap.collected()));
      await scheduler.wait(EVERY_MS);
    }
  }

  async #idleBytes(): Promise<number> {
    let least = Number.POSITIVE_INFINITY;
    for (let look = 0; look < IDLE_LOOKS; look++) {
      least = Math.min(least, bytesOf(await this.#heap.collected()));
      await scheduler.wait(EVERY_MS);
    }
    return least;
  }
}

function bytesOf({ heap, buffers }: HeapUsage): number {
  return heap + buffers;
}
