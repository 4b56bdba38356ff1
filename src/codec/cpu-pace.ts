import { VaultError } from '../shared/errors.ts';
import { MIB } from '../shared/limits.ts';
import type { FrameCompressor, ZstdEngine } from './zstd/engine.ts';

/**
 * Content that one core compresses in a second, in MiB, at the highest level of each step; frames of 4 MiB of a mixed tar
 * (docs/decisions/0021-cpu-limit.md, measured by bench/parts/cpu-rates.ts). A table and no clock, because the clock of a
 * Worker does not advance while it computes.
 */
const NATIVE_RATES: readonly (readonly [level: number, mibPerSecond: number])[] = [
  [3, 400],
  [6, 160],
  [9, 135],
  [12, 51],
  [15, 16],
  [17, 7],
  [19, 6],
  [22, 4.4],
];
/** How much slower zstd-codec is. */
const WASM_FACTOR = 1.6;
/** Busy cores take twice as long (measured), and other content takes longer. */
const SAFETY_FACTOR = 2;
/** What an upload computes beside compressing: digests, the members of an archive, encryption, and moving its bytes. */
const OTHER_MIB_PER_SECOND = 200;

/** The level is too slow for this length: the platform would end the request before its end. */
export class LevelTooSlow extends VaultError {
  constructor(level: number, bytes: number, limitMs: number, highest: number | null) {
    const lower = highest === null ? 'Upload' : `Use level ${highest} or lower, or upload`;
    super(
      'level-too-slow',
      `Compressing ${bytes} bytes at level ${level} takes more than the ${limitMs / 1000} s that one request may compute. ` +
        `${lower} in chunks, each of which is a request of its own: coldstream push, or a tus client with a chunk size.`,
      { facts: highest === null ? {} : { highest_level: highest } },
    );
  }
}

export interface PaceOptions {
  readonly engine: ZstdEngine;
  /** Asked for: no frame takes a higher one. */
  readonly level: number;
  /** What one request may compute. */
  readonly limitMs: number;
  /** Content that the request can bring at most, in bytes. */
  readonly mostBytes: number;
}

/**
 * Chooses the level of each frame, so that one request stays within what it may compute however long its content gets: a
 * frame takes the level that was asked for as long as all that may still come can be compressed at the fastest one.
 */
export class CompressionPace {
  readonly #options: PaceOptions;
  #bytes = 0;
  #seconds = 0;
  #lowest: number;

  constructor(options: PaceOptions) {
    this.#options = options;
    this.#lowest = options.level;
  }

  /** The lowest level that a frame has got, or the one that was asked for. */
  get lowest(): number {
    return this.#lowest;
  }

  /** The level of the next frame, which has `contentBytes` of content. */
  next(contentBytes: number): number {
    const { engine, limitMs, mostBytes } = this.#options;
    this.#bytes += contentBytes;
    const rest = Math.max(0, mostBytes - this.#bytes);
    const left = limitMs / 1000 - this.#seconds - seconds(engine, 1, rest);
    // Content does not go back to a slower level: what is left of the time shrinks with every frame.
    let level = this.#lowest;
    while (level > FASTEST && seconds(engine, level, contentBytes) > left) level -= 1;
    this.#seconds += seconds(engine, level, contentBytes);
    this.#lowest = level;
    return level;
  }
}

/** The highest of the levels that are as fast as level 1. */
const FASTEST = 3;

/** Throws {@link LevelTooSlow} where content of `bytes` cannot be compressed at that level within one request. */
export function checkPace({ engine, level, limitMs }: Omit<PaceOptions, 'mostBytes'>, bytes: number): void {
  const fits = (one: number) => seconds(engine, one, bytes) * 1000 <= limitMs;
  if (fits(level)) return;
  let lower = level - 1;
  while (lower > 0 && !fits(lower)) lower -= 1;
  throw new LevelTooSlow(level, bytes, limitMs, lower > 0 ? lower : null);
}

/** A compressor whose frames have the levels that `nextLevel` chooses by their content, in bytes. */
export function pacedCompressor(engine: ZstdEngine, nextLevel: (contentBytes: number) => number): FrameCompressor {
  let open: { readonly level: number; readonly compressor: FrameCompressor } | null = null;
  return {
    compress(content) {
      const level = nextLevel(content.length);
      if (open?.level !== level) {
        open?.compressor.close();
        open = { level, compressor: engine.compressor(level) };
      }
      return open.compressor.compress(content);
    },
    close: () => open?.compressor.close(),
  };
}

/** The member of a receipt that says that some frames have a lower level than was asked for. */
export function lowestLevel(lowest: number, level: number): { readonly lowest_level?: number } {
  return lowest < level ? { lowest_level: lowest } : {};
}

function seconds(engine: ZstdEngine, level: number, bytes: number): number {
  const [, native = Number.NaN] = NATIVE_RATES.find(([highest]) => level <= highest) ?? [];
  const rate = engine.name === 'wasm' ? native / WASM_FACTOR : native;
  return (bytes / MIB) * (SAFETY_FACTOR / rate + 1 / OTHER_MIB_PER_SECOND);
}
