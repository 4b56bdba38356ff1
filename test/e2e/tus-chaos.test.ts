import { expect, it } from 'vitest';
import { storm } from './chaos/storm.ts';
import { MIB } from './clients.ts';

/** `node bench/chaos.ts` does the same with 200 uploads, larger ones, and a seed of its own. */
it('uploads in pieces lose nothing, count nothing and leave nothing, whatever breaks', async () => {
  const { runs, violations, tally, kills, leftovers } = await storm({
    seed: 16,
    runs: 16,
    atOnce: 4,
    mostBytes: 18 * MIB,
    killEvery: 4,
    shortTtlSeconds: 12,
  });
  const accused = runs.filter(({ log }) => log.violations.length > 0);
  expect(violations, accused.flatMap(({ log }) => log.lines).join('\n')).toEqual([]);
  expect(leftovers.orphans).toEqual([]);
  // It was what it is called.
  const ends = runs.map(({ ended }) => ended.kind);
  expect(ends.filter((kind) => kind === 'backup').length).toBeGreaterThan(8);
  expect(ends).toContain('refused');
  expect(kills).toBeGreaterThan(2);
  // Whether a connection breaks before all bytes are sent depends on the machine, and few plans reset one.
  const broken = tally.of('connections closed midway') + tally.of('connections reset midway');
  expect(broken).toBeGreaterThan(0);
  for (const name of ['answers lost', 'races', 'wrong offsets']) expect(tally.of(name), name).toBeGreaterThan(0);
}, 400_000);
