import { waitFor } from './patience.ts';

/** What is sent or read at once under a limit: small, so that a slow rate is steady and no watchdog takes it for dead. */
const STEPS_PER_SECOND = 8;

/** Spreads bytes evenly over time. One limit is shared by all transfers of a command. */
export class RateLimit {
  readonly #bytesPerSecond: number;
  readonly #signal: AbortSignal;
  /** When the bytes passed so far are due, in milliseconds of `performance.now()`. */
  #due = 0;

  /** @param bytesPerSecond null: no limit */
  constructor(bytesPerSecond: number | null, signal: AbortSignal) {
    this.#bytesPerSecond = bytesPerSecond ?? Number.POSITIVE_INFINITY;
    this.#signal = signal;
  }

  /** The most bytes that one call of {@link pass} should stand for. */
  get stepBytes(): number {
    return Math.max(512, Math.floor(this.#bytesPerSecond / STEPS_PER_SECOND));
  }

  /** Resolves when `bytes` more may pass. */
  async pass(bytes: number): Promise<void> {
    if (this.#bytesPerSecond === Number.POSITIVE_INFINITY) return;
    const now = performance.now();
    this.#due = Math.max(this.#due, now) + (bytes / this.#bytesPerSecond) * 1000;
    // The first bytes after a pause pass at once.
    const wait = this.#due - now - 1000 / STEPS_PER_SECOND;
    if (wait > 0) await waitFor(wait, this.#signal);
  }
}
