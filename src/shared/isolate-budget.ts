import { BUDGET_LEASE_MS, BUDGET_POLL_MS } from './limits.ts';
import type { Pieces } from './streams.ts';

/** A share of the isolate's memory; give it back in a `finally`. Giving it back twice is harmless. */
export interface Share {
  release(): void;
}

interface Holder {
  readonly bytes: number;
  seenAt: number;
}

/**
 * Shares out what the transfers of one isolate may hold in buffers. Who does not fit waits, first come first served,
 * and holds nothing meanwhile: the body of a waiting upload stays with its sender.
 *
 * A request that the runtime kills runs no `finally`, so a share is a lease: a timer of the request renews it, and
 * with the request dies the timer. The same goes for the queue: who stopped asking is stepped over. Waiting is by
 * polling, since a request that awaits only what another request settles is killed as hung (platform).
 */
export class IsolateBudget {
  readonly #totalBytes: number;
  readonly #holders = new Set<Holder>();
  readonly #queue: Holder[] = [];

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes;
  }

  get usedBytes(): number {
    let sum = 0;
    for (const holder of this.#holders) sum += holder.bytes;
    return sum;
  }

  /** Resolves when `bytes` are free and everybody before has been served. Rejects with the signal's reason. */
  async reserve(bytes: number, signal?: AbortSignal): Promise<Share> {
    if (bytes > this.#totalBytes)
      throw new RangeError(`one share of ${bytes} bytes never fits into ${this.#totalBytes}`);
    const holder: Holder = { bytes, seenAt: Date.now() };
    this.#queue.push(holder);
    try {
      while (!this.#mayEnter(holder)) {
        await scheduler.wait(BUDGET_POLL_MS);
        signal?.throwIfAborted();
        holder.seenAt = Date.now();
      }
    } finally {
      const place = this.#queue.indexOf(holder);
      if (place >= 0) this.#queue.splice(place, 1);
    }
    this.#holders.add(holder);
    const renewal = setInterval(() => {
      holder.seenAt = Date.now();
    }, BUDGET_LEASE_MS / 6);
    return {
      release: () => {
        clearInterval(renewal);
        this.#holders.delete(holder);
      },
    };
  }

  #mayEnter(holder: Holder): boolean {
    const deadline = Date.now() - BUDGET_LEASE_MS;
    for (const other of this.#holders) if (other.seenAt < deadline) this.#holders.delete(other);
    const first = this.#queue.find(
      (waiting) => waiting.seenAt > Date.now() - 40 * BUDGET_POLL_MS || waiting === holder,
    );
    return first === holder && this.usedBytes + holder.bytes <= this.#totalBytes;
  }
}

/** The pieces, once there is room for what they hold, and until the last one is written. */
export async function* withShare(
  budget: IsolateBudget,
  bytes: number,
  signal: AbortSignal,
  pieces: Pieces,
): AsyncGenerator<Uint8Array, void, undefined> {
  const share = await budget.reserve(bytes, signal);
  try {
    yield* pieces;
  } finally {
    share.release();
  }
}
