const MIB = 1024 * 1024;
const FIRST_BYTES = 16 * MIB;
const LEAST_BYTES = MIB;
const MOST_BYTES = 64 * MIB;
/** A piece that takes longer is not made larger: the edge may hold it back until it is whole, and a cut loses it. */
const QUICK_MS = 15_000;

export interface PieceLimits {
  /** Every piece has this size (`--chunk`). */
  readonly fixedBytes?: number | undefined;
  /** What one request may carry (`max_request_bytes`). */
  readonly requestBytes?: number | null;
  /** The vault's parts: a piece that ends where one of them does leaves no remainder to be kept. */
  readonly partBytes: number;
  /** How many uploads there are at once: together they hold no more than one alone. */
  readonly uploads?: number;
}

/**
 * How large the next piece is. It begins at 16 MiB, doubles to 64 MiB while pieces go well and quickly, and is halved,
 * down to 1 MiB, each time one fails. From 8 MiB on, pieces end at multiples of the vault's parts.
 */
export class PieceSize {
  readonly #partBytes: number;
  readonly #adapts: boolean;
  #most: number;
  #bytes: number;

  constructor({ fixedBytes, requestBytes, partBytes, uploads = 1 }: PieceLimits) {
    const shared = Math.max(partBytes, floorTo(MOST_BYTES / uploads, partBytes));
    const most = Math.min(fixedBytes ?? shared, requestBytes ?? Number.POSITIVE_INFINITY);
    this.#partBytes = partBytes;
    this.#adapts = fixedBytes === undefined;
    this.#most = most >= partBytes && this.#adapts ? floorTo(most, partBytes) : most;
    this.#bytes = this.#adapts ? Math.min(FIRST_BYTES, this.#most) : this.#most;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Where a piece that begins at `offset` ends, unless the content does before. */
  endAfter(offset: number): number {
    const end = offset + this.#bytes;
    const aligned = floorTo(end, Math.min(this.#bytes, this.#partBytes));
    return aligned > offset ? aligned : end;
  }

  /** A piece of `bytes` went in `ms`. One cut short by alignment or by the content's end says little. */
  went(bytes: number, ms: number): void {
    const whole = bytes >= this.#bytes / 2;
    if (whole && ms * 2 < QUICK_MS) this.#set(this.#bytes * 2);
  }

  failed(): void {
    this.#set(this.#bytes / 2);
  }

  /** Something on the way takes no request so large: never again. False where there is nothing smaller. */
  wasTooLarge(): boolean {
    if (this.#bytes <= LEAST_BYTES) return false;
    this.#most = Math.max(LEAST_BYTES, Math.floor(this.#bytes / 2));
    this.#bytes = this.#most;
    return true;
  }

  #set(bytes: number): void {
    if (this.#adapts) this.#bytes = Math.min(Math.max(bytes, Math.min(LEAST_BYTES, this.#most)), this.#most);
  }
}

function floorTo(bytes: number, multiple: number): number {
  return Math.floor(bytes / multiple) * multiple;
}
