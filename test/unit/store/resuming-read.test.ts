import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { concat } from '../../../src/shared/bytes.ts';
import type { RetryPolicy } from '../../../src/shared/retry.ts';
import { type Pieces, readAhead } from '../../../src/shared/streams.ts';
import { ObjectStore } from '../../../src/store/object-store.ts';
import { type ResumingReadOptions, readResuming } from '../../../src/store/resuming-read.ts';
import { type BodyFault, faultyBodies } from '../../support/faulty-bucket.ts';

const LENGTH = 30;
const content = Uint8Array.from({ length: LENGTH }, (_, i) => 7 * i + 1);
const whole = { offset: 0, length: LENGTH };
/** As in earnest, but for the time it takes. */
const quick: RetryPolicy = { tries: 3, firstWaitMs: 0.01 };
const everyPlace = Array.from({ length: LENGTH + 1 }, (_, n) => n);

type Faults = Parameters<typeof faultyBodies>[1];

async function faulty(faultOf: Faults, options: Parameters<typeof faultyBodies>[2] = {}) {
  const key = `resuming-${crypto.randomUUID()}`;
  await env.VAULT.put(key, content);
  const { bucket, reads } = faultyBodies(env.VAULT, faultOf, options);
  const read = (more: Partial<ResumingReadOptions> = {}, span = whole) =>
    readResuming(new ObjectStore(bucket), key, span, { pieceBytes: 7, policy: quick, ...more });
  return { key, reads, read, store: new ObjectStore(bucket), offsets: () => reads.map(({ offset }) => offset) };
}

/** The first bodies meet these faults, those after them none. */
function inTurn(...faults: BodyFault[]): Faults {
  return (read) => faults[read] ?? null;
}

async function collect(pieces: Pieces): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece.slice());
  return concat(all);
}

/** What came, and what ended it. */
async function outcome(pieces: Pieces): Promise<{ bytes: Uint8Array; error: unknown }> {
  const all: Uint8Array[] = [];
  try {
    for await (const piece of pieces) all.push(piece.slice());
    return { bytes: concat(all), error: null };
  } catch (error) {
    return { bytes: concat(all), error };
  }
}

describe('readResuming', () => {
  it.each([1, 7, 30, 64])('gives exactly the span in pieces of %i, with one read', async (pieceBytes) => {
    const { read, offsets } = await faulty(inTurn());
    for (const span of [whole, { offset: 0, length: 1 }, { offset: 29, length: 1 }, { offset: 5, length: 14 }]) {
      const lengths: number[] = [];
      const pieces: Uint8Array[] = [];
      for await (const piece of read({ pieceBytes }, span)) {
        lengths.push(piece.length);
        pieces.push(piece.slice());
      }
      expect(concat(pieces)).toEqual(content.slice(span.offset, span.offset + span.length));
      expect(lengths.slice(0, -1).every((length) => length === pieceBytes)).toBe(true);
    }
    expect(offsets()).toEqual([0, 0, 29, 5]);
  });

  it.each([1, 7, 13, 30, 64])('asks for no more than %i bytes at once, where it is told so', async (atOnceBytes) => {
    const { read, offsets } = await faulty(inTurn());
    expect(await collect(read({ atOnceBytes }, { offset: 2, length: 27 }))).toEqual(content.slice(2, 29));
    const asked = Array.from({ length: Math.ceil(27 / atOnceBytes) }, (_, n) => 2 + n * atOnceBytes);
    expect(offsets()).toEqual(asked);
  });

  it('goes on within the part of a span that broke, and in the same version of the object', async () => {
    for (const after of everyPlace.slice(0, 10)) {
      const { key, read, offsets } = await faulty((n) => (n === 1 ? { after, how: 'break' } : null));
      expect(await collect(read({ atOnceBytes: 10 }))).toEqual(content);
      expect(offsets()).toEqual([0, 10, 10 + after - (after % 7), 20]);
      const pieces = read({ atOnceBytes: 10, pieceBytes: 10 });
      await pieces.next();
      await env.VAULT.put(key, content.slice().reverse());
      await expect(pieces.next()).rejects.toMatchObject({ how: 'changed' });
    }
  });

  it('reads nothing for a span of nothing', async () => {
    const { read, reads } = await faulty(inTurn());
    expect(await collect(read({}, { offset: 3, length: 0 }))).toEqual(new Uint8Array());
    expect(reads).toEqual([]);
  });

  describe.each(['break', 'end'] as const)('when a stream should %s', (how) => {
    it.each([1, 7, 30, 64])('goes on at the next byte, wherever that is, in pieces of %i', async (pieceBytes) => {
      for (const native of [false, true]) {
        await Promise.all(
          everyPlace.map(async (after) => {
            const { read, offsets } = await faulty(inTurn({ after, how }), { native });
            expect(await collect(read({ pieceBytes })), `after ${after}`).toEqual(content);
            const got = after === LENGTH ? LENGTH : after - (after % pieceBytes);
            // What a stream of its own accord ends with is given, also where it fills no piece.
            const next = how === 'end' ? after : got;
            expect(offsets(), `after ${after}`).toEqual(next === LENGTH ? [0] : [0, next]);
          }),
        );
      }
    });

    it('goes on after several, at any two places', async () => {
      for (const first of everyPlace) {
        await Promise.all(
          everyPlace
            .filter((second) => second % 3 === first % 3)
            .map(async (second) => {
              const { read, offsets } = await faulty(inTurn({ after: first, how }, { after: second, how }));
              expect(await collect(read()), `after ${first} and ${second}`).toEqual(content);
              expect(offsets()).toEqual(offsets().toSorted((a, b) => a - b));
              expect(offsets().length).toBeLessThanOrEqual(3);
            }),
        );
      }
    });

    it.each([1, 2, 8])('still arrives when every stream does so after %i bytes', async (after) => {
      for (const native of [false, true]) {
        const { read } = await faulty(() => ({ after, how }), { native });
        expect(await collect(read())).toEqual(content);
      }
    });

    it('gives up after three reads at the same byte, whichever byte that is', async () => {
      for (const after of everyPlace.slice(0, -1)) {
        const { read, offsets } = await faulty((n) => ({ after: n === 0 ? after : 0, how }));
        const { bytes, error } = await outcome(read({ pieceBytes: 1 }));
        expect(error).toMatchObject({ code: 'storage-failed' });
        expect(bytes).toEqual(content.slice(0, after));
        expect(offsets()).toEqual(after === 0 ? [0, 0, 0] : [0, after, after, after]);
      }
    });
  });

  it('tries an opening that fails three times in all, not three times three', async () => {
    const refused = () => {
      throw new Error('get: We encountered an internal error. Please try again. (10001)');
    };
    const dead = await faulty(refused);
    await expect(collect(dead.read())).rejects.toMatchObject({ code: 'storage-failed' });
    expect(dead.offsets()).toEqual([0, 0, 0]);

    for (const after of everyPlace.slice(1, -1)) {
      const shaky = await faulty((n) => (n === 0 ? { after, how: 'break' } : n < 3 ? refused() : null));
      expect(await collect(shaky.read({ pieceBytes: 1 }))).toEqual(content);
      expect(shaky.offsets()).toEqual([0, after, after, after]);
    }
  });

  it.each([
    ['another object is put under the key', (key: string) => env.VAULT.put(key, new Uint8Array(LENGTH))],
    ['the object is removed', (key: string) => env.VAULT.delete(key)],
  ])('ends at once when %s, whatever came before', async (_, change) => {
    for (const after of everyPlace.slice(0, -1)) {
      let key = '';
      const { read, offsets, ...made } = await faulty(async (n) => {
        if (n > 0) await change(key);
        return { after, how: 'break' };
      });
      key = made.key;
      const { bytes, error } = await outcome(read({ pieceBytes: 1 }));
      expect(error).toMatchObject({ code: 'stored-data-lost' });
      expect(bytes).toEqual(content.slice(0, after));
      expect(offsets()).toEqual([0, after]);
    }
  });

  it('refuses at once what is missing, or shorter than the span', async () => {
    const { read, store, reads } = await faulty(inTurn());
    await expect(collect(read({}, { offset: 20, length: 11 }))).rejects.toMatchObject({ how: 'cut' });
    expect(reads).toMatchObject([{ cancelled: true }]);
    const none = readResuming(store, 'resuming-none', whole, { pieceBytes: 7 });
    await expect(collect(none)).rejects.toMatchObject({ how: 'missing' });
    expect(reads.length).toBe(2);
  });

  it('reads the same version of the object as the reads that share it', async () => {
    const version = {};
    const { key, read } = await faulty(inTurn());
    expect(await collect(read({ version }, { offset: 0, length: 10 }))).toEqual(content.slice(0, 10));
    expect(await collect(read({ version }, { offset: 10, length: 5 }))).toEqual(content.slice(10, 15));
    await env.VAULT.put(key, content.slice().reverse());
    await expect(collect(read({ version }, { offset: 15, length: 5 }))).rejects.toMatchObject({ how: 'changed' });
  });

  it('reads no more when the consumer leaves, after any byte', async () => {
    for (const native of [false, true]) {
      for (const n of everyPlace.slice(1)) {
        const { read, reads } = await faulty(inTurn(), { native, chunkBytes: 1 });
        let taken = 0;
        for await (const piece of read({ pieceBytes: 1 })) {
          taken += piece.length;
          if (taken === n) break;
        }
        await scheduler.wait(1);
        expect(reads.length).toBe(1);
        expect(reads[0]?.given).toBeLessThanOrEqual(n);
        expect(reads[0]?.cancelled, `after ${n}`).toBe(true);
      }
    }
  });
});

describe('the signal of readResuming', () => {
  const reason = new Error('the client has gone');

  it('takes up again what gives nothing for too long, at any byte', async () => {
    await Promise.all(
      everyPlace.map(async (after) => {
        const { read, reads } = await faulty(inTurn({ after, how: 'hang' }), { chunkBytes: 1 });
        expect(await collect(read({ stallMs: 20 }))).toEqual(content);
        expect(reads.length).toBe(after < LENGTH ? 2 : 1);
        expect(reads[0]).toMatchObject({ cancelled: true });
      }),
    );
  });

  it('cancels a read that hangs, at any byte, also behind a reader ahead', async () => {
    for (const native of [false, true]) {
      await Promise.all(
        everyPlace.slice(0, -1).map(async (after) => {
          const { read, reads } = await faulty(() => ({ after, how: 'hang' }), { native, chunkBytes: 1 });
          const gone = new AbortController();
          const ended = outcome(readAhead(read({ pieceBytes: 1, signal: gone.signal })));
          await scheduler.wait(20);
          gone.abort(reason);
          const { bytes, error } = await ended;
          expect(error).toBe(reason);
          expect(bytes).toEqual(content.slice(0, after));
          await scheduler.wait(10);
          // A native stream tells its writer only at the next write: here none comes.
          expect(reads).toMatchObject([{ offset: 0, given: after, ...(!native && { cancelled: true }) }]);
        }),
      );
    }
  });

  it('ends a wait between two tries, and nothing is read after it', async () => {
    const { read, offsets } = await faulty(() => ({ after: 7, how: 'break' }));
    const gone = new AbortController();
    const began = Date.now();
    const ended = outcome(read({ signal: gone.signal, policy: { tries: 3, firstWaitMs: 60_000 } }));
    await scheduler.wait(20);
    gone.abort(reason);
    expect(await ended).toEqual({ bytes: content.slice(0, 7), error: reason });
    expect(Date.now() - began).toBeLessThan(10_000);
    expect(offsets()).toEqual([0]);
  });

  it('does not wait for an opening, and cancels what that still brings', async () => {
    const { promise: opened, resolve: open } = Promise.withResolvers<null>();
    const { read, reads } = await faulty(() => opened);
    const gone = new AbortController();
    const ended = outcome(read({ signal: gone.signal }));
    await scheduler.wait(5);
    gone.abort(reason);
    expect((await ended).error).toBe(reason);
    expect(reads).toMatchObject([{ cancelled: false }]);
    open(null);
    await scheduler.wait(20);
    expect(reads).toMatchObject([{ given: 0, cancelled: true }]);
  });

  it('opens nothing when it was aborted before', async () => {
    const { read, reads } = await faulty(inTurn());
    expect((await outcome(read({ signal: AbortSignal.abort(reason) }))).error).toBe(reason);
    expect(reads).toEqual([]);
  });
});
