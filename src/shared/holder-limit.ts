import { VaultError } from './errors.ts';
import type { Share } from './isolate-memory.ts';
import { BUSY_RETRY_SECONDS, MEMORY_LEASE_MS } from './limits.ts';

/** One token or link has as many transfers or sockets in this isolate as it may have. */
export class TooManyTransfers extends VaultError {
  constructor(most: number, what: 'transfers' | 'sockets') {
    super(
      'too-many-transfers',
      `This token or link has ${most} ${what} already. Try again when one of them has ended.`,
      {
        facts: { retry_after_seconds: BUSY_RETRY_SECONDS },
      },
    );
  }
}

/**
 * Counts what each holder has under way in one isolate. A place is a lease that a timer of its request renews, because a
 * request that the runtime ends runs no `finally`: its timer ends with it.
 */
export class HolderLimit {
  readonly #places = new Map<string, Set<{ seenAt: number }>>();

  /** Places that are taken. */
  get count(): number {
    let count = 0;
    for (const places of this.#places.values()) count += places.size;
    return count;
  }

  /**
   * Takes a place of `holder`, a token or a link. Throws {@link TooManyTransfers} where it has `most`.
   */
  enter(holder: string, most: number): Share {
    const places = this.#places.get(holder) ?? new Set();
    for (const other of places) if (other.seenAt < Date.now() - MEMORY_LEASE_MS) places.delete(other);
    if (places.size >= most) throw new TooManyTransfers(most, 'transfers');
    const place = { seenAt: Date.now() };
    places.add(place);
    this.#places.set(holder, places);
    const renewal = setInterval(() => {
      place.seenAt = Date.now();
    }, MEMORY_LEASE_MS / 6);
    return {
      release: () => {
        clearInterval(renewal);
        places.delete(place);
        if (places.size === 0 && this.#places.get(holder) === places) this.#places.delete(holder);
      },
    };
  }
}
