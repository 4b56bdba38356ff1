/**
 * Decides when a peer (a client that sends or reads) counts as stalled. Progress is bytes: a heartbeat, an open
 * connection or a pending call is none. Only time spent waiting for the peer counts, so a slow storage or a queue of
 * the vault's own never stalls a peer.
 */

/** What a waiting vault demands of its peer. */
export interface PeerLimits {
  /** No byte for so long is a stall, in ms (`UPLOAD_IDLE`, `DOWNLOAD_IDLE`). */
  readonly idleMs: number;
  /** A lower rate than this, over a minute of waiting, is a stall too, in bytes a second (`MIN_RATE`). */
  readonly minRate: number;
}

/** The peer moved no byte for too long, or too few. The caller maps it to its own error (408 for a sender). */
export class PeerStalled extends Error {
  readonly limits: PeerLimits;

  constructor(limits: PeerLimits) {
    super(`the peer moved no byte for ${limits.idleMs} ms, or fewer than ${limits.minRate} a second`);
    this.limits = limits;
  }
}

/** The time over which a rate is measured. */
const RATE_WINDOW_MS = 60_000;

/**
 * The account of one peer. It has no clock of its own: `now` is Date.now() or a test's.
 *
 * @example
 * const watchdog = new Watchdog({ idleMs: config.uploadIdleMs, minRate: config.minRate });
 * const value = await watched(reader.read(), watchdog, ({ value }) => value?.byteLength ?? 0);
 */
export class Watchdog {
  readonly limits: PeerLimits;
  /** Start of the wait that is under way. */
  #waitingSince: number | null = null;
  /** Waited since the last byte. */
  #idleMs = 0;
  /** Waited, and bytes moved, in the present window. */
  #windowMs = 0;
  #windowBytes = 0;

  constructor(limits: PeerLimits) {
    this.limits = limits;
  }

  /** The vault begins to wait for the peer. */
  wait(now: number): void {
    this.#waitingSince = now;
  }

  /** The wait is over: the peer moved `bytes`. None is no progress (an empty chunk). */
  moved(bytes: number, now: number): void {
    const waited = this.#waited(now);
    this.#waitingSince = null;
    this.#idleMs = bytes > 0 ? 0 : this.#idleMs + waited;
    this.#windowMs += waited;
    this.#windowBytes += bytes;
    if (this.#windowMs >= RATE_WINDOW_MS && !this.#isSlow()) this.#windowMs = this.#windowBytes = 0;
  }

  /** Whether the peer counts as stalled at this moment. */
  state(now: number): 'ok' | 'stalled' {
    return this.msLeft(now) > 0 ? 'ok' : 'stalled';
  }

  /** How much longer the peer may move nothing before it counts as stalled; 0 once it does. */
  msLeft(now: number): number {
    const waited = this.#waited(now);
    const idle = this.limits.idleMs - this.#idleMs - waited;
    const slow = this.#isSlow() ? RATE_WINDOW_MS - this.#windowMs - waited : Number.POSITIVE_INFINITY;
    return Math.max(0, Math.min(idle, slow));
  }

  #waited(now: number): number {
    return this.#waitingSince === null ? 0 : Math.max(0, now - this.#waitingSince);
  }

  /** Whether the window has too few bytes so far. */
  #isSlow(): boolean {
    return this.#windowBytes < (this.limits.minRate * RATE_WINDOW_MS) / 1000;
  }
}

/**
 * Resolves with the result of `work` (a read of the peer, or a write to it), and counts it. Throws {@link PeerStalled} when
 * the peer stalls meanwhile; `work` itself then continues, and the caller must cancel the stream that it waits for.
 *
 * @param bytesOf how many bytes a result is
 */
export async function watched<T>(work: Promise<T>, watchdog: Watchdog, bytesOf: (result: T) => number): Promise<T> {
  watchdog.wait(Date.now());
  const { promise: stalled, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new PeerStalled(watchdog.limits)), watchdog.msLeft(Date.now()));
  try {
    const result = await Promise.race([work, stalled]);
    watchdog.moved(bytesOf(result), Date.now());
    return result;
  } catch (error) {
    // A late failure of the work has no listener any more.
    work.catch(() => undefined);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
