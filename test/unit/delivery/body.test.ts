import { describe, expect, it } from 'vitest';
import { MalformedGzip } from '../../../src/codec/gzip.ts';
import { MalformedZstd } from '../../../src/codec/zstd/malformed-zstd.ts';
import { ZstdTooLarge } from '../../../src/codec/zstd/zstd-decode.ts';
import { openBody } from '../../../src/delivery/body.ts';
import type { Pieces } from '../../../src/shared/streams.ts';
import { bytesOf } from './rooms.ts';

/** A body of these pieces; a piece that is an error is thrown. */
function opening(
  parts: readonly (Uint8Array | Error)[],
  { length = null, idleMs = 60_000 }: { length?: number | null; idleMs?: number } = {},
) {
  const seen = { pulled: 0, closed: false, signal: new AbortController().signal };
  const pumps: Promise<void>[] = [];
  async function* pieces(signal: AbortSignal): Pieces & AsyncGenerator<Uint8Array, void, undefined> {
    seen.signal = signal;
    try {
      for (const part of parts) {
        seen.pulled += 1;
        if (part instanceof Error) throw part;
        yield part;
      }
    } finally {
      seen.closed = true;
    }
  }
  const plan = { log: { event: 'test-broken' }, length, pieces };
  const body = openBody({ idleMs, minRate: 1 }, plan, (pump) => pumps.push(pump));
  return { body, seen, pumped: () => Promise.all(pumps) };
}

const piece = (...bytes: number[]) => Uint8Array.of(...bytes);

describe('openBody', () => {
  it('gives the pieces, and leaves their source at the end', async () => {
    const { body, seen, pumped } = opening([piece(1, 2), piece(3)], { length: 3 });
    expect(await bytesOf(await body)).toEqual(piece(1, 2, 3));
    await pumped();
    expect(seen).toMatchObject({ pulled: 2, closed: true });
  });

  it('opens also where there are no pieces', async () => {
    const { body, pumped } = opening([], { length: 0 });
    expect(await bytesOf(await body)).toEqual(new Uint8Array());
    await pumped();
  });

  it.each([
    ['as it is', new Error('the disk went away'), { message: 'the disk went away' }],
    ['a broken frame', new MalformedZstd('a frame is corrupt', 7), { code: 'stored-data-corrupt' }],
    ['a broken gzip', new MalformedGzip('the checksum is wrong', 7), { code: 'stored-data-corrupt' }],
    ['content without an end', new ZstdTooLarge(5), { code: 'stored-data-corrupt' }],
  ])('rejects with what fails before the first piece (%s)', async (_, fault, told) => {
    const { body, pumped, seen } = opening([fault]);
    await expect(body).rejects.toMatchObject(told);
    await pumped();
    expect(seen.closed).toBe(true);
  });

  it('breaks the body with what fails later', async () => {
    for (const length of [null, 4]) {
      const { body, pumped } = opening([piece(1), piece(2), new Error('gone')], { length });
      await expect(bytesOf(await body)).rejects.toThrow();
      await pumped();
    }
  });

  it('breaks a body that is shorter or longer than was said', async () => {
    for (const parts of [[piece(1)], [piece(1), piece(2, 3, 4)]]) {
      const { body, pumped } = opening(parts, { length: 3 });
      await expect(bytesOf(await body)).rejects.toThrow();
      await pumped();
    }
  });

  it('pulls nothing ahead of a reader that does not read, but for the first piece', async () => {
    const { body, seen, pumped } = opening(Array.from({ length: 9 }, (_, i) => piece(i)));
    const stream = await body;
    await scheduler.wait(30);
    expect(seen.pulled).toBeLessThanOrEqual(2);
    await stream.cancel();
    await pumped();
  });

  it('stops and aborts when the client leaves, before the first byte or after', async () => {
    for (const reads of [0, 1]) {
      const { body, seen, pumped } = opening(Array.from({ length: 99 }, (_, i) => piece(i)));
      const reader = (await body).getReader();
      for (let i = 0; i < reads; i++) await reader.read();
      await reader.cancel();
      await pumped();
      expect(seen.closed).toBe(true);
      expect(seen.pulled).toBeLessThan(5);
      expect(seen.signal.aborted).toBe(true);
    }
  });

  it('leaves the source of a reader that takes nothing for too long', async () => {
    const { body, seen, pumped } = opening([piece(1), piece(2), piece(3)], { idleMs: 30 });
    const stream = await body;
    await pumped();
    expect(seen).toMatchObject({ closed: true });
    expect(seen.signal.aborted).toBe(true);
    await expect(bytesOf(stream)).rejects.toThrow();
  });
});
