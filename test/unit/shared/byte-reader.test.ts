import { describe, expect, it } from 'vitest';
import { ByteReader } from '../../../src/shared/byte-reader.ts';
import { concat } from '../../../src/shared/bytes.ts';

const content = Uint8Array.from({ length: 10_000 }, (_, i) => (i * 7 + (i >> 8)) & 255);

/** Pieces of the sizes given by turns, in a buffer that is overwritten at the next pull. */
async function* reused(sizes: readonly number[], seen = { pulled: 0, left: false }) {
  const buffer = new Uint8Array(Math.max(...sizes));
  try {
    for (let at = 0; at < content.length; ) {
      const size = sizes[seen.pulled % sizes.length] ?? 1;
      const piece = content.subarray(at, at + size);
      seen.pulled += 1;
      at += size;
      buffer.set(piece);
      yield buffer.subarray(0, piece.length);
      buffer.fill(0xee);
    }
  } finally {
    seen.left = true;
  }
}

const SIZES = [[1], [7], [512], [513], [10_000], [1, 5000], [0, 3, 0, 0, 900], [4096, 1]] as const;

describe.each(SIZES.map((sizes) => [sizes.join(', '), sizes] as const))(
  'ByteReader over pieces of %s bytes',
  (_, sizes) => {
    it.each([1, 2, 100, 511, 700, 5001])('gives all bytes in fills of %i', async (wanted) => {
      const reader = new ByteReader(reused(sizes), 16);
      const all: Uint8Array[] = [];
      for (let held = await reader.fill(wanted); held.length > 0; held = await reader.fill(wanted)) {
        expect(held).toEqual(reader.buffered);
        expect(reader.held).toBe(held.length);
        const taken = held.slice(0, wanted);
        all.push(taken);
        reader.consume(taken.length);
        expect(reader.position).toBe(all.reduce((bytes, { length }) => bytes + length, 0));
      }
      expect(concat(all)).toEqual(content);
      expect(await reader.more()).toBe(false);
      expect(await reader.skip(1)).toBe(false);
    });

    it('keeps what is held over any number of pulls', async () => {
      const reader = new ByteReader(reused(sizes), 16);
      await reader.fill(10);
      reader.consume(3);
      while (await reader.more()) expect(reader.buffered).toEqual(content.subarray(3, 3 + reader.held));
      expect(reader.held).toBe(content.length - 3);
    });

    it('steps over bytes to any place, and not beyond the end', async () => {
      for (const to of [0, 1, 511, 5000, 9999, 10_000, 10_001, 20_000]) {
        const reader = new ByteReader(reused(sizes));
        await reader.fill(1);
        expect(await reader.skip(to)).toBe(to <= content.length);
        expect(reader.position).toBe(Math.min(to, content.length));
        expect((await reader.fill(20)).slice(0, 20)).toEqual(content.slice(to, to + 20));
      }
    });

    it('mixes all of that', async () => {
      const reader = new ByteReader(reused(sizes), 1);
      for (let step = 1; reader.position < content.length; step = (step * 31) % 1009) {
        const at = reader.position;
        const held = await reader.fill(step);
        expect(held).toEqual(content.subarray(at, at + held.length));
        expect(held.length).toBeGreaterThanOrEqual(Math.min(step, content.length - at));
        reader.consume(Math.min(held.length, step >> 1));
        if (step % 3 === 0) await reader.more();
        await reader.skip(step % 50);
      }
      expect(reader.position).toBe(content.length);
    });
  },
);

describe('ByteReader', () => {
  it('looks at a piece where it lies, when nothing is held', async () => {
    const piece = new Uint8Array(1000).fill(1);
    const reader = new ByteReader(
      (async function* () {
        yield piece;
        yield piece;
      })(),
    );
    expect((await reader.fill(100)).buffer).toBe(piece.buffer);
    reader.consume(400);
    expect(reader.buffered.buffer).toBe(piece.buffer);
    expect(await reader.skip(600)).toBe(true);
    expect((await reader.fill(1)).buffer).toBe(piece.buffer);
    reader.consume(999);
    const end = await reader.fill(2);
    expect([...end]).toEqual([1]);
    expect(end.buffer).not.toBe(piece.buffer);
  });

  it('gives back no memory that is not its own', async () => {
    const piece = new Uint8Array(200_000).fill(1);
    for (const left of [0, 1, 150_000]) {
      const reader = new ByteReader(
        (async function* () {
          yield piece;
          yield piece;
        })(),
      );
      await reader.fill(1);
      reader.consume(piece.length - left);
      await reader.fill(left + 1);
      await reader.close();
      expect(piece.length).toBe(200_000);
      expect(reader.held).toBe(0);
      expect(reader.buffered.length).toBe(0);
    }
  });

  it('pulls no piece before it is needed', async () => {
    const seen = { pulled: 0, left: false };
    const reader = new ByteReader(reused([100], seen));
    expect(seen.pulled).toBe(0);
    await reader.fill(100);
    reader.consume(100);
    await reader.skip(0);
    await reader.fill(0);
    expect(seen.pulled).toBe(1);
    await reader.fill(101);
    expect(seen.pulled).toBe(3);
    await reader.skip(200);
    expect(seen.pulled).toBe(3);
  });

  it('leaves its source when it is closed, and has ended then', async () => {
    const seen = { pulled: 0, left: false };
    const reader = new ByteReader(reused([100], seen));
    await reader.fill(150);
    await reader.close();
    expect(seen).toEqual({ pulled: 2, left: true });
    expect((await reader.fill(1)).length).toBe(0);
    expect(await reader.more()).toBe(false);
  });

  it('throws what the source throws, and holds what came before', async () => {
    const reader = new ByteReader(
      (async function* () {
        yield content.slice(0, 100);
        throw new Error('the source failed');
      })(),
    );
    await reader.fill(10);
    reader.consume(10);
    await expect(reader.fill(91)).rejects.toThrow('the source failed');
    expect(reader.buffered).toEqual(content.subarray(10, 100));
  });

  it('refuses to consume what it does not hold', async () => {
    const reader = new ByteReader(reused([100]));
    await reader.fill(1);
    expect(() => reader.consume(101)).toThrow(RangeError);
    expect(reader.position).toBe(0);
  });
});
