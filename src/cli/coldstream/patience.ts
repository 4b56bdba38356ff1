import { setTimeout as sleep } from 'node:timers/promises';

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;

/**
 * How long, and how often, something is tried again. Waits double from half a second to half a minute, each of them
 * shortened by chance, so that many clients do not come back at once. Time counts from the first failure since there was
 * progress: what is slow without failing tries nobody's patience.
 */
export class Patience {
  readonly #forMs: number;
  #failures = 0;
  #since: number | null = null;

  constructor(forSeconds: number) {
    this.#forMs = forSeconds * 1000;
  }

  /** Something went well: as at the beginning. */
  renew(): void {
    this.#failures = 0;
    this.#since = null;
  }

  /** Milliseconds until the next try, at least `leastMs`; null once it has failed for too long. */
  nextWaitMs(leastMs = 0): number | null {
    const most = Math.min(FIRST_WAIT_MS * 2 ** this.#failures, LONGEST_WAIT_MS);
    const wait = Math.max(most * (0.5 + Math.random() / 2), leastMs);
    this.#since ??= performance.now();
    if (performance.now() + wait - this.#since > this.#forMs) return null;
    this.#failures += 1;
    return wait;
  }
}

/** Waits; rejects with the signal's reason where it is aborted meanwhile. */
export async function waitFor(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch((error: unknown) => {
    throw signal.aborted ? signal.reason : error;
  });
}
