import { describe, expect, test } from 'vitest';
import { MalformedZstd } from '../../../src/codec/zstd/malformed-zstd.ts';
import { type FrameStart, zstdDecode } from '../../../src/codec/zstd/zstd-decode.ts';
import { bytesFromBase64url, concat, hex, sha256 } from '../../../src/shared/bytes.ts';
import { MIB } from '../../../src/shared/limits.ts';
import { refused, type Vector, vectors } from '../../vectors/zstd.ts';
import { bothEngines } from './both-engines.ts';
import { chunked, firstDifference, noise, run, text } from './bytes.ts';
import { blockHeader, frameHeader, skippable, zeros } from './zstd-files.ts';

const maxBytes = 64 * MIB;

function fileOf(vector: Vector): Uint8Array {
  return bytesFromBase64url(vector.base64.replaceAll('+', '-').replaceAll('/', '_'));
}

async function fault(work: Promise<unknown>): Promise<MalformedZstd> {
  const error = await work.then(
    () => new Error('it was accepted'),
    (reason: unknown) => reason,
  );
  if (error instanceof MalformedZstd) return error;
  throw error;
}

describe.each(bothEngines)('zstdDecode with the $name engine', (engine) => {
  const decode = (file: Uint8Array, chunkBytes?: number) => run(zstdDecode({ engine, maxBytes }), file, chunkBytes);

  describe.each(vectors)('reads what the command line made: $name', (vector) => {
    const file = fileOf(vector);
    const chunkings = file.length > 20_000 ? [file.length, 4096, 7] : [file.length, 4096, 7, 1];
    test.each(chunkings)('in chunks of %i', async (chunkBytes) => {
      const content = await decode(file, chunkBytes);
      expect(content.length).toBe(vector.contentBytes);
      expect(hex(await sha256(content))).toBe(vector.sha256);
    });
  });

  test.each(refused)('refuses a window of more than 8 MiB: $name', async (vector) => {
    const error = await fault(decode(fileOf(vector)));
    expect(error).toMatchObject({ code: 'malformed-zstd', offset: 0 });
    expect(error.message).toContain('window');
  });

  const content = text(3_000);
  const frame = engine.compressFrame(content, 3);
  const other = engine.compressFrame(noise(500), 1);
  const skip = skippable(noise(300));
  const empty = engine.compressFrame(new Uint8Array(0), 1);
  const files: [string, Uint8Array[], Uint8Array[]][] = [
    ['many frames', [frame, other, frame, empty, other], [content, noise(500), content, noise(500)]],
    ['a skippable frame first', [skip, frame], [content]],
    ['a skippable frame last', [frame, skip], [content]],
    ['a skippable frame between', [frame, skip, other], [content, noise(500)]],
    ['skippable frames all over', [skip, skip, frame, skip, other, skip, skip], [content, noise(500)]],
    ['only a skippable frame', [skip], []],
    ['a skippable frame of no bytes', [skippable(new Uint8Array(0), 15), frame], [content]],
    ['frames without a content size', [zeros(300_000), zeros(5), frame], [new Uint8Array(300_005), content]],
    ['tiny blocks, more header than content', [tinyBlocks(200_000)], [new Uint8Array(200_000).fill(65)]],
  ];
  test.each(files)('reads %s', async (_, frames, parts) => {
    const file = concat(frames);
    for (const chunkBytes of file.length > 100_000 ? [file.length, 1000] : [file.length, 1000, 1]) {
      expect(firstDifference(await decode(file, chunkBytes), concat(parts))).toBeNull();
    }
  });

  test('refuses a file cut off at any byte but between frames', async () => {
    const file = concat([frame, skip, other]);
    const whole = [frame.length, frame.length + skip.length];
    for (let length = 0; length < file.length; length++) {
      if (whole.includes(length)) continue;
      const error = await fault(decode(file.subarray(0, length)));
      expect(error.offset).toBeLessThanOrEqual(length);
    }
  });

  test('a large file cut off anywhere is refused', async () => {
    const vector = vectors.find(({ name }) => name === 'large, level 3 from stdin');
    const file = fileOf(vector as Vector);
    for (const length of [7, 100, file.length >> 1, file.length - 5, file.length - 4, file.length - 1]) {
      await fault(decode(file.subarray(0, length)));
    }
  });

  const checked = vectors.filter(({ name }) => ['level 19', 'level 3 from stdin', 'an empty file'].includes(name));
  test.each(checked)('never gives wrong bytes for a corrupted file that has a checksum: $name', async (vector) => {
    const file = fileOf(vector);
    const step = file.length > 1000 ? 1 : 1;
    for (let at = 0; at < file.length; at += step) {
      const corrupted = file.slice();
      corrupted[at] = (corrupted[at] ?? 0) ^ (1 << (at % 8));
      const outcome = await decode(corrupted).catch((error: unknown) => error);
      if (outcome instanceof MalformedZstd) continue;
      // A changed magic may become a skippable frame's, which holds nothing: no wrong byte either.
      expect(outcome, `byte ${at}`).toBeInstanceOf(Uint8Array);
      expect(hex(await sha256(outcome as Uint8Array)), `byte ${at}`).toBe(vector.sha256);
    }
  });

  const broken: [string, Uint8Array, number][] = [
    ['nothing', new Uint8Array(0), 0],
    ['something else', text(100), 0],
    ['garbage behind a frame', concat([frame, text(10)]), frame.length],
    ['one byte behind a frame', concat([frame, text(1)]), frame.length],
    ['zeros behind a frame', concat([frame, new Uint8Array(512)]), frame.length],
    ['a reserved block type', concat([frameHeader(), Uint8Array.of(...blockHeader(3, 0, true))]), 6],
    ['a block larger than any may be', concat([frameHeader(), Uint8Array.of(...blockHeader(1, 200_000, true), 0)]), 6],
    ['a reserved bit', Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x28, 0, 1, 0, 0), 0],
    ['a dictionary', Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x21, 9, 0, 1, 0, 0), 0],
  ];
  test.each(broken)('refuses %s, and says where', async (_, file, offset) => {
    expect(await fault(decode(file))).toMatchObject({ code: 'malformed-zstd', offset });
  });

  test.each([1, 100_000])('refuses a content size that is wrong by %i', async (by) => {
    await fault(decode(zeros(300_000, 300_000 + by)));
    await fault(decode(zeros(300_000, 300_000 - by)));
    await fault(decode(zeros(9 * MIB, 9 * MIB + by)));
    await fault(decode(zeros(9 * MIB, 9 * MIB - by)));
  });

  test('tells in a file of many frames which byte the broken one begins at', async () => {
    const bad = frame.slice(0, -1);
    const error = await fault(decode(concat([frame, skip, zeros(10, 11)])));
    expect(error.offset).toBe(frame.length + skip.length);
    expect((await fault(decode(concat([frame, bad])))).offset).toBe(frame.length + bad.length);
  });

  test('frames are told where they begin, before their content is given', async () => {
    const big = engine.compressFrame(text(300_000), 1);
    const file = concat([skip, frame, other, skip, empty, zeros(200_000), big]);
    for (const oneShotBytes of [undefined, 100_000, 0]) {
      const told: FrameStart[] = [];
      let made = 0;
      const onFrame = (start: FrameStart) => {
        expect(start.contentOffset).toBe(made);
        told.push(start);
      };
      const options = oneShotBytes === undefined ? {} : { oneShotBytes };
      for await (const piece of zstdDecode({ engine, maxBytes, onFrame, ...options })(chunked(file, 1000))) {
        expect(told.length).toBeGreaterThan(0);
        made += piece.length;
      }
      const lengths = [skip, frame, other, skip, empty, zeros(200_000), big].map(({ length }) => length);
      const start = (index: number) => lengths.slice(0, index).reduce((a, b) => a + b, 0);
      const end = (index: number, bytes: number) =>
        bytes <= (oneShotBytes ?? engine.oneShotBytes) ? start(index + 1) : null;
      expect(told).toEqual([
        { encodedOffset: start(1), encodedEnd: end(1, 3_000), contentOffset: 0, contentBytes: 3_000 },
        { encodedOffset: start(2), encodedEnd: end(2, 500), contentOffset: 3_000, contentBytes: 500 },
        { encodedOffset: start(4), encodedEnd: end(4, 0), contentOffset: 3_500, contentBytes: 0 },
        { encodedOffset: start(5), encodedEnd: null, contentOffset: 3_500, contentBytes: null },
        { encodedOffset: start(6), encodedEnd: end(6, 300_000), contentOffset: 203_500, contentBytes: 300_000 },
      ]);
      expect(made).toBe(503_500);
    }
  });

  test('what is thrown at a frame ends the decoding before its content', async () => {
    const refusal = new Error('not this one');
    const file = concat([frame, other]);
    const given: number[] = [];
    const decoded = zstdDecode({
      engine,
      maxBytes,
      onFrame: ({ contentOffset }) => {
        if (contentOffset > 0) throw refusal;
      },
    })(chunked(file, 100));
    const work = (async () => {
      for await (const piece of decoded) given.push(piece.length);
    })();
    await expect(work).rejects.toBe(refusal);
    expect(given).toEqual([3_000]);
  });

  test('with a smaller bound for one-shot decoding the content is the same, in smaller pieces', async () => {
    const large = text(3 * MIB);
    const file = concat([engine.compressFrame(large, 1), frame]);
    let largest = 0;
    const held: Uint8Array[] = [];
    for await (const piece of zstdDecode({ engine, maxBytes, oneShotBytes: 256 * 1024 })(chunked(file, 100_000))) {
      largest = Math.max(largest, piece.length);
      held.push(piece.slice());
    }
    expect(firstDifference(concat(held), concat([large, content]))).toBeNull();
    expect(largest).toBeLessThanOrEqual(MIB);
  });

  test('a piece that is kept by slice() stays what it was', async () => {
    const large = noise(400_000);
    const held: Uint8Array[] = [];
    for await (const piece of zstdDecode({ engine, maxBytes })(chunked(engine.compressFrame(large, 1), 100_000))) {
      held.push(piece.slice());
    }
    expect(firstDifference(concat(held), large)).toBeNull();
  });

  test('the memory of a frame is given back to who leaves in the middle of it', async () => {
    const decoded = zstdDecode({ engine, maxBytes })(chunked(engine.compressFrame(noise(400_000), 1), 100_000));
    const { value: piece } = await decoded.next();
    expect(piece?.length).toBe(400_000);
    await decoded.return();
    expect(piece?.length).toBe(0);
  });

  test('the memory of a frame that is decoded in groups is given back while it goes on', async () => {
    const large = noise(3 * MIB);
    const decoded = zstdDecode({ engine, maxBytes, oneShotBytes: 0 });
    const given: Uint8Array[] = [];
    let held = 0;
    for await (const piece of decoded(chunked(engine.compressFrame(large, 1), 100_000))) {
      given.push(piece);
      held = Math.max(
        held,
        given.reduce((sum, { length }) => sum + length, 0),
      );
    }
    expect(held).toBeLessThanOrEqual(MIB);
    expect(given.every(({ length }) => length === 0)).toBe(true);
  });

  test('many decoders at once do not mix', async () => {
    const large = vectors.filter(({ name }) => name.startsWith('large'));
    const digests = await Promise.all(large.map(async (v) => hex(await sha256(await decode(fileOf(v), 1000)))));
    expect(digests).toEqual(large.map((v) => v.sha256));
  });
});

/** `count` raw blocks of one byte. */
function tinyBlocks(count: number): Uint8Array {
  const body = new Uint8Array(4 * count);
  for (let i = 0; i < count; i++) body.set([...blockHeader(0, 1, i === count - 1), 65], 4 * i);
  return concat([frameHeader(count), body]);
}
