import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  Gate,
  isolateMemory,
  RestLedger,
  SlowReaders,
  sharesInTurn,
  VaultBusy,
} from '../../../src/shared/isolate-memory.ts';
import {
  BUSY_WAIT_MS,
  FLIGHTS_PER_UPLOAD,
  KIB,
  LEAST_KEPT_BYTES,
  MEMORY_LEASE_MS,
  MOST_KEPT_BYTES,
  READERS_KEPT_BYTES,
  REST_CHECK_MS,
} from '../../../src/shared/limits.ts';

afterEach(() => vi.restoreAllMocks());

/** Time that passes only here, in steps; timers run as ever. */
function clock() {
  const start = Date.now();
  let passed = 0;
  vi.spyOn(Date, 'now').mockImplementation(() => start + passed);
  return (ms: number) => {
    passed += ms;
  };
}

describe('Gate', () => {
  it('never lends more units than it has, and serves one holder in the order of its requests', async () => {
    const gate = new Gate({ units: 3 });
    const order: number[] = [];
    let most = 0;
    const work = Array.from({ length: 12 }, async (_, i) => {
      const share = await gate.acquire('one');
      order.push(i);
      most = Math.max(most, gate.used);
      await scheduler.wait(5);
      share.release();
    });
    await Promise.all(work);
    expect(most).toBe(3);
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(gate.used).toBe(0);
  });

  it('lends one holder no more than its limit, and others what is left', async () => {
    const gate = new Gate({ units: 4, perHolder: 2 });
    await gate.acquire('greedy');
    await gate.acquire('greedy');
    const gone = new AbortController();
    let served = false;
    const third = gate.acquire('greedy', gone.signal).then(() => {
      served = true;
    });
    (await gate.acquire('other')).release();
    await scheduler.wait(30);
    expect([served, gate.used]).toEqual([false, 2]);
    gone.abort(new Error('left'));
    await expect(third).rejects.toThrow('left');
    await expect(gate.acquire('greedy', undefined, 3)).rejects.toThrow(RangeError);
  });

  it('serves holders in turn, however many requests one of them has in the queue', async () => {
    const gate = new Gate({ units: 1 });
    const order: string[] = [];
    const first = await gate.acquire('many');
    const use = async (holder: string) => {
      const share = await gate.acquire(holder);
      order.push(holder);
      share.release();
    };
    const all = ['many', 'many', 'many', 'few', 'many', 'few'].map(use);
    first.release();
    await Promise.all(all);
    expect(order).toEqual(['few', 'many', 'few', 'many', 'many', 'many']);
  });

  it('lends several units at once, and makes smaller requests wait behind the one whose turn it is', async () => {
    const gate = new Gate({ units: 4 });
    const held = await gate.acquire('a', undefined, 3);
    const order: string[] = [];
    const large = gate.acquire('b', undefined, 4).then((share) => {
      order.push('large');
      share.release();
    });
    const small = gate.acquire('c').then((share) => {
      order.push('small');
      share.release();
    });
    await scheduler.wait(30);
    expect(order).toEqual([]);
    held.release();
    await Promise.all([large, small]);
    expect(order).toEqual(['large', 'small']);
  });

  it('rejects a request that waited for its time with busy and the seconds to wait', async () => {
    const gate = new Gate({ units: 1 });
    const held = await gate.acquire('a');
    const pass = clock();
    const waiting = gate.acquire('b');
    const keptAlive = setInterval(() => pass(500), 5);
    const error = await waiting.catch((met: unknown) => met);
    clearInterval(keptAlive);
    expect(error).toBeInstanceOf(VaultBusy);
    expect(error).toMatchObject({ code: 'busy', facts: { retry_after_seconds: 5 } });
    expect(gate.waiting).toBe(0);
    held.release();
    (await gate.acquire('b')).release();
  });

  it('waits 10 seconds by default', () => {
    expect(BUSY_WAIT_MS).toBe(10_000);
  });

  it('lets no request wait behind one that was cancelled', async () => {
    const gate = new Gate({ units: 1 });
    const held = await gate.acquire('a');
    const gone = new AbortController();
    const waiting = gate.acquire('b', gone.signal);
    const next = gate.acquire('c');
    gone.abort(new Error('left'));
    await expect(waiting).rejects.toThrow('left');
    held.release();
    (await next).release();
  });

  it('reclaims the share of a request that the runtime ended', async () => {
    const gate = new Gate({ units: 1 });
    vi.spyOn(globalThis, 'setInterval').mockReturnValueOnce(0 as never);
    await gate.acquire('dead');
    const pass = clock();
    pass(MEMORY_LEASE_MS + 1);
    (await gate.acquire('alive')).release();
    expect(gate.used).toBe(0);
  });

  it('accepts a second release of the same share', async () => {
    const gate = new Gate({ units: 2 });
    const share = await gate.acquire('a');
    share.release();
    (await gate.acquire('b')).release();
    share.release();
    expect(gate.used).toBe(0);
  });
});

describe('RestLedger', () => {
  /** A transfer that puts everything aside, and counts how often. */
  function transfer(ledger: RestLedger, bytes: number, putting: () => Promise<void> = async () => undefined) {
    let calls = 0;
    let held = bytes;
    const account = ledger.open(async () => {
      calls += 1;
      await putting();
      account.add(-held);
      held = 0;
    });
    account.add(bytes);
    return {
      close: () => account.close(),
      add: (more: number) => {
        held += more;
        account.add(more);
      },
      get calls() {
        return calls;
      },
    };
  }

  const seen = () => scheduler.wait(4 * REST_CHECK_MS);

  it('asks nobody to put bytes aside up to its limit', async () => {
    const ledger = new RestLedger(() => 600 * KIB);
    const transfers = [300 * KIB, 300 * KIB].map((bytes) => transfer(ledger, bytes));
    await seen();
    expect(transfers.map(({ calls }) => calls)).toEqual([0, 0]);
    for (const each of transfers) each.close();
    expect(ledger.usedBytes).toBe(0);
  });

  it('asks the transfer that has been idle longest, and no more of them than it takes', async () => {
    const pass = clock();
    const ledger = new RestLedger(() => 600 * KIB);
    const stopped = transfer(ledger, 250 * KIB);
    pass(5_000);
    const sending = transfer(ledger, 300 * KIB);
    expect(ledger.usedBytes).toBe(550 * KIB);
    sending.add(100 * KIB);
    await seen();
    expect([stopped.calls, sending.calls]).toEqual([1, 0]);
    expect(ledger.usedBytes).toBe(400 * KIB);
    for (const each of [stopped, sending]) each.close();
  });

  it('asks the transfer with the most bytes among those that all send', async () => {
    clock();
    const ledger = new RestLedger(() => 600 * KIB);
    const transfers = [200, 300, 250].map((kib) => transfer(ledger, kib * KIB));
    await seen();
    expect(transfers.map(({ calls }) => calls)).toEqual([0, 1, 0]);
    for (const each of transfers) each.close();
  });

  it('asks no second transfer for bytes that are being put aside already', async () => {
    clock();
    const ledger = new RestLedger(() => 400 * KIB);
    const { promise, resolve } = Promise.withResolvers<void>();
    const large = transfer(ledger, 300 * KIB, () => promise);
    const other = transfer(ledger, 200 * KIB);
    await seen();
    expect([large.calls, other.calls]).toEqual([1, 0]);
    resolve();
    await seen();
    expect([large.calls, other.calls]).toEqual([1, 0]);
    for (const each of [large, other]) each.close();
  });

  it('forgets the bytes of a request that the runtime ended', async () => {
    const ledger = new RestLedger(() => 400 * KIB);
    vi.spyOn(globalThis, 'setInterval').mockReturnValueOnce(0 as never);
    transfer(ledger, 300 * KIB);
    const pass = clock();
    pass(MEMORY_LEASE_MS + 1);
    const alive = transfer(ledger, 200 * KIB);
    await seen();
    expect(alive.calls).toBe(0);
    expect(ledger.usedBytes).toBe(200 * KIB);
    alive.close();
  });
});

describe('the memory of an isolate', () => {
  it('has one gate for each kind of work, and an upload may have two parts in flight', async () => {
    const memory = isolateMemory();
    await memory.flights.acquire('upload', undefined, FLIGHTS_PER_UPLOAD);
    expect(memory.flights.used).toBe(2);
    expect([memory.turns.used, memory.small.used, memory.windows.used, memory.rest.usedBytes]).toEqual([0, 0, 0, 0]);
  });
});

describe('SlowReaders', () => {
  it('divides what all keep, within the most and the least of one', () => {
    const slow = new SlowReaders();
    const readers = Array.from({ length: 200 }, () => ({}));
    expect(readers.slice(0, 18).map((reader) => slow.share(reader))).toEqual(Array(18).fill(MOST_KEPT_BYTES));
    for (const reader of readers.slice(0, 24)) slow.share(reader);
    expect(slow.share(readers[0] ?? {})).toBe(READERS_KEPT_BYTES / 24);
    for (const reader of readers) slow.share(reader);
    expect(slow.share(readers[0] ?? {})).toBe(LEAST_KEPT_BYTES);
    for (const reader of readers.slice(1)) slow.leave(reader);
    expect(slow.share(readers[0] ?? {})).toBe(MOST_KEPT_BYTES);
  });

  it('forgets a reader whose request ended without a word', () => {
    const pass = clock();
    const slow = new SlowReaders();
    for (let n = 0; n < 100; n++) slow.share({});
    pass(MEMORY_LEASE_MS + 1);
    expect(slow.share({})).toBe(MOST_KEPT_BYTES);
  });
});

describe('sharesInTurn', () => {
  it('throws that the vault is busy before the first share, and waits on for later ones', async () => {
    const share = { release: () => undefined };
    const answers = [new VaultBusy(), share, new VaultBusy(), new VaultBusy(), share];
    const next = sharesInTurn(async () => {
      const answer = answers.shift();
      if (answer === undefined || answer instanceof Error) throw answer;
      return answer;
    });
    await expect(next()).rejects.toMatchObject({ code: 'busy' });
    expect(await next()).toBe(share);
    expect(await next()).toBe(share);
    expect(answers).toEqual([]);
  });
});
