import { VaultError } from './errors.ts';
import {
  BUSY_RETRY_SECONDS,
  BUSY_WAIT_MS,
  EXPORT_PAGES,
  FLIGHT_WAIT_MS,
  FLIGHTS_PER_ISOLATE,
  FLIGHTS_PER_UPLOAD,
  HELD_ROWS_BYTES_PER_ISOLATE,
  HELD_ROWS_STEP_BYTES,
  LEAST_KEPT_BYTES,
  MEMORY_LEASE_MS,
  MEMORY_POLL_MS,
  MOST_KEPT_BYTES,
  READERS_KEPT_BYTES,
  REST_ASK_AGAIN_MS,
  REST_BYTES,
  REST_CHECK_MS,
  REST_RESERVE_BYTES,
  REST_WORTH_BYTES,
  SMALL_OPERATIONS,
  TURNS_PER_ISOLATE,
  WINDOW_BYTES,
  WRITTEN_BATCH_BYTES,
  WRITTEN_BATCH_BYTES_PER_IMPORT,
} from './limits.ts';
import type { Pieces } from './streams.ts';

/** What a transfer borrowed for a moment. Return it in a `finally`; releasing it twice is harmless. */
export interface Share {
  release(): void;
}

/** The request waited as long as it may for memory of the isolate. */
export class VaultBusy extends VaultError {
  constructor() {
    super('busy', `The vault is busy. Try again in ${BUSY_RETRY_SECONDS} seconds.`, {
      facts: { retry_after_seconds: BUSY_RETRY_SECONDS },
    });
  }
}

export interface GateLimits {
  /** Units that may be out at once. */
  readonly units: number;
  /** Units that one holder may have of them; all by default. */
  readonly perHolder?: number;
  /** How long a caller waits before {@link VaultBusy}; BUSY_WAIT_MS by default. */
  readonly waitMs?: number;
}

interface Claim {
  readonly holder: string;
  readonly units: number;
  seenAt: number;
}

/**
 * Lends out a fixed number of units. Holders are served in turn: a free unit goes to the waiting holder that has the
 * fewest, among equals to the one that was served longest ago. A holder at its own limit delays only itself.
 *
 * A share is a lease that a timer of the request renews, because a request that the runtime ends runs no `finally`: its
 * timer ends with it. Waiting is polling, because the runtime cancels a request that only awaits another request's
 * promise. See docs/decisions/0017-fair-memory.md.
 */
export class Gate {
  readonly #units: number;
  readonly #perHolder: number;
  readonly #waitMs: number;
  readonly #held = new Set<Claim>();
  readonly #waiting = new Set<Claim>();
  /** When each holder with a share or in the queue was served last, as a count of servings. */
  readonly #servedAt = new Map<string, number>();
  #servings = 0;

  constructor({ units, perHolder = units, waitMs = BUSY_WAIT_MS }: GateLimits) {
    this.#units = units;
    this.#perHolder = perHolder;
    this.#waitMs = waitMs;
  }

  /** Units that are out. */
  get used(): number {
    return unitsOf(this.#held);
  }

  /** Callers in the queue. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Resolves with a share of `units` once it is this holder's turn. Throws {@link VaultBusy} after the gate's waiting
   * time, and the signal's reason where it would wait and that has aborted.
   *
   * @param holder whose transfer it is: a token, a link or an upload
   * @throws RangeError for more units than one holder may have
   */
  async acquire(holder: string, signal?: AbortSignal, units = 1): Promise<Share> {
    if (units > this.#perHolder) throw new RangeError(`${units} units never fit into ${this.#perHolder}`);
    const claim: Claim = { holder, units, seenAt: Date.now() };
    const deadline = Date.now() + this.#waitMs;
    this.#waiting.add(claim);
    try {
      while (this.#next() !== claim) {
        signal?.throwIfAborted();
        if (Date.now() >= deadline) throw new VaultBusy();
        await scheduler.wait(MEMORY_POLL_MS);
        claim.seenAt = Date.now();
      }
      this.#servings += 1;
      this.#servedAt.set(holder, this.#servings);
      this.#held.add(claim);
    } finally {
      this.#waiting.delete(claim);
      this.#forgetIfGone(holder);
    }
    const renewal = setInterval(() => {
      claim.seenAt = Date.now();
    }, MEMORY_LEASE_MS / 6);
    return {
      release: () => {
        clearInterval(renewal);
        this.#held.delete(claim);
        this.#forgetIfGone(holder);
      },
    };
  }

  /** The claim that may be served now; null where the next one does not fit. */
  #next(): Claim | null {
    this.#dropDead();
    let next: Claim | null = null;
    for (const claim of this.#waiting) {
      if (this.#unitsOfHolder(claim.holder) + claim.units > this.#perHolder) continue;
      if (!next || this.#precedes(claim, next)) next = claim;
    }
    return next && this.used + next.units <= this.#units ? next : null;
  }

  #precedes(claim: Claim, other: Claim): boolean {
    const held = this.#unitsOfHolder(claim.holder) - this.#unitsOfHolder(other.holder);
    if (held !== 0) return held < 0;
    return (this.#servedAt.get(claim.holder) ?? 0) < (this.#servedAt.get(other.holder) ?? 0);
  }

  #unitsOfHolder(holder: string): number {
    let sum = 0;
    for (const claim of this.#held) if (claim.holder === holder) sum += claim.units;
    return sum;
  }

  #dropDead(): void {
    const now = Date.now();
    dropOlder(this.#held, now - MEMORY_LEASE_MS);
    // A waiting request shows itself at each poll; a busy isolate may delay that by seconds.
    dropOlder(this.#waiting, now - MEMORY_LEASE_MS / 6);
  }

  #forgetIfGone(holder: string): void {
    for (const claims of [this.#held, this.#waiting]) {
      for (const claim of claims) if (claim.holder === holder) return;
    }
    this.#servedAt.delete(holder);
  }
}

/** The pieces of `source`. Each is pulled within a share of `gate` that is returned at the next pull. */
export async function* inTurns(
  source: Pieces,
  gate: Gate,
  holder: string,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const pieces = source[Symbol.asyncIterator]();
  let share: Share | undefined;
  try {
    for (;;) {
      share = await gate.acquire(holder, signal);
      const { done, value } = await pieces.next();
      if (done) return;
      yield value;
      share.release();
    }
  } finally {
    share?.release();
    await pieces.return?.();
  }
}

function unitsOf(claims: Iterable<Claim>): number {
  let sum = 0;
  for (const { units } of claims) sum += units;
  return sum;
}

function dropOlder<T extends { readonly seenAt: number }>(entries: Set<T>, deadline: number): void {
  for (const entry of entries) if (entry.seenAt < deadline) entries.delete(entry);
}

/**
 * Shares that one operation takes one after the other. The first may find the isolate busy ({@link VaultBusy}). Later
 * ones wait on, because what has begun could only be broken off.
 */
export function sharesInTurn(first: () => Promise<Share>, next = first): () => Promise<Share> {
  let begun = false;
  const untilFree = async (): Promise<Share> => {
    try {
      return await next();
    } catch (error) {
      if (!(error instanceof VaultBusy)) throw error;
      return untilFree();
    }
  };
  return async () => {
    if (begun) return untilFree();
    const share = await first();
    begun = true;
    return share;
  };
}

/** The unfinished bytes of one transfer. */
export interface RestAccount {
  /** Bytes of memory that are held more, 0 where what came fits into what is held, or with a negative number less. */
  add(bytes: number): void;
  /** Ends the account. The last call; harmless twice. */
  close(): void;
}

interface Unfinished {
  bytes: number;
  /** Bytes that are being put aside: they leave soon, so no other transfer has to put aside for them. */
  leaving: number;
  movedAt: number;
  seenAt: number;
  /** Not asked again before: the last time it had nothing that could be put aside. */
  askedAgainAt: number;
}

/**
 * Counts the bytes that came from senders and are unfinished: a frame or a part that is not full. No transfer waits
 * because of it. Above the limit the transfer that has been idle longest puts its bytes aside, among equals the one
 * with the most bytes.
 */
export class RestLedger {
  readonly #limitBytes: () => number;
  readonly #entries = new Set<Unfinished>();

  /** @param limitBytes asked at each look, since other work of the isolate may leave less */
  constructor(limitBytes: () => number) {
    this.#limitBytes = limitBytes;
  }

  /** Bytes held by all transfers. */
  get usedBytes(): number {
    let sum = 0;
    for (const { bytes } of this.#entries) sum += bytes;
    return sum;
  }

  /**
   * Resolves once there is room for more bytes of a sender; undefined where there is. It is missing only where bytes come
   * faster than they are stored or put aside: what is read then waits in the sender's connection. Throws VaultBusy where
   * that lasts.
   */
  room(): Promise<void> | undefined {
    return this.usedBytes > this.#limitBytes() + REST_RESERVE_BYTES ? this.#waitForRoom() : undefined;
  }

  async #waitForRoom(): Promise<void> {
    const deadline = Date.now() + FLIGHT_WAIT_MS;
    while (this.usedBytes > this.#limitBytes() + REST_RESERVE_BYTES) {
      if (Date.now() >= deadline) throw new VaultBusy();
      await scheduler.wait(MEMORY_POLL_MS);
    }
  }

  /**
   * Opens an account for a transfer. A timer of that request calls `putAside`, never another request, since I/O and the
   * storage of a Durable Object belong to one request. `putAside` must not reject, and subtracts what it put aside from
   * the account. A request that the runtime ends loses its timer, and with it the account.
   */
  open(putAside: () => Promise<void>): RestAccount {
    const now = Date.now();
    const entry: Unfinished = { bytes: 0, leaving: 0, movedAt: now, seenAt: now, askedAgainAt: now };
    this.#entries.add(entry);
    const timer = setInterval(() => {
      entry.seenAt = Date.now();
      if (this.#mostIdle() === entry) void leave(entry, putAside);
    }, REST_CHECK_MS);
    return {
      add: (bytes) => {
        entry.bytes += bytes;
        if (bytes >= 0) entry.movedAt = Date.now();
      },
      close: () => {
        clearInterval(timer);
        this.#entries.delete(entry);
      },
    };
  }

  /** The transfer that has to put its bytes aside now, or null. */
  #mostIdle(): Unfinished | null {
    const now = Date.now();
    dropOlder(this.#entries, now - MEMORY_LEASE_MS);
    let staying = 0;
    let most: Unfinished | null = null;
    for (const entry of this.#entries) {
      staying += entry.bytes - Math.min(entry.leaving, entry.bytes);
      if (entry.leaving > 0 || entry.bytes < REST_WORTH_BYTES || now < entry.askedAgainAt) continue;
      if (!most || isMoreIdle(entry, most, now)) most = entry;
    }
    return staying > this.#limitBytes() ? most : null;
  }
}

async function leave(entry: Unfinished, putAside: () => Promise<void>): Promise<void> {
  const before = entry.bytes;
  entry.leaving = before;
  try {
    await putAside();
  } finally {
    entry.leaving = 0;
    if (entry.bytes >= before) entry.askedAgainAt = Date.now() + REST_ASK_AGAIN_MS;
  }
}

/** Idle times are compared in seconds: among senders that all send, the milliseconds are chance. */
function isMoreIdle(entry: Unfinished, other: Unfinished, now: number): boolean {
  const seconds = ({ movedAt }: Unfinished) => Math.floor((now - movedAt) / 1000);
  const longer = seconds(entry) - seconds(other);
  return longer === 0 ? entry.bytes > other.bytes : longer > 0;
}

/**
 * Divides {@link READERS_KEPT_BYTES} equally among the slow readers of decoded content. No reader waits: more readers
 * keep less each, and read and decode more often.
 */
export class SlowReaders {
  readonly #seenAt = new Map<object, number>();

  /** The bytes that `reader` may keep now, between {@link LEAST_KEPT_BYTES} and {@link MOST_KEPT_BYTES}. */
  share(reader: object): number {
    const now = Date.now();
    for (const [other, seenAt] of this.#seenAt) if (seenAt < now - MEMORY_LEASE_MS) this.#seenAt.delete(other);
    this.#seenAt.set(reader, now);
    const equal = Math.floor(READERS_KEPT_BYTES / this.#seenAt.size);
    return Math.min(MOST_KEPT_BYTES, Math.max(LEAST_KEPT_BYTES, equal));
  }

  /** `reader` keeps nothing any more. Harmless twice. */
  leave(reader: object): void {
    this.#seenAt.delete(reader);
  }
}

/**
 * The account of what the transfers of one isolate hold. Nothing is reserved for the length of a transfer: shares are
 * borrowed for a moment of work, and unfinished bytes are counted as they come.
 */
export interface IsolateMemory {
  /** Frames that are read and decoded: their compressed bytes and their content. */
  readonly turns: Gate;
  /** Parts on their way to the storage. */
  readonly flights: Gate;
  /** Operations under 1 MiB, and the first frame of a download. They never wait behind the others. */
  readonly small: Gate;
  /** Windows of streaming decoders, in bytes: they last as long as what is decoded. */
  readonly windows: Gate;
  /** Text of batches of rows that are written to a database, in bytes. */
  readonly batches: Gate;
  /** Rows of imports that are held because others depend on them, in steps of {@link HELD_ROWS_STEP_BYTES}. */
  readonly heldRows: Gate;
  /** Pages of rows that go out. A reader that stops returns its page, and reads it again later. */
  readonly pages: Gate;
  readonly slowReaders: SlowReaders;
  readonly rest: RestLedger;
}

export function isolateMemory(): IsolateMemory {
  const windows = new Gate({ units: WINDOW_BYTES });
  return {
    turns: new Gate({ units: TURNS_PER_ISOLATE }),
    flights: new Gate({ units: FLIGHTS_PER_ISOLATE, perHolder: FLIGHTS_PER_UPLOAD, waitMs: FLIGHT_WAIT_MS }),
    small: new Gate({ units: SMALL_OPERATIONS }),
    windows,
    batches: new Gate({
      units: WRITTEN_BATCH_BYTES,
      perHolder: WRITTEN_BATCH_BYTES_PER_IMPORT,
      waitMs: FLIGHT_WAIT_MS,
    }),
    heldRows: new Gate({ units: HELD_ROWS_BYTES_PER_ISOLATE / HELD_ROWS_STEP_BYTES }),
    pages: new Gate({ units: EXPORT_PAGES }),
    slowReaders: new SlowReaders(),
    // A window lasts as long as its upload, so what it takes is missing for unfinished bytes.
    rest: new RestLedger(() => REST_BYTES - windows.used),
  };
}
