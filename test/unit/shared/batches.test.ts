import { describe, expect, it } from 'vitest';
import { unlessAborted } from '../../../src/shared/abort.ts';
import { type BatchSize, inBatches, parallelBatches } from '../../../src/shared/batches.ts';
import { numbers, quiet, turns } from './chance.ts';

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
const never = new Promise<never>(() => undefined);

/** What a source saw of its reader. A source that failed or ended by itself is not left. */
interface SeenSource {
  pulled: number;
  returned: number;
  over: boolean;
}

interface SourceOptions {
  /** Before the item of this index (that of none is the end). */
  readonly failAt?: number | undefined;
  readonly error?: unknown;
  readonly delay?: (() => Promise<void>) | undefined;
  readonly onPull?: ((index: number) => unknown) | undefined;
}

/** By hand, so that nothing but its reader calls return(), and every call is seen. */
function sourceOf<T>(items: readonly T[], { failAt, error, delay = () => turns(0), onPull }: SourceOptions = {}) {
  const seen: SeenSource = { pulled: 0, returned: 0, over: false };
  let asked = 0;
  const iterator: AsyncIterator<T, void> = {
    async next() {
      if (seen.over || seen.returned > 0) throw new Error('asked after its end');
      const index = asked++;
      onPull?.(index);
      // Whatever goes wrong ends it, as it ends a generator.
      seen.over = true;
      await delay();
      seen.over = index === failAt || index === items.length;
      if (index === failAt) throw error;
      if (index === items.length) return { done: true, value: undefined };
      seen.pulled += 1;
      return { done: false, value: items[index] as T };
    },
    async return() {
      seen.returned += 1;
      await delay();
      return { done: true, value: undefined };
    },
  };
  return { items: { [Symbol.asyncIterator]: () => iterator }, seen };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** What came, and what ended it. */
async function outcome<T>(items: AsyncIterable<T>): Promise<{ all: T[]; error: unknown }> {
  const all: T[] = [];
  try {
    for await (const item of items) all.push(item);
    return { all, error: null };
  } catch (error) {
    return { all, error };
  }
}

const wrongSizes: [string, BatchSize<number>][] = [
  ...[0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY].flatMap((wrong): [string, BatchSize<number>][] => [
    [`${wrong} items`, wrong],
    [`${wrong} items by weight`, { items: wrong, weight: 1, weigh: () => 1 }],
  ]),
  ...[0, -1, Number.NaN].map((weight): [string, BatchSize<number>] => [
    `a weight of ${weight}`,
    { items: 1, weight, weigh: () => 1 },
  ]),
];

describe('inBatches', () => {
  it.each([
    [0, 3, []],
    [1, 3, [[0]]],
    [2, 3, [[0, 1]]],
    [3, 3, [[0, 1, 2]]],
    [4, 3, [[0, 1, 2], [3]]],
    [6, 3, [upTo(3), [3, 4, 5]]],
    [3, 1, [[0], [1], [2]]],
    [3, Number.MAX_SAFE_INTEGER, [[0, 1, 2]]],
  ])('makes of %i items, %i a batch, what is full but the last', async (count, size, expected) => {
    expect(await collect(inBatches(upTo(count), size))).toEqual(expected);
    expect(await collect(inBatches(sourceOf(upTo(count)).items, size))).toEqual(expected);
  });

  it.each([
    ['that fit exactly', [2, 3, 5], [[2, 3], [5]]],
    ['of which one is too heavy', [1, 6, 1], [[1], [6], [1]]],
    ['that are all too heavy', [6, 7, 8], [[6], [7], [8]]],
    ['that would weigh more by one', [2, 3, 1, 4, 2], [[2, 3], [1, 4], [2]]],
    ['that weigh nothing', [0, 0, 0, 0, 0], [[0, 0, 0, 0], [0]]],
    ['that are many before they are heavy', [1, 1, 1, 1, 1], [[1, 1, 1, 1], [1]]],
  ])('bounds by weight those %s', async (_, weights, expected) => {
    const size = { items: 4, weight: 5, weigh: (weight: number) => weight };
    expect(await collect(inBatches(weights, size))).toEqual(expected);
  });

  it('gives a full batch without asking for another item', async () => {
    for (const size of [3, { items: 9, weight: 3, weigh: () => 1 }]) {
      const { items, seen } = sourceOf(upTo(9));
      const batches = inBatches(items, size);
      await batches.next();
      await quiet();
      expect(seen.pulled).toBe(3);
      await batches.return();
      expect(seen).toMatchObject({ pulled: 3, returned: 1 });
    }
  });

  it('makes the same of random weights as a count of each batch does', async () => {
    const random = numbers(1);
    for (let round = 0; round < 300; round++) {
      const weights = Array.from({ length: random(40) }, () => random(12));
      const size = { items: 1 + random(6), weight: 1 + random(20), weigh: (weight: number) => weight };
      const batches = await collect(inBatches(sourceOf(weights).items, size));
      expect(batches.flat()).toEqual(weights);
      for (const [n, batch] of batches.entries()) {
        const weight = batch.reduce((sum, one) => sum + one, 0);
        expect(batch.length).toBeGreaterThan(0);
        expect(batch.length).toBeLessThanOrEqual(size.items);
        if (batch.length > 1) expect(weight).toBeLessThanOrEqual(size.weight);
        const next = batches[n + 1]?.[0];
        const isFull = batch.length === size.items || weight >= size.weight;
        if (next !== undefined && !isFull) expect(weight + next).toBeGreaterThan(size.weight);
      }
    }
  });

  it('throws what its source throws, or the weighing, wherever that is', async () => {
    const error = new Error('no more');
    for (const failAt of upTo(7)) {
      const { items, seen } = sourceOf(upTo(6), { failAt, error });
      const { all, error: thrown } = await outcome(inBatches(items, 2));
      expect(thrown).toBe(error);
      expect(all.flat()).toEqual(upTo(failAt - (failAt % 2)));
      expect(seen.returned).toBe(0);
    }
    const { items, seen } = sourceOf(upTo(6));
    const weigh = () => {
      throw error;
    };
    expect((await outcome(inBatches(items, { items: 2, weight: 2, weigh }))).error).toBe(error);
    expect(seen).toMatchObject({ pulled: 1, returned: 1 });
  });

  it.each(wrongSizes)('refuses %s', (_, size) => {
    expect(() => inBatches([], size)).toThrow(RangeError);
    expect(() => parallelBatches([], size, async () => null)).toThrow(RangeError);
  });
});

/** Work whose batches wait at gates of their own, and note when they begin. */
function gated() {
  const begun: (readonly number[])[] = [];
  const gates: PromiseWithResolvers<void>[] = [];
  const work = async (batch: readonly number[], signal: AbortSignal) => {
    const gate = Promise.withResolvers<void>();
    begun.push(batch);
    gates.push(gate);
    await unlessAborted(gate.promise, signal);
    return batch;
  };
  return { work, begun, gates };
}

describe('parallelBatches', () => {
  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses a concurrency of %d', (concurrency) => {
    expect(() => parallelBatches([], 1, async () => null, { concurrency })).toThrow(RangeError);
  });

  it('gives nothing of nothing, and the results of arrays, generators and functions', async () => {
    const work = async (batch: readonly number[]) => batch.join();
    expect(await collect(parallelBatches([], 2, work))).toEqual([]);
    expect(await collect(parallelBatches(upTo(5), 2, work))).toEqual(['0,1', '2,3', '4']);
    expect(await collect(parallelBatches(new Set(upTo(3)), 2, work))).toEqual(['0,1', '2']);
    expect(await collect(parallelBatches(() => sourceOf(upTo(3)).items, 2, work))).toEqual(['0,1', '2']);
  });

  it('begins nothing before the first pull', async () => {
    const { items, seen } = sourceOf(upTo(5));
    const { work, begun } = gated();
    const results = parallelBatches(items, 1, work);
    await quiet();
    await results.return();
    expect([seen.pulled, begun.length]).toEqual([0, 0]);
  });

  it('gathers on while batches are in work, three of them, and one more', async () => {
    const { items, seen } = sourceOf(upTo(100));
    const { work, begun, gates } = gated();
    const results = parallelBatches(items, 2, work);
    const first = results.next();
    await quiet();
    expect(begun).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
    ]);
    expect(seen.pulled).toBe(8);
    // A later one that is done keeps its place until it is taken.
    gates[1]?.resolve();
    await quiet();
    expect([begun.length, seen.pulled]).toEqual([3, 8]);
    gates[0]?.resolve();
    expect((await first).value).toEqual([0, 1]);
    await quiet();
    expect([begun.length, seen.pulled]).toEqual([4, 10]);
    expect((await results.next()).value).toEqual([2, 3]);
    await quiet();
    expect([begun.length, seen.pulled]).toEqual([5, 12]);
    await results.return();
  });

  it('begins a batch that is full though the item after it is long in coming', async () => {
    const delays = [turns(0), turns(0), never];
    const { items } = sourceOf(upTo(9), { delay: async () => delays.shift() });
    const results = parallelBatches(items, 2, async (batch) => batch);
    expect((await results.next()).value).toEqual([0, 1]);
  });

  it('is held back by a consumer that takes its time', async () => {
    for (const concurrency of [1, 2, 5]) {
      const { items, seen } = sourceOf(upTo(100));
      let begun = 0;
      const results = parallelBatches(items, 2, async () => begun++, { concurrency });
      for (const taken of [1, 2, 3]) {
        await results.next();
        await quiet();
        expect(begun).toBe(taken + concurrency);
        expect(seen.pulled).toBe(2 * (taken + concurrency + 1));
      }
      await results.return();
      expect(seen.returned).toBe(1);
    }
  });

  it('holds an item more by weight, as it has to see it', async () => {
    const { items, seen } = sourceOf(upTo(100));
    const { work, begun, gates } = gated();
    const results = parallelBatches(items, { items: 9, weight: 5, weigh: () => 2 }, work, { concurrency: 2 });
    const first = results.next();
    await quiet();
    expect([begun.length, seen.pulled]).toEqual([2, 7]);
    gates[0]?.resolve();
    await first;
    await results.return();
  });

  it('takes work that throws at once for work that fails', async () => {
    const { items, seen } = sourceOf(upTo(9));
    const error = new Error('not this one');
    const work = () => {
      throw error;
    };
    expect(await outcome(parallelBatches(items, 2, work))).toEqual({ all: [], error });
    expect(seen.returned).toBe(1);
  });

  it('lets go of the signal that it was given', async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    const watched = new Proxy(signal, {
      get(target, name) {
        if (name === 'addEventListener') listeners += 1;
        if (name === 'removeEventListener') listeners -= 1;
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    await collect(parallelBatches(upTo(9), 2, async () => null, { signal: watched }));
    await outcome(parallelBatches(upTo(9), 2, async () => Promise.reject(new Error('no')), { signal: watched }));
    await parallelBatches(upTo(9), 2, async () => null, { signal: watched }).return();
    expect(listeners).toBe(0);
  });

  it('leaves the signal of work alone where nothing went wrong', async () => {
    const signals: AbortSignal[] = [];
    await collect(parallelBatches(upTo(9), 2, async (_, signal) => signals.push(signal)));
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false, false, false, false]);
  });
});

describe('the end of parallelBatches', () => {
  const first = new Error('first');
  const second = new Error('second');

  /** Three batches in work, the fourth waiting: everything that may go wrong, at the word of the test. */
  function standing() {
    const stuck = Promise.withResolvers<void>();
    const aborting = new AbortController();
    const works: PromiseWithResolvers<void>[] = [];
    let pulls = 0;
    const { items, seen } = sourceOf(upTo(99), { delay: () => (pulls++ < 7 ? turns(1) : stuck.promise) });
    let running = 0;
    const told: unknown[] = [];
    const work = async (_: readonly number[], signal: AbortSignal) => {
      const own = Promise.withResolvers<void>();
      works.push(own);
      running += 1;
      signal.addEventListener('abort', () => void told.push(signal.reason));
      await own.promise.finally(() => running--);
    };
    const ended = outcome(parallelBatches(items, 2, work, { signal: aborting.signal }));
    const fail = {
      source: (error: Error) => stuck.reject(error),
      work: (error: Error) => works[1]?.reject(error),
      signal: (error: Error) => aborting.abort(error),
    };
    const settle = () => {
      stuck.resolve();
      for (const { resolve } of works) resolve();
    };
    return { ended, fail, settle, seen, told, running: () => running };
  }

  const causes = ['source', 'work', 'signal'] as const;
  it.each(causes.flatMap((one) => causes.filter((other) => other !== one).map((other) => [one, other] as const)))(
    'is by what came first: the %s, and then the %s',
    async (one, other) => {
      const { ended, fail, settle, seen, told, running } = standing();
      await quiet();
      fail[one](first);
      await quiet();
      fail[other](second);
      await quiet();
      // What runs is told, and waited for.
      expect(told).toEqual([first, first, first]);
      expect(running()).toBeGreaterThan(0);
      let over = false;
      ended.then(() => {
        over = true;
      });
      await quiet();
      expect(over).toBe(false);
      settle();
      expect(await ended).toEqual({ all: [], error: first });
      expect(running()).toBe(0);
      expect(seen.returned).toBe(seen.over ? 0 : 1);
    },
  );

  it('wakes a source that waits, where it is a function of the signal', async () => {
    let left = false;
    async function* waiting(signal: AbortSignal) {
      try {
        yield* upTo(4);
        await unlessAborted(never, signal);
      } finally {
        left = true;
      }
    }
    const work = async ([n]: readonly number[]) => (n === 2 ? Promise.reject(first) : n);
    expect((await outcome(parallelBatches(waiting, 2, work))).error).toBe(first);
    expect(left).toBe(true);
  });

  it('leaves the source at its next item, however many the batch lacks', async () => {
    const aborting = new AbortController();
    const onPull = (index: number) => index === 3 && aborting.abort(first);
    const { items, seen } = sourceOf(upTo(99), { onPull });
    const results = parallelBatches(items, 50, async (batch) => batch, { signal: aborting.signal });
    expect(await outcome(results)).toEqual({ all: [], error: first });
    expect(seen).toMatchObject({ pulled: 4, returned: 1 });
  });

  it('comes before anything begins where the signal was aborted, and the source is still left', async () => {
    const signal = AbortSignal.abort(first);
    const { items, seen } = sourceOf(upTo(9));
    const { work, begun } = gated();
    expect(await outcome(parallelBatches(items, 2, work, { signal }))).toEqual({ all: [], error: first });
    expect(seen).toEqual({ pulled: 0, returned: 1, over: false });
    expect(begun).toEqual([]);
    expect((await outcome(parallelBatches(upTo(9), 2, work, { signal }))).error).toBe(first);
  });

  it('takes no other error, when all work fails in its own way, and leaving fails too', async () => {
    const { items } = sourceOf(upTo(20));
    const iterator = items[Symbol.asyncIterator]();
    const leaving = { next: () => iterator.next(), return: () => Promise.reject(second) };
    const work = async ([n = 0]: readonly number[]) => {
      await turns(200 - 40 * n);
      throw n === 4 ? first : new Error(`batch ${n}`);
    };
    const results = parallelBatches({ [Symbol.asyncIterator]: () => leaving }, 2, work);
    expect(await outcome(results)).toEqual({ all: [], error: first });
  });

  it('drops results that were not taken: after an error nothing is given', async () => {
    const { items } = sourceOf(upTo(4), { failAt: 4, error: first });
    const results = parallelBatches(items, 1, async (batch) => batch);
    expect((await results.next()).value).toEqual([0]);
    await quiet();
    await expect(results.next()).rejects.toBe(first);
    expect(await results.next()).toEqual({ done: true, value: undefined });
  });

  it('waits for what runs when the consumer leaves, also by a throw of its own', async () => {
    for (const leave of ['return', 'throw'] as const) {
      const { items, seen } = sourceOf(upTo(20));
      const { work, begun, gates } = gated();
      let running = 0;
      let reason: unknown;
      const results = parallelBatches(items, 2, async (batch, signal) => {
        running += 1;
        await work(batch, signal).catch(() => undefined);
        reason = signal.reason;
        await quiet();
        running -= 1;
      });
      const head = results.next();
      await quiet();
      gates[0]?.resolve();
      await head;
      if (leave === 'return') expect(await results.return()).toEqual({ done: true, value: undefined });
      else await expect(results.throw(first)).rejects.toBe(first);
      expect(begun.length).toBeGreaterThan(1);
      expect(reason).toBeInstanceOf(Error);
      expect([running, seen.returned]).toEqual([0, 1]);
    }
  });
});

type Trouble =
  | { readonly kind: 'none' | 'source' | 'work' | 'signal' | 'leave'; readonly at: number }
  | { readonly kind: 'none' };

interface Setting {
  readonly count: number;
  readonly size: number;
  readonly concurrency: number;
  readonly heedsSignal: boolean;
  readonly turns: () => number;
  readonly trouble: Trouble;
}

/**
 * One run, in which everything is watched at every step: items asked for, batches begun and ended, results taken. Gives
 * the number of steps, so that trouble can be made at each.
 */
async function watchedRun({ count, size, concurrency, heedsSignal, turns: wait, trouble }: Setting): Promise<number> {
  const error = new Error('trouble');
  const aborting = new AbortController();
  const begun: number[] = [];
  const taken: number[] = [];
  let running = 0;
  let asking = false;
  let steps = 0;
  const isTime = (kind: Trouble['kind'], at: number) => trouble.kind === kind && 'at' in trouble && trouble.at === at;

  const step = () => {
    if (isTime('signal', steps++)) aborting.abort(error);
    expect(running).toBeLessThanOrEqual(concurrency);
    expect(begun.length - taken.length).toBeLessThanOrEqual((concurrency + (asking ? 1 : 0)) * size);
    expect(seen.pulled - begun.length).toBeLessThanOrEqual(size);
  };
  const source = sourceOf(upTo(count), {
    failAt: trouble.kind === 'source' ? trouble.at : undefined,
    error,
    delay: () => turns(wait()),
    onPull: step,
  });
  const { seen } = source;
  const work = async (batch: readonly number[], signal: AbortSignal) => {
    expect(signal.aborted).toBe(false);
    const number = begun.length / size;
    begun.push(...batch);
    running += 1;
    step();
    try {
      for (let left = wait(); left > 0; left--) {
        await turns(1);
        if (heedsSignal) signal.throwIfAborted();
      }
      if (isTime('work', number)) throw error;
      return batch;
    } finally {
      running -= 1;
      step();
    }
  };

  const results = parallelBatches(source.items, size, work, { concurrency, signal: aborting.signal });
  let ended: unknown = null;
  try {
    for (let result = 0; ; result++) {
      if (isTime('leave', result)) await results.return();
      asking = true;
      const { done, value } = await results.next();
      asking = false;
      if (done) break;
      taken.push(...value);
      step();
      await turns(wait());
    }
  } catch (thrown) {
    ended = thrown;
  }

  // Nothing is left running, and nothing begins any more.
  const after = [running, seen.pulled, begun.length, seen.returned];
  expect(running).toBe(0);
  await quiet();
  expect([running, seen.pulled, begun.length, seen.returned]).toEqual(after);

  const hasHappened = { none: false, leave: false, source: true, work: true, signal: aborting.signal.aborted };
  expect(ended).toBe(hasHappened[trouble.kind] ? error : null);
  const isWhole = ended === null && trouble.kind !== 'leave';
  expect(taken).toEqual(upTo(isWhole ? count : taken.length));
  expect(begun).toEqual(upTo(begun.length));
  const wasAsked = seen.pulled > 0 || seen.over || aborting.signal.aborted;
  expect(seen.returned).toBe(seen.over || !wasAsked ? 0 : 1);
  return steps;
}

describe('in a thousand random runs parallelBatches loses nothing, does nothing twice and leaves nothing running', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('where nothing goes wrong (seed %i)', async (seed) => {
    const random = numbers(seed);
    for (let round = 0; round < 60; round++) {
      const slow = 1 + random(12);
      await watchedRun({
        count: random(30),
        size: 1 + random(5),
        concurrency: 1 + random(4),
        heedsSignal: true,
        turns: () => random(slow),
        trouble: { kind: 'none' },
      });
    }
  });

  it.each(['source', 'work', 'signal', 'leave'] as const)(
    'where there is trouble by the %s, at every step',
    async (kind) => {
      const random = numbers(kind.length);
      for (const heedsSignal of [true, false]) {
        for (const [size, concurrency] of [
          [1, 1],
          [1, 3],
          [2, 2],
          [3, 1],
        ] as const) {
          for (const pace of [1, 3, 20]) {
            const setting = { count: 12, size, concurrency, heedsSignal, turns: () => random(pace) };
            const signal = kind === 'signal' ? await watchedRun({ ...setting, trouble: { kind: 'none' } }) : 0;
            const places = { source: 13, work: 12 / size, signal, leave: 12 / size + 1 }[kind];
            for (const at of upTo(places)) await watchedRun({ ...setting, trouble: { kind, at } });
          }
        }
      }
    },
  );
});
