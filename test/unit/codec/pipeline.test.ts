import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { beforeAll, describe, expect, it } from 'vitest';
import { sha256Digest } from '../../../src/codec/digest.ts';
import { type Coded, type Pipeline, pipeline } from '../../../src/codec/pipeline.ts';
import { compress, decompress, decrypt, digest, encrypt, gzip, meter, rateLimit } from '../../../src/codec/stages.ts';
import { nativeEngine as engine } from '../../../src/codec/zstd/native-engine.ts';
import { hex } from '../../../src/shared/bytes.ts';
import { KIB } from '../../../src/shared/limits.ts';
import { type Pieces, pumpPieces } from '../../../src/shared/streams.ts';
import { chunked, collect, firstDifference, noise, text } from './bytes.ts';

const content = text(200 * KIB + 7);

let identity: string;
let recipient: string;
beforeAll(async () => {
  identity = await generateX25519Identity();
  recipient = await identityToRecipient(identity);
});

/** A number from 0 up to `below`, the same at every run. */
function random(seed: number): (below: number) => number {
  let state = seed * 2654435761 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

class SourceFailed extends Error {}
class ConsumerFailed extends Error {}

/** A source of pieces of any size that tells how often it was left, and what it still holds open. */
function source(bytes: Uint8Array, next: (below: number) => number, failAfter = Number.POSITIVE_INFINITY) {
  const seen = { pulls: 0, left: 0, ended: false };
  async function* pieces(): AsyncGenerator<Uint8Array> {
    try {
      for (let at = 0; at < bytes.length; ) {
        if (seen.pulls >= failAfter) throw new SourceFailed();
        seen.pulls += 1;
        const size = 1 + next(16 * KIB);
        yield bytes.slice(at, at + size);
        at += size;
      }
      seen.ended = true;
    } finally {
      seen.left += 1;
    }
  }
  return { pieces: pieces(), seen };
}

/** The whole way in, and out again: every stage, in the order of the vault. */
function thereAndBack(from: Pieces, there = sha256Digest(), back = sha256Digest()): Pipeline<[]> {
  return pipeline(from)
    .through(meter(() => undefined))
    .through(digest(there))
    .through(compress({ engine, level: 1, frameBytes: 32 * KIB }))
    .through(encrypt([recipient]))
    .through(rateLimit(Number.MAX_SAFE_INTEGER))
    .through(decrypt(identity))
    .through(decompress({ engine, maxBytes: content.length }))
    .through(digest(back));
}

describe('a pipeline', () => {
  it('gives what its stages make, whatever the pieces', async () => {
    for (let seed = 1; seed <= 25; seed++) {
      const there = sha256Digest();
      const back = sha256Digest();
      const { pieces, seen } = source(content, random(seed));
      const out = await collect(thereAndBack(pieces, there, back));
      expect(firstDifference(out, content), `seed ${seed}`).toBeNull();
      expect(hex(there.digest())).toBe(hex(back.digest()));
      expect(seen).toMatchObject({ left: 1, ended: true });
    }
  });

  it('of no stages is its source', async () => {
    const { pieces } = source(content, random(1));
    expect(firstDifference(await collect(pipeline(pieces)), content)).toBeNull();
  });

  it('throws what its source throws, wherever that breaks, and ends every stage', async () => {
    for (let failAfter = 0; failAfter < 12; failAfter++) {
      const { pieces, seen } = source(content, random(3), failAfter);
      await expect(collect(thereAndBack(pieces))).rejects.toBeInstanceOf(SourceFailed);
      expect(seen).toMatchObject({ pulls: failAfter, left: 1, ended: false });
    }
  });

  it('leaves its source when the consumer leaves, after any number of pieces, or fails', async () => {
    for (let leaveAfter = 1; leaveAfter <= 6; leaveAfter++) {
      for (const fails of [false, true]) {
        const { pieces, seen } = source(content, random(5));
        const consume = async () => {
          let taken = 0;
          for await (const _ of thereAndBack(pieces)) {
            taken += 1;
            if (taken < leaveAfter) continue;
            if (fails) throw new ConsumerFailed();
            break;
          }
        };
        const consumed = consume();
        if (fails) await expect(consumed).rejects.toBeInstanceOf(ConsumerFailed);
        else await consumed;
        expect(seen.left).toBe(1);
        const { pulls } = seen;
        await scheduler.wait(1);
        expect(seen.pulls, 'nothing goes on').toBe(pulls);
      }
    }
  });

  it('leaves its source also when nobody has pulled yet', async () => {
    let left = 0;
    const never: Pieces = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.reject(new Error('pulled')),
        return: async () => {
          left += 1;
          return { done: true, value: undefined };
        },
      }),
    };
    await thereAndBack(never)[Symbol.asyncIterator]().return?.();
    expect(left).toBe(1);
    await pipeline(never)[Symbol.asyncIterator]().return?.();
    expect(left).toBe(2);
  });

  it('throws what a stage throws, at any piece, and leaves what is above it', async () => {
    for (let failAt = 1; failAt <= 5; failAt++) {
      for (const late of [false, true]) {
        const { pieces, seen } = source(content, random(9));
        let shown = 0;
        const broken = meter(() => {
          shown += 1;
          if (shown < failAt) return;
          const error = new RangeError('the cap');
          if (late) return Promise.reject(error);
          throw error;
        });
        const way = pipeline(pieces)
          .through(broken)
          .through(compress({ engine, level: 1 }))
          .through(encrypt([recipient]));
        await expect(collect(way)).rejects.toThrow('the cap');
        expect(seen.left).toBe(1);
      }
    }
  });

  it('asks its source for nothing that nobody pulls', async () => {
    const { pieces, seen } = source(noise(1024 * KIB), random(11));
    const way = pipeline(pieces)
      .through(digest(sha256Digest()))
      .through(meter(() => undefined));
    expect(seen.pulls).toBe(0);
    const iterator = way[Symbol.asyncIterator]();
    for (let pulls = 1; pulls <= 4; pulls++) {
      await iterator.next();
      await scheduler.wait(1);
      expect(seen.pulls).toBe(pulls);
    }
    await iterator.return?.();
  });

  it('is left when the reader behind a pump goes away', async () => {
    const { pieces, seen } = source(noise(4096 * KIB), random(13));
    const { readable, writable } = new IdentityTransformStream();
    const pumping = pumpPieces(
      pipeline(pieces).through(compress({ engine, level: 1, frameBytes: 32 * KIB })),
      writable,
    );
    const ended = expect(pumping).rejects.toThrow();
    const reader = readable.getReader();
    await reader.read();
    await reader.cancel(new Error('gone'));
    await ended;
    expect(seen).toMatchObject({ left: 1, ended: false });
  });

  it('copies no piece', async () => {
    const piece = noise(100);
    async function* one() {
      yield piece;
    }
    const way = pipeline(one())
      .through(digest(sha256Digest()))
      .through(meter(() => undefined))
      .through(rateLimit(1_000_000));
    for await (const out of way) expect(out).toBe(piece);
  });

  it('does not compile in an order that makes no sense', () => {
    const plain = pipeline(chunked(content, 1000));
    const zstd: Pipeline<['zstd']> = plain.through(compress({ engine, level: 1 }));
    const age: Pipeline<['age', 'zstd']> = zstd.through(encrypt([recipient]));
    const back: Pipeline<[]> = age.through(decrypt(identity)).through(decompress({ engine, maxBytes: 1 }));
    // Only types are looked at here: no stage runs before it is pulled.
    const orders = [
      // @ts-expect-error: compressed twice
      () => zstd.through(compress({ engine, level: 1 })),
      // @ts-expect-error: compressed after it was encrypted
      () => age.through(compress({ engine, level: 1 })),
      // @ts-expect-error: gzip of what is zstd
      () => zstd.through(gzip()),
      // @ts-expect-error: encrypted twice
      () => age.through(encrypt([recipient])),
      // @ts-expect-error: decrypted, but not encrypted
      () => zstd.through(decrypt(identity)),
      // @ts-expect-error: decompressed before it is decrypted
      () => age.through(decompress({ engine, maxBytes: 1 })),
      // @ts-expect-error: decompressed, but not compressed
      () => plain.through(decompress({ engine, maxBytes: 1 })),
      // @ts-expect-error: what is encrypted is not content
      (): Coded<[]> => age,
    ];
    expect(orders).toHaveLength(8);
    expect(back).toBeDefined();
  });
});

describe('a rate limit', () => {
  /** Time that passes only by waiting. */
  function clock() {
    const state = { ms: 1_000, waits: [] as number[] };
    return {
      state,
      now: () => state.ms,
      wait: async (ms: number) => {
        state.waits.push(ms);
        state.ms += ms;
      },
    };
  }

  it('lets through as many bytes a second as it should, from the first on', async () => {
    const time = clock();
    const began = time.now();
    const out = await collect(pipeline(chunked(content, 10_000)).through(rateLimit(50_000, time)));
    expect(firstDifference(out, content)).toBeNull();
    const pieces = Math.ceil(content.length / 10_000);
    expect(time.state.waits).toEqual(Array.from({ length: pieces - 1 }, () => 200));
    expect(time.now() - began).toBe((pieces - 1) * 200);
  });

  it('makes no burst of time that was lost', async () => {
    const time = clock();
    const way = pipeline(chunked(content, 10_000)).through(rateLimit(50_000, time))[Symbol.asyncIterator]();
    await way.next();
    time.state.ms += 60_000;
    await way.next();
    expect(time.state.waits).toEqual([]);
    await way.next();
    expect(time.state.waits).toEqual([200]);
    await way.return?.();
  });
});

describe('a meter', () => {
  it('shows every piece once, with the bytes up to its end, and waits for a promise', async () => {
    const { pieces } = source(content, random(17));
    const totals: number[] = [];
    let shown = 0;
    let holding = false;
    const way = pipeline(pieces).through(
      meter(async (piece, bytes) => {
        expect(holding).toBe(false);
        holding = true;
        await scheduler.wait(0);
        holding = false;
        shown += piece.length;
        totals.push(bytes);
        expect(bytes).toBe(shown);
      }),
    );
    expect((await collect(way)).length).toBe(content.length);
    expect(totals.at(-1)).toBe(content.length);
  });
});
