import { afterEach, describe, expect, it, vi } from 'vitest';
import { IsolateBudget } from '../../../src/shared/isolate-budget.ts';
import { BUDGET_LEASE_MS } from '../../../src/shared/limits.ts';

afterEach(() => vi.restoreAllMocks());

describe('IsolateBudget', () => {
  it('never gives out more than it has, and serves in the order of asking', async () => {
    const budget = new IsolateBudget(10);
    const order: number[] = [];
    let most = 0;
    const work = Array.from({ length: 12 }, async (_, i) => {
      const share = await budget.reserve(4);
      order.push(i);
      most = Math.max(most, budget.usedBytes);
      await scheduler.wait(5);
      share.release();
    });
    await Promise.all(work);
    expect(most).toBeLessThanOrEqual(10);
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(budget.usedBytes).toBe(0);
  });

  it('lets nobody wait behind a request that was given up', async () => {
    const budget = new IsolateBudget(10);
    const held = await budget.reserve(10);
    const gone = new AbortController();
    const waiting = budget.reserve(10, gone.signal);
    const next = budget.reserve(10);
    gone.abort(new Error('left'));
    await expect(waiting).rejects.toThrow('left');
    held.release();
    (await next).release();
  });

  it('takes back the share of a request that the runtime killed', async () => {
    const budget = new IsolateBudget(10);
    vi.spyOn(globalThis, 'setInterval').mockReturnValueOnce(0 as never);
    await budget.reserve(10);
    const now = Date.now();
    vi.spyOn(Date, 'now').mockImplementation(() => now + BUDGET_LEASE_MS + 1);
    (await budget.reserve(10)).release();
  });

  it('refuses what can never fit, and survives a second release', async () => {
    const budget = new IsolateBudget(10);
    await expect(budget.reserve(11)).rejects.toThrow(RangeError);
    const share = await budget.reserve(10);
    share.release();
    share.release();
    expect(budget.usedBytes).toBe(0);
  });
});
