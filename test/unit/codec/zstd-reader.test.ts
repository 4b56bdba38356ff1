import { describe, expect, it } from 'vitest';
import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { zstdReader } from '../../../src/codec/zstd/zstd-reader.ts';
import { MOST_KEPT_BYTES } from '../../../src/shared/limits.ts';
import type { ByteSpan } from '../../../src/shared/seek-points.ts';
import { manyFrames } from '../../support/archives.ts';
import { chunked, collect, firstDifference, noise, text } from './bytes.ts';

const FRAME = 300_000;
const content = text(4 * FRAME + 1_000);

function readerOf(file: Uint8Array, contentBytes = content.length) {
  const asked: ByteSpan[] = [];
  const read = zstdReader(
    (span) => {
      asked.push(span);
      return chunked(file.slice(span.offset, span.offset + span.length), 50_000);
    },
    { engine: nativeEngine, encodedBytes: file.length, contentBytes },
  );
  return { read, asked };
}

describe('zstdReader', () => {
  it('reads any span, forward and back', async () => {
    const { read } = readerOf(await manyFrames(content, FRAME));
    for (const offset of [0, 5, FRAME - 1, FRAME, 3 * FRAME + 7, 2 * FRAME, 0, content.length - 1]) {
      for (const length of [1, 10_000, content.length - offset].filter((bytes) => offset + bytes <= content.length)) {
        const got = await collect(read({ offset, length }));
        expect(firstDifference(got, content.slice(offset, offset + length)), `${offset}+${length}`).toBeNull();
      }
    }
  });

  it('goes on at the frame that was met last, or behind it', async () => {
    const file = await manyFrames(content, FRAME);
    const { read, asked } = readerOf(file);
    await collect(read({ offset: 0, length: 2 * FRAME }));
    await collect(read({ offset: 2 * FRAME - 10, length: 5 }));
    await collect(read({ offset: 2 * FRAME, length: 5 }));
    const [, second, third] = asked.map(({ offset }) => offset);
    expect(second).toBeGreaterThan(0);
    expect(third).toBeGreaterThan(second ?? 0);
    await collect(read({ offset: 0, length: 5 }));
    expect(asked.at(-1)?.offset).toBe(0);
  });

  it('reads to the end of the file for a long span, and about a frame for a short one', async () => {
    const large = noise(6_000_000);
    const file = await manyFrames(large, 4_000_000);
    const { read, asked } = readerOf(file, large.length);
    await collect(read({ offset: 0, length: MOST_KEPT_BYTES }));
    await collect(read({ offset: 0, length: large.length }));
    expect(asked[0]?.length).toBeLessThan(file.length);
    expect(asked.at(-1)).toEqual({ offset: 0, length: file.length });
  });

  it('asks for exactly the bytes of a frame that it met before, and for little more of the next one', async () => {
    const file = await manyFrames(content, FRAME);
    const { read, asked } = readerOf(file);
    await collect(read({ offset: 0, length: 5 }));
    await collect(read({ offset: FRAME - 5, length: 5 }));
    await collect(read({ offset: FRAME, length: 5 }));
    const [first, again, next] = asked;
    const frameBytes = next?.offset ?? 0;
    expect(first?.length).toBe(file.length);
    expect(again).toEqual({ offset: 0, length: frameBytes });
    expect(next?.length).toBe(Math.ceil(frameBytes * 1.25));
  });

  it('tells a broken frame by its place in the file, also after going on', async () => {
    const file = await manyFrames(content, FRAME);
    const { read, asked } = readerOf(file);
    await collect(read({ offset: 0, length: 2 * FRAME }));
    const before = asked.length;
    await collect(read({ offset: 2 * FRAME, length: 5 }));
    const frameAt = asked[before]?.offset ?? 0;
    file.fill(0, frameAt + 20, frameAt + 200);
    await expect(collect(read({ offset: 2 * FRAME, length: 5 }))).rejects.toMatchObject({
      code: 'malformed-zstd',
      offset: expect.toSatisfy((offset: number) => offset >= frameAt),
    });
  });

  it('refuses less content than there should be, more, and what follows the last frame', async () => {
    const file = await manyFrames(content, FRAME);
    const all = (bytes: number) => ({ offset: 0, length: bytes });
    const short = readerOf(file, content.length + 1);
    await expect(collect(short.read(all(content.length + 1)))).rejects.toThrow('before it should');
    const long = readerOf(file, content.length - 1);
    await expect(collect(long.read(all(content.length - 1)))).rejects.toMatchObject({ code: 'file-too-large' });
    const behind = new Uint8Array(file.length + 9).fill(7);
    behind.set(file);
    await expect(collect(readerOf(behind).read(all(content.length)))).rejects.toMatchObject({ code: 'malformed-zstd' });
  });
});
