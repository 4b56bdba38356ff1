import { afterEach, describe, expect, it, vi } from 'vitest';
import { unlessAborted } from '../../../src/shared/abort.ts';
import { concat } from '../../../src/shared/bytes.ts';
import { type OpenAt, type ResilientOptions, resilient } from '../../../src/shared/resilient.ts';
import type { Pieces } from '../../../src/shared/streams.ts';
import { numbers, quiet, turns } from './chance.ts';

const LENGTH = 24;
const content = Uint8Array.from({ length: LENGTH }, (_, i) => 11 * i + 3);
const everyPlace = Array.from({ length: LENGTH + 1 }, (_, n) => n);
const broken = new Error('the line broke');
const reason = new Error('the client has gone');
const never = new Promise<never>(() => undefined);

/** What becomes of one source: after so many bytes of its own, or at once as it is opened. */
type Fate =
  | { readonly how: 'break' | 'end' | 'hang' | 'hang deaf'; readonly after: number }
  | { readonly how: 'refuse' };

interface SeenSource {
  readonly offset: number;
  given: number;
  /** Calls of return(): of a source that has ended or failed there need be none. */
  returned: number;
  over: boolean;
}

interface WorldOptions {
  /** Of the n-th opening, from 0; null is the whole rest. */
  readonly fateOf?: (opening: number, offset: number) => Fate | null;
  readonly pieceBytes?: () => number;
  /** Before each opening and each piece. */
  readonly delay?: () => Promise<void>;
}

/** Sources of the content, each in a buffer that is used again, by hand so that every call is seen. */
function world({ fateOf = () => null, pieceBytes = () => 5, delay = () => turns(0) }: WorldOptions = {}) {
  const sources: SeenSource[] = [];
  const openings: number[] = [];
  /** Noted, since what a source throws would pass for a break. */
  const misuses: string[] = [];

  const open: OpenAt = async (offset, signal) => {
    openings.push(offset);
    if (signal?.aborted) misuses.push('opened after an abort');
    if (sources.some(({ over, returned }) => !over && returned === 0)) misuses.push('opened beside another');
    const fate = fateOf(openings.length - 1, offset);
    await delay();
    if (fate?.how === 'refuse') throw broken;
    const seen: SeenSource = { offset, given: 0, returned: 0, over: false };
    sources.push(seen);
    return { [Symbol.asyncIterator]: () => sourceOf(seen, fate, signal) };
  };

  function sourceOf(seen: SeenSource, fate: Fate | null, signal: AbortSignal | undefined): AsyncIterator<Uint8Array> {
    const rest = content.subarray(seen.offset);
    const end = fate && 'after' in fate ? Math.min(rest.length, fate.after) : rest.length;
    const buffer = new Uint8Array(LENGTH);
    return {
      async next() {
        if (seen.over || seen.returned > 0) misuses.push('asked after its end');
        buffer.fill(0);
        await delay();
        if (seen.given < end) {
          const piece = rest.subarray(seen.given, Math.min(end, seen.given + pieceBytes()));
          buffer.set(piece);
          seen.given += piece.length;
          return { done: false, value: buffer.subarray(0, piece.length) };
        }
        if (fate?.how === 'hang') await unlessAborted(never, signal);
        if (fate?.how === 'hang deaf') await never;
        seen.over = true;
        if (fate?.how === 'break') throw broken;
        return { done: true, value: undefined };
      },
      async return() {
        seen.returned += 1;
        return { done: true, value: undefined };
      },
    };
  }

  return { open, openings, sources, misuses };
}

/** The first sources meet these, those after them nothing. */
function inTurn(...fates: Fate[]): (opening: number) => Fate | null {
  return (opening) => fates[opening] ?? null;
}

const quick: ResilientOptions = { waitMs: 0, length: LENGTH };

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

describe('resilient', () => {
  it('gives what one source gives, and leaves it where that has more', async () => {
    for (const length of [undefined, ...everyPlace]) {
      for (const pieceBytes of [1, 7, LENGTH]) {
        const { open, sources } = world({ pieceBytes: () => pieceBytes });
        const pieces = resilient(open, length === undefined ? {} : { length });
        expect(await outcome(pieces)).toEqual({ bytes: content.slice(0, length), error: null });
        expect(sources.map(({ offset }) => offset)).toEqual(length === 0 ? [] : [0]);
        expect(sources[0]?.returned ?? 1).toBe(length === undefined ? 0 : 1);
      }
    }
  });

  it('reads streams of the platform, and cancels what it leaves', async () => {
    const cancelled: number[] = [];
    const streamAt = async (offset: number) =>
      new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(content.slice(offset, offset + 4));
          if (offset + 4 >= LENGTH) controller.close();
        },
        pull(controller) {
          if (offset < 12) controller.error(broken);
        },
        cancel() {
          cancelled.push(offset);
        },
      });
    const pieces = resilient(streamAt, { ...quick, length: 14 });
    const { bytes } = await outcome(pieces);
    expect(content.slice(0, bytes.length)).toEqual(bytes);
    expect(bytes.length).toBe(14);
    expect(cancelled).toEqual([12]);
  });

  describe.each(['break', 'end'] as const)('when a source should %s', (how) => {
    it.each([1, 7, LENGTH])('goes on at the next byte, wherever that is, in pieces of %i', async (pieceBytes) => {
      for (const after of everyPlace) {
        const { open, openings } = world({ fateOf: inTurn({ how, after }), pieceBytes: () => pieceBytes });
        expect(await outcome(resilient(open, quick))).toEqual({ bytes: content, error: null });
        expect(openings).toEqual(after === LENGTH ? [0] : [0, after]);
      }
    });

    it('gives up after as many sources as it has tries, whichever byte they begin at', async () => {
      for (const tries of [1, 2, 3, 5]) {
        for (const after of everyPlace.slice(0, -1)) {
          const fateOf = (opening: number): Fate => ({ how, after: opening === 0 ? after : 0 });
          const { open, openings } = world({ fateOf });
          const { bytes, error } = await outcome(resilient(open, { ...quick, tries }));
          if (how === 'break') expect(error).toBe(broken);
          else expect(String(error)).toContain(`ended at byte ${after} of ${LENGTH}`);
          expect(bytes).toEqual(content.slice(0, after));
          expect(openings).toEqual([...(after === 0 ? [] : [0]), ...Array(tries).fill(after)]);
        }
      }
    });

    it('arrives by a byte a source, since every byte has its own tries', async () => {
      const fateOf = (opening: number): Fate => ({ how, after: opening % 3 === 2 ? 1 : 0 });
      const { open, openings } = world({ fateOf });
      expect(await outcome(resilient(open, quick))).toEqual({ bytes: content, error: null });
      expect(openings.length).toBe(3 * LENGTH);
    });
  });

  it('counts openings that fail as tries, and those that throw at once', async () => {
    for (const after of everyPlace.slice(1, -1)) {
      const refused = inTurn({ how: 'break', after }, { how: 'refuse' }, { how: 'refuse' });
      const { open, openings } = world({ fateOf: refused });
      expect(await outcome(resilient(open, quick))).toEqual({ bytes: content, error: null });
      expect(openings).toEqual([0, after, after, after]);
    }
    let calls = 0;
    const throwing = () => {
      calls += 1;
      throw broken;
    };
    expect((await outcome(resilient(throwing, quick))).error).toBe(broken);
    expect(calls).toBe(3);
  });

  it('without a length ends where a source ends, and asks again behind the last byte where one breaks there', async () => {
    const { open, openings } = world({ fateOf: inTurn({ how: 'break', after: LENGTH }) });
    expect(await outcome(resilient(open, { waitMs: 0 }))).toEqual({ bytes: content, error: null });
    expect(openings).toEqual([0, LENGTH]);
    const short = world({ fateOf: inTurn({ how: 'end', after: 9 }) });
    expect(await outcome(resilient(short.open, { waitMs: 0 }))).toEqual({ bytes: content.slice(0, 9), error: null });
  });

  it('does not try again what is not worth it, wherever that happens', async () => {
    for (const after of everyPlace.slice(0, -1)) {
      const { open, openings } = world({ fateOf: () => ({ how: 'break', after }) });
      const asked: unknown[] = [];
      const worthTrying = (error: unknown) => {
        asked.push(error);
        return false;
      };
      const { bytes, error } = await outcome(resilient(open, { ...quick, worthTrying }));
      expect([bytes, error, asked, openings]).toEqual([content.slice(0, after), broken, [broken], [0]]);
    }
  });

  it('leaves the open source when the consumer leaves, after any byte, and takes its throw for no break', async () => {
    for (const n of everyPlace.slice(1)) {
      const { open, sources, openings } = world({ pieceBytes: () => 1 });
      const pieces = resilient(open, quick);
      for (let i = 0; i < n; i++) await pieces.next();
      if (n % 2 === 0) await pieces.return();
      else await expect(pieces.throw(reason)).rejects.toBe(reason);
      expect(sources).toMatchObject([{ given: n, returned: 1 }]);
      expect(openings).toEqual([0]);
    }
    const idle = world();
    await resilient(idle.open, quick).return();
    expect(idle.openings).toEqual([]);
  });
});

describe('the waits of resilient', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  async function waitsOf(fateOf: WorldOptions['fateOf'], options: ResilientOptions, random: number): Promise<number[]> {
    vi.spyOn(Math, 'random').mockReturnValue(random);
    const waits: number[] = [];
    vi.spyOn(scheduler, 'wait').mockImplementation(async (ms) => void waits.push(ms));
    await outcome(resilient(world({ fateOf: fateOf ?? (() => null) }).open, { length: LENGTH, ...options }));
    vi.restoreAllMocks();
    return waits;
  }

  it('double while no byte comes, drawn between the half and the whole, and there is none after the last try', async () => {
    const refuse = (): Fate => ({ how: 'refuse' });
    expect(await waitsOf(refuse, { tries: 5, waitMs: 80 }, 0)).toEqual([40, 80, 160, 320]);
    expect(await waitsOf(refuse, { tries: 5, waitMs: 80 }, 1)).toEqual([80, 160, 320, 640]);
    expect(await waitsOf(refuse, {}, 0)).toEqual([50, 100]);
    expect(await waitsOf(refuse, { tries: 1 }, 0)).toEqual([]);
    expect(await waitsOf(() => null, {}, 0)).toEqual([]);
  });

  it('begin anew with every byte that came', async () => {
    const fates = inTurn(
      { how: 'refuse' },
      { how: 'refuse' },
      { how: 'break', after: 1 },
      { how: 'end', after: 0 },
      { how: 'break', after: 2 },
    );
    expect(await waitsOf(fates, { waitMs: 80 }, 0)).toEqual([40, 80, 40, 80, 40]);
  });
});

describe('the signal of resilient', () => {
  it('opens nothing where it was aborted before', async () => {
    const { open, openings } = world();
    expect((await outcome(resilient(open, { ...quick, signal: AbortSignal.abort(reason) }))).error).toBe(reason);
    expect(openings).toEqual([]);
  });

  it.each(['hang', 'hang deaf'] as const)(
    'ends a read at once, at any byte, of a source that would %s',
    async (how) => {
      for (const after of everyPlace.slice(0, -1)) {
        const { open, sources, openings } = world({ fateOf: () => ({ how, after }), pieceBytes: () => 1 });
        const gone = new AbortController();
        const worthTrying = vi.fn(() => true);
        const ended = outcome(resilient(open, { ...quick, worthTrying, signal: gone.signal }));
        await quiet();
        gone.abort(reason);
        expect(await ended).toEqual({ bytes: content.slice(0, after), error: reason });
        expect(worthTrying).not.toHaveBeenCalled();
        await quiet();
        expect(openings).toEqual([0]);
        expect(sources).toMatchObject([{ given: after, returned: 1 }]);
      }
    },
  );

  it('does not wait for an opening, and leaves what that still brings, or fails with', async () => {
    for (const late of ['opened', 'refused'] as const) {
      const opening = Promise.withResolvers<void>();
      const fateOf = (): Fate | null => (late === 'refused' ? { how: 'refuse' } : null);
      const { open, sources, openings } = world({ fateOf, delay: () => opening.promise });
      const gone = new AbortController();
      const ended = outcome(resilient(open, { ...quick, signal: gone.signal }));
      await quiet();
      gone.abort(reason);
      expect((await ended).error).toBe(reason);
      opening.resolve();
      await quiet();
      expect(openings).toEqual([0]);
      expect(sources).toMatchObject(late === 'opened' ? [{ given: 0, returned: 1 }] : []);
    }
  });

  it('ends a wait, and nothing is opened after it', async () => {
    for (const after of everyPlace.slice(0, -1)) {
      const { open, openings } = world({ fateOf: () => ({ how: 'break', after }) });
      const gone = new AbortController();
      const ended = outcome(resilient(open, { ...quick, waitMs: 3_600_000, signal: gone.signal }));
      await quiet();
      gone.abort(reason);
      const { bytes, error } = await ended;
      expect(bytes).toEqual(content.slice(0, after));
      expect(error).toBe(reason);
      await quiet();
      expect(openings).toEqual([0]);
    }
  });

  it('is heard at the next pull where the consumer was busy, and leaving may fail', async () => {
    const { open, sources } = world();
    const failing: OpenAt = async (offset, signal) => {
      const iterator = (await open(offset, signal))[Symbol.asyncIterator]();
      const leave = async () => {
        await iterator.return?.();
        throw broken;
      };
      return { [Symbol.asyncIterator]: () => ({ next: () => iterator.next(), return: leave }) };
    };
    const gone = new AbortController();
    const pieces = resilient(failing, { ...quick, signal: gone.signal });
    await pieces.next();
    gone.abort(reason);
    await expect(pieces.next()).rejects.toBe(reason);
    expect(sources).toMatchObject([{ given: 5, returned: 1 }]);
  });
});

describe('in random runs resilient', () => {
  function randomFate(random: (limit: number) => number): Fate | null {
    const how = (['break', 'end', 'refuse', null, null] as const)[random(5)] ?? null;
    return how === null ? null : how === 'refuse' ? { how } : { how, after: random(9) };
  }

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'gives each byte once, whatever breaks, or says that it cannot (seed %i)',
    async (seed) => {
      const random = numbers(seed);
      for (let round = 0; round < 40; round++) {
        const tries = 1 + random(4);
        const made = world({
          fateOf: () => randomFate(random),
          pieceBytes: () => 1 + random(9),
          delay: () => turns(random(6)),
        });
        const { bytes, error } = await outcome(resilient(made.open, { ...quick, tries }));
        expect(bytes).toEqual(content.slice(0, bytes.length));
        const last = made.openings.filter((offset) => offset === bytes.length).length;
        if (error === null) expect(bytes.length).toBe(LENGTH);
        else expect(last).toBe(tries);
        for (const place of everyPlace) {
          expect(made.openings.filter((offset) => offset === place).length).toBeLessThanOrEqual(tries);
        }
        expect(made.openings).toEqual(made.openings.toSorted((a, b) => a - b));
        for (const source of made.sources) expect(source.returned).toBe(source.over ? 0 : 1);
        expect(made.misuses).toEqual([]);
      }
    },
  );

  it.each([1, 2, 3, 4])('stops at whatever turn it is cancelled, and leaves nothing open (seed %i)', async (seed) => {
    for (let turn = 0; turn < 150; turn++) {
      const random = numbers(1000 * seed + turn);
      const fateOf = () => (random(3) === 0 ? randomFate(random) : null);
      const made = world({ fateOf, pieceBytes: () => 1 + random(3), delay: () => turns(random(6)) });
      const gone = new AbortController();
      const ended = outcome(resilient(made.open, { ...quick, tries: 9, signal: gone.signal }));
      await turns(turn);
      gone.abort(reason);
      const { length } = made.openings;
      const { bytes, error } = await ended;
      expect(bytes).toEqual(content.slice(0, bytes.length));
      expect(error).toBe(bytes.length === LENGTH ? error : reason);
      await quiet();
      expect(made.openings.length).toBe(length);
      expect(made.misuses).toEqual([]);
      // One that was left during its last pull may end of its own accord after that.
      for (const { over, returned } of made.sources) expect([0, 1].slice(over ? 0 : 1)).toContain(returned);
    }
  });
});
