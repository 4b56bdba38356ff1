import { describe, expect, it } from 'vitest';
import { ForwardReader } from '../../../src/delivery/forward-reader.ts';
import { MIB } from '../../../src/shared/limits.ts';
import type { ByteSpan, Layer } from '../../../src/shared/seek-points.ts';
import { whole } from '../../support/archives.ts';
import { sample } from '../../support/vault.ts';

const archive = sample(3 * MIB, 4);

/** A reader of the archive in pieces of 50,000 bytes, each gone at the next pull; `opened` tells its reads. */
function reading(layers: readonly Layer[] = [], end = archive.length) {
  const opened: ByteSpan[] = [];
  let open = 0;
  async function* read({ offset, length }: ByteSpan): AsyncGenerator<Uint8Array, void, undefined> {
    opened.push({ offset, length });
    open += 1;
    try {
      for (let at = offset; at < offset + length; at += 50_000) {
        const piece = archive.slice(at, Math.min(at + 50_000, offset + length));
        yield piece;
        piece.fill(0);
      }
    } finally {
      open -= 1;
    }
  }
  return { reader: new ForwardReader(read, layers, end), opened, open: () => open };
}

/** Points every `distance` bytes. */
function pointsEvery(distance: number): Layer {
  const content = Array.from({ length: Math.ceil(archive.length / distance) }, (_, i) => i * distance);
  const points = { encoded: content, content, encodedBytes: archive.length, contentBytes: archive.length };
  return { codec: 'zstd', points };
}

async function expectSpan(reader: ForwardReader, offset: number, length: number): Promise<void> {
  expect(await whole(reader.span({ offset, length }))).toEqual(archive.slice(offset, offset + length));
}

describe('ForwardReader', () => {
  it('reads spans in order through one read, whatever lies between', async () => {
    const { reader, opened, open } = reading();
    for (const [offset, length] of [
      [0, 1],
      [1, 49_999],
      [50_000, 0],
      [50_000, 1],
      [120_000, 100_000],
      [220_000, 7],
      [900_000, 1_000_000],
    ] as const) {
      await expectSpan(reader, offset, length);
    }
    expect(opened).toEqual([{ offset: 0, length: archive.length }]);
    expect(open()).toBe(1);
    await reader.close();
    expect(open()).toBe(0);
  });

  it('begins anew for what lies before, and closes what it had open', async () => {
    const { reader, opened, open } = reading();
    await expectSpan(reader, 500_000, 10);
    await expectSpan(reader, 100, 10);
    await expectSpan(reader, 109, 10);
    expect(opened.map(({ offset }) => offset)).toEqual([500_000, 100, 109]);
    expect(open()).toBe(1);
    await reader.close();
    await reader.close();
    expect(open()).toBe(0);
  });

  it('jumps over more than a mebibyte of what is not compressed', async () => {
    const { reader, opened } = reading();
    await expectSpan(reader, 0, 10);
    await expectSpan(reader, 10 + MIB, 10);
    await expectSpan(reader, 21 + 2 * MIB, 10);
    expect(opened.map(({ offset }) => offset)).toEqual([0, 21 + 2 * MIB]);
    await reader.close();
  });

  it('jumps where a whole group of frames lies between, and reads on where none does', async () => {
    const { reader, opened } = reading([pointsEvery(100_000)]);
    await expectSpan(reader, 0, 10);
    await expectSpan(reader, 199_990, 10);
    await expectSpan(reader, 399_999, 1);
    await expectSpan(reader, 600_000, 10);
    await expectSpan(reader, 2_000_000, 10);
    expect(opened.map(({ offset }) => offset)).toEqual([0, 600_000, 2_000_000]);
    await reader.close();
  });

  it('never jumps within gzip, whose one point is its start', async () => {
    const { reader, opened } = reading([
      { codec: 'gzip', points: { encoded: [0], content: [0], encodedBytes: 9, contentBytes: archive.length } },
    ]);
    await expectSpan(reader, 0, 10);
    await expectSpan(reader, 2_900_000, 10);
    expect(opened).toHaveLength(1);
    await reader.close();
  });

  it('asks for nothing behind its end', async () => {
    const { reader, opened } = reading([], 1000);
    await expectSpan(reader, 990, 10);
    expect(opened).toEqual([{ offset: 990, length: 10 }]);
    await reader.close();
  });

  it('goes on also after a span that was left', async () => {
    const { reader, opened } = reading();
    for await (const piece of reader.span({ offset: 10, length: 200_000 })) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    await expectSpan(reader, 200_010, 100);
    expect(opened.length).toBeLessThanOrEqual(2);
    await reader.close();
  });

  it('throws where the archive ends before the span, and what the source throws', async () => {
    const short = new ForwardReader(
      async function* () {
        yield new Uint8Array(5);
      },
      [],
      100,
    );
    await expect(whole(short.span({ offset: 0, length: 6 }))).rejects.toThrow('1 bytes early');
    await short.close();
    const fault = new Error('the disk went away');
    const failing = new ForwardReader(
      async function* () {
        yield new Uint8Array(5);
        throw fault;
      },
      [],
      100,
    );
    await expect(whole(failing.span({ offset: 0, length: 6 }))).rejects.toBe(fault);
    await failing.close();
  });
});
