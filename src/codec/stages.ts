import { ageDecrypt, ageEncrypt, ageOpen } from './age.ts';
import type { AgeSealing } from './age-sealer.ts';
import type { Sha256Digest } from './digest.ts';
import { gzipEncode } from './gzip.ts';
import type { Coded, Layers, StageOf } from './pipeline.ts';
import { type SeekableEncodeOptions, seekableEncode } from './seekable/seekable-encoder.ts';
import { type ZstdDecodeOptions, zstdDecode } from './zstd/zstd-decode.ts';

/** The stages that the vault's ways are built of, by what they take and give. A codec's own file says how it works. */

/** Into the stored form: zstd frames and their seek table. */
export function compress(options: SeekableEncodeOptions): StageOf<[], ['zstd']> {
  return seekableEncode(options);
}

export function decompress(
  options: ZstdDecodeOptions,
): <L extends Layers>(source: Coded<readonly ['zstd', ...L]>) => Coded<L> {
  return zstdDecode(options);
}

export function gzip(othersWait?: () => boolean): StageOf<[], ['gzip']> {
  return gzipEncode(othersWait);
}

/** Into an age file, for whoever has the identity of one of the recipients. What is encrypted can be compressed no more. */
export function encrypt(
  recipients: readonly string[],
): <L extends [] | ['zstd'] | ['gzip']>(source: Coded<L>) => Coded<['age', ...L]> {
  return ageEncrypt(recipients);
}

export function decrypt(identity: string): <L extends Layers>(source: Coded<readonly ['age', ...L]>) => Coded<L> {
  return ageDecrypt(identity);
}

/** Of what was encrypted here, and is still known how. */
export function reopen(sealing: AgeSealing): <L extends Layers>(source: Coded<readonly ['age', ...L]>) => Coded<L> {
  return ageOpen(sealing);
}

/** Adds every byte to a running digest, which its owner reads when the way has come to its end. */
export function digest(running: Sha256Digest): <L extends Layers>(source: Coded<L>) => Coded<L> {
  return meter((piece) => running.update(piece));
}

/**
 * Shows every piece to `onPiece` before it goes on, with the bytes that have come up to its end. What that throws, or
 * rejects with, is the way's error: a cap stands here. A promise holds the way until it settles.
 */
export function meter(
  onPiece: (piece: Uint8Array, bytes: number) => void | Promise<void>,
): <L extends Layers>(source: Coded<L>) => Coded<L> {
  return async function* metered(source) {
    let bytes = 0;
    for await (const piece of source) {
      bytes += piece.length;
      const holding = onPiece(piece, bytes);
      if (holding) await holding;
      yield piece;
    }
  };
}

/** Where the time of a {@link rateLimit} comes from; tests have their own. */
export interface RateClock {
  now(): number;
  wait(ms: number): Promise<void>;
}

const REAL_CLOCK: RateClock = { now: () => Date.now(), wait: (ms) => scheduler.wait(ms) };

/**
 * Lets at most `bytesPerSecond` through, on average from the first piece on; a piece is never cut, so the finest step is
 * a piece. Time that the source or the consumer lost is not made up for by a burst.
 */
export function rateLimit(
  bytesPerSecond: number,
  clock: RateClock = REAL_CLOCK,
): <L extends Layers>(source: Coded<L>) => Coded<L> {
  return async function* limited(source) {
    let free = clock.now();
    for await (const piece of source) {
      const now = clock.now();
      if (now < free) await clock.wait(free - now);
      free = Math.max(free, now) + (piece.length * 1000) / bytesPerSecond;
      yield piece;
    }
  };
}
