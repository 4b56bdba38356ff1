import { describe, expect, test } from 'vitest';
import { layerReader } from '../../../src/codec/seekable/layer-reader.ts';
import { encodeSeekTable, type SeekEntry } from '../../../src/codec/seekable/seek-table.ts';
import { readStoredPoints, seekPoints } from '../../../src/codec/seekable/seek-table-points.ts';
import { seekableEncode } from '../../../src/codec/seekable/seekable-encoder.ts';
import { zstdDecode } from '../../../src/codec/zstd/zstd-decode.ts';
import { bytesFromBase64url, concat, hex, sha256 } from '../../../src/shared/bytes.ts';
import { FRAME_BYTES, MIB } from '../../../src/shared/limits.ts';
import { areSeekPoints, type ByteSpan } from '../../../src/shared/seek-points.ts';
import { type SeekableVector, seekableVectors } from '../../vectors/seekable.ts';
import { bothEngines } from './both-engines.ts';
import { chunked, collect, firstDifference, noise, run, text } from './bytes.ts';
import { readForeignPoints } from './foreign-points.ts';
import { skippable } from './zstd-files.ts';

const malformed = expect.objectContaining({ code: 'malformed-zstd' });

function fileOf(vector: SeekableVector): Uint8Array {
  return bytesFromBase64url(vector.base64.replaceAll('+', '-').replaceAll('/', '_'));
}

/** Reads of a file, noted. */
function reads(file: Uint8Array) {
  const spans: ByteSpan[] = [];
  const readBytes = async (span: ByteSpan) => {
    spans.push(span);
    return file.slice(span.offset, span.offset + span.length);
  };
  return { spans, readBytes };
}

describe.each(bothEngines)("others' seekable files with the $name engine", (engine) => {
  test.each(seekableVectors)('are read by their table: $name', async (vector) => {
    const file = fileOf(vector);
    const content = await run(zstdDecode({ engine, maxBytes: MIB }), file);
    expect(hex(await sha256(content))).toBe(vector.sha256);
    const { readBytes, spans } = reads(file);
    const points = await readForeignPoints(readBytes, file.length);
    expect(spans).toHaveLength(2);
    expect(spans[1]?.length).toBe(17 + vector.frames * (vector.hasChecksums ? 12 : 8));
    if (!points) throw new Error('there is a table');
    expect(areSeekPoints(points)).toBe(true);
    expect(points.contentBytes).toBe(vector.contentBytes);
    const read = layerReader(
      ({ offset, length }) => chunked(file.subarray(offset, offset + length), 700),
      { codec: 'zstd', points },
      { engine },
    );
    for (let offset = 0; offset <= content.length; offset += 331) {
      for (const length of [0, 1, 1000, content.length - offset]) {
        if (offset + length > content.length) continue;
        const got = await collect(read({ offset, length }));
        expect(firstDifference(got, content.slice(offset, offset + length))).toBeNull();
      }
    }
  });
});

test('a point is made for each frame of a foreign file that has content', async () => {
  const vector = seekableVectors.find(({ name }) => name.includes('in turn'));
  const file = fileOf(vector as SeekableVector);
  const points = await readForeignPoints(reads(file).readBytes, file.length);
  expect(points?.content.slice(0, 5)).toEqual([0, 3000, 4096, 7096, 8192]);
});

describe('reading the table of our stored form', () => {
  const [engine] = bothEngines;
  const content = text(100_000);
  const made = run(
    seekableEncode({ engine: engine as NonNullable<typeof engine>, level: 1, frameBytes: 30_000 }),
    content,
  );

  test('takes one read of the tail, for both engines', async () => {
    for (const each of bothEngines) {
      const file = await run(seekableEncode({ engine: each, level: 1, frameBytes: 30_000 }), content);
      const { readBytes, spans } = reads(file);
      const points = await readStoredPoints(readBytes, { storedBytes: file.length, contentBytes: 100_000, frames: 4 });
      expect(points.content).toEqual([0, 30_000, 60_000, 90_000]);
      expect(points.contentBytes).toBe(100_000);
      expect(spans).toEqual([{ offset: file.length - (17 + 4 * 12), length: 17 + 4 * 12 }]);
    }
  });

  test('an empty file has one point and no content', async () => {
    for (const each of bothEngines) {
      const file = await run(seekableEncode({ engine: each, level: 1 }), new Uint8Array(0));
      const stored = { storedBytes: file.length, contentBytes: 0, frames: 1 };
      const points = await readStoredPoints(reads(file).readBytes, stored);
      expect(points).toMatchObject({ encoded: [0], content: [0], contentBytes: 0 });
    }
  });

  test("every number of the catalogue must be the table's", async () => {
    const file = await made;
    const right = { storedBytes: file.length, contentBytes: 100_000, frames: 4 };
    const wrong = [
      { ...right, frames: 3 },
      { ...right, frames: 5 },
      { ...right, frames: 0 },
      { ...right, frames: 2 ** 32 },
      { ...right, frames: 1.5 },
      { ...right, contentBytes: 99_999 },
      { ...right, contentBytes: 0 },
      { ...right, storedBytes: file.length - 1 },
      { ...right, storedBytes: file.length + 1 },
      { ...right, storedBytes: 0 },
    ];
    for (const stored of wrong) {
      const { readBytes, spans } = reads(file);
      await expect(readStoredPoints(readBytes, stored)).rejects.toEqual(malformed);
      for (const { length } of spans) expect(length).toBeLessThan(100);
    }
  });

  test('a table with any byte of it changed is refused, or says the same', async () => {
    const file = await made;
    const stored = { storedBytes: file.length, contentBytes: 100_000, frames: 4 };
    const points = await readStoredPoints(reads(file).readBytes, stored);
    for (let at = file.length - (17 + 4 * 12); at < file.length; at++) {
      const bad = file.slice();
      bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8));
      const outcome = await readStoredPoints(reads(bad).readBytes, stored).catch((error: unknown) => error);
      // A checksum's byte changes nothing here.
      if (outcome instanceof Error) expect(outcome).toEqual(malformed);
      else expect(outcome).toEqual(points);
    }
  });

  test('frames may hold unequal content; none may hold nothing beside others, or more than a frame', async () => {
    const table = (list: number[]) =>
      encodeSeekTable(list.map((contentBytes) => ({ compressedBytes: 20, contentBytes })));
    const read = (list: number[]) => {
      const file = concat([noise(20 * list.length), table(list)]);
      const contentBytes = list.reduce((sum, bytes) => sum + bytes, 0);
      const stored = { storedBytes: file.length, contentBytes, frames: list.length };
      return readStoredPoints(reads(file).readBytes, stored);
    };
    expect((await read([30, 30, 30, 10])).content).toEqual([0, 30, 60, 90]);
    expect((await read([1, FRAME_BYTES, 30])).content).toEqual([0, 1, FRAME_BYTES + 1]);
    for (const list of [
      [50, 50, 0],
      [0, 100],
      [10, FRAME_BYTES + 1],
    ]) {
      await expect(read(list)).rejects.toEqual(malformed);
    }
  });

  test('a read that comes short is no table', async () => {
    const file = await made;
    const stored = { storedBytes: file.length, contentBytes: 100_000, frames: 4 };
    await expect(readStoredPoints(async () => new Uint8Array(0), stored)).rejects.toEqual(malformed);
    await expect(readStoredPoints(async () => file.slice(-20), stored)).rejects.toEqual(malformed);
  });

  test('an error of the storage is thrown as it is', async () => {
    const failure = new Error('the storage is gone');
    const failing = async () => {
      throw failure;
    };
    await expect(readStoredPoints(failing, { storedBytes: 500, contentBytes: 5, frames: 1 })).rejects.toBe(failure);
    await expect(readForeignPoints(failing, 500)).rejects.toBe(failure);
  });
});

describe('hostile tables', () => {
  /** A file of `bytes` before a table that says `entries`, and counts `frames` of them. */
  const file = (entries: SeekEntry[], { bytes = 100, frames = entries.length, descriptor = -1 } = {}) => {
    const table = encodeSeekTable(entries);
    const view = new DataView(table.buffer);
    view.setUint32(table.length - 9, frames, true);
    if (descriptor >= 0) view.setUint8(table.length - 5, descriptor);
    return concat([noise(bytes), table]);
  };
  const entry = (compressedBytes: number, contentBytes: number): SeekEntry => ({ compressedBytes, contentBytes });
  const largest = 0xffff_ffff;

  const refused: [string, Uint8Array][] = [
    ['a frame beyond the file', file([entry(101, 5)])],
    ['frames that end before the table', file([entry(99, 5)])],
    ['sizes that overflow 32 bits back to the right sum', file([entry(largest, 5), entry(101, 5)])],
    [
      'content that adds up to terabytes, in a small file',
      file(Array.from({ length: 1000 }, () => entry(largest, largest))),
    ],
    ['a frame of no bytes', file([entry(0, 5), entry(100, 5)])],
    ['no frames behind bytes', file([])],
    ['one frame more than there are', file([entry(100, 5)], { frames: 2 })],
    ['one frame fewer than there are', file([entry(50, 5), entry(50, 5)], { frames: 1 })],
    ['four billion frames', file([entry(100, 5)], { frames: largest })],
    ['a checksum flag without checksums', file([entry(100, 5)], { descriptor: 0x80 })],
  ];
  test.each(refused)('%s: refused, and little is read', async (_, bytes) => {
    const { readBytes, spans } = reads(bytes);
    await expect(readForeignPoints(readBytes, bytes.length)).rejects.toEqual(malformed);
    for (const { offset, length } of spans) expect(offset + length).toBeLessThanOrEqual(bytes.length);
  });

  const none: [string, Uint8Array][] = [
    ['nothing', new Uint8Array(0)],
    ['a few bytes', noise(16)],
    ['no table', noise(1000)],
    ['a reserved bit', file([entry(100, 5)], { descriptor: 0x40 })],
    ['another magic at the end', concat([file([entry(100, 5)]).slice(0, -1), Uint8Array.of(0x90)])],
    ['something behind the table', concat([file([entry(100, 5)]), skippable(noise(5))])],
  ];
  test.each(none)('%s: there is no table', async (_, bytes) => {
    expect(await readForeignPoints(reads(bytes).readBytes, bytes.length)).toBeNull();
  });

  test('a table too large to hold is not read, in a file that has room for it', async () => {
    const spans: ByteSpan[] = [];
    const end = encodeSeekTable([]).slice(-9);
    new DataView(end.buffer).setUint32(0, 100_000_000, true);
    const readBytes = async (span: ByteSpan) => {
      spans.push(span);
      return end;
    };
    expect(await readForeignPoints(readBytes, 2 ** 40)).toBeNull();
    expect(spans).toEqual([{ offset: 2 ** 40 - 9, length: 9 }]);
  });

  test('unused bits say nothing', async () => {
    const bytes = file([entry(100, 5)], { descriptor: 0x03 });
    expect(await readForeignPoints(reads(bytes).readBytes, bytes.length)).toMatchObject({ contentBytes: 5 });
  });

  test('frames without content, such as skippable ones, are no points', () => {
    const entries = [entry(10, 0), entry(20, 5), entry(30, 0), entry(40, 7), entry(50, 0)];
    const storedBytes = 150 + encodeSeekTable(entries).length;
    expect(seekPoints(entries, { storedBytes, contentBytes: 12 })).toEqual({
      encoded: [0, 10, 60],
      content: [0, 0, 5],
      encodedBytes: 150,
      contentBytes: 12,
    });
    expect(() => seekPoints(entries, { storedBytes, contentBytes: 13 })).toThrow(malformed);
  });
});
