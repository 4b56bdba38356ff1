import { describe, expect, it } from 'vitest';
import { PeerStalled, Watchdog, watched } from '../../../src/shared/watchdog.ts';

const LIMITS = { idleMs: 60_000, minRate: 1024 };

/** A peer that makes the vault wait `everyMs` for each `bytes`; how long until it counts as stalled, if within an hour. */
function stallsAfter(everyMs: number, bytes: number, limits = LIMITS): number | null {
  const watchdog = new Watchdog(limits);
  for (let now = 0; now < 3_600_000; now += everyMs) {
    watchdog.wait(now);
    if (watchdog.msLeft(now) <= everyMs) return now + watchdog.msLeft(now);
    watchdog.moved(bytes, now + everyMs);
  }
  return null;
}

describe('Watchdog', () => {
  it.each([
    ['moves nothing', 1_000, 0, 60_000],
    ['moves a byte every 50 s', 50_000, 1, 60_000],
    ['moves just too little a minute', 1_000, 1_023, 60_000],
    ['moves enough a minute', 1_000, 1_050, null],
    ['moves much, seldom', 59_000, 8 * 1024 * 1024, null],
  ])('counts a peer that %s as stalled in time, or never', (_, everyMs, bytes, stalled) => {
    expect(stallsAfter(everyMs, bytes)).toBe(stalled);
  });

  it('counts a peer as stalled after its idle time, whatever it moved before', () => {
    const watchdog = new Watchdog({ idleMs: 2_000, minRate: 1 });
    watchdog.wait(0);
    watchdog.moved(1_000_000, 10);
    watchdog.wait(10);
    expect([watchdog.state(2_009), watchdog.state(2_010)]).toEqual(['ok', 'stalled']);
  });

  it('counts no time in which the vault does not wait for the peer', () => {
    const watchdog = new Watchdog(LIMITS);
    watchdog.wait(0);
    watchdog.moved(1, 10);
    expect(watchdog.state(10_000_000)).toBe('ok');
    watchdog.wait(10_000_000);
    expect(watchdog.msLeft(10_000_000)).toBe(59_990);
  });

  it('counts the bytes of each minute anew', () => {
    const watchdog = new Watchdog(LIMITS);
    watchdog.wait(0);
    watchdog.moved(100_000_000, 59_999);
    watchdog.wait(59_999);
    watchdog.moved(1, 60_001);
    watchdog.wait(60_001);
    watchdog.moved(1, 90_001);
    watchdog.wait(90_001);
    expect([watchdog.state(119_000), watchdog.state(120_001)]).toEqual(['ok', 'stalled']);
  });
});

describe('watched', () => {
  it('resolves with the work and counts its bytes', async () => {
    const watchdog = new Watchdog({ idleMs: 1_000, minRate: 1 });
    await expect(watched(Promise.resolve('four'), watchdog, ({ length }) => length)).resolves.toBe('four');
    expect(watchdog.state(Date.now())).toBe('ok');
  });

  it('throws PeerStalled when the peer moves nothing, and hears a later failure of the work', async () => {
    const { promise, reject } = Promise.withResolvers<string>();
    const watchdog = new Watchdog({ idleMs: 20, minRate: 1 });
    await expect(watched(promise, watchdog, () => 0)).rejects.toThrow(PeerStalled);
    reject(new Error('too late'));
    await scheduler.wait(1);
  });

  it('throws the error of the work as it is', async () => {
    const gone = new Error('the peer went away');
    const watchdog = new Watchdog({ idleMs: 1_000, minRate: 1 });
    await expect(watched(Promise.reject(gone), watchdog, () => 0)).rejects.toBe(gone);
  });
});
