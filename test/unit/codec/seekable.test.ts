import { describe, expect, test } from 'vitest';
import {
  encodeSeekTable,
  parseSeekTable,
  parseSeekTableFooter,
  SEEK_TABLE_FOOTER_BYTES,
  type SeekEntry,
} from '../../../src/codec/seekable/seek-table.ts';
import { seekableEncode } from '../../../src/codec/seekable/seekable-encoder.ts';
import { zstdDecode } from '../../../src/codec/zstd/zstd-decode.ts';
import { MIB } from '../../../src/shared/limits.ts';
import { bothEngines } from './both-engines.ts';
import { chunked, collect, firstDifference, noise, run, text } from './bytes.ts';

describe('the seek table', () => {
  const plain = [
    { compressedBytes: 100, contentBytes: 4096 },
    { compressedBytes: 0xffff_fffe, contentBytes: 0xffff_ffff },
  ];
  const checked = plain.map((entry, i) => ({ ...entry, checksum: 0xdead_beef + i }));

  test.each([
    ['without checksums', plain, 8 + 2 * 8 + 9],
    ['with checksums', checked, 8 + 2 * 12 + 9],
  ])('comes back %s', (_, entries, bytes) => {
    const table = encodeSeekTable(entries);
    expect(table.length).toBe(bytes);
    const footer = parseSeekTableFooter(table.subarray(-SEEK_TABLE_FOOTER_BYTES));
    expect(footer).toEqual({ frames: 2, hasChecksums: entries === checked, tableBytes: bytes });
    expect(parseSeekTable(table)).toEqual(entries);
  });

  test('is written as the format says', () => {
    const table = encodeSeekTable([{ compressedBytes: 0x01020304, contentBytes: 5, checksum: 6 }]);
    expect(Array.from(table)).toEqual([
      ...[0x5e, 0x2a, 0x4d, 0x18, 21, 0, 0, 0],
      ...[4, 3, 2, 1, 5, 0, 0, 0, 6, 0, 0, 0],
      ...[1, 0, 0, 0, 0x80, 0xb1, 0xea, 0x92, 0x8f],
    ]);
  });

  test('is not seen where there is none', () => {
    const table = encodeSeekTable(plain);
    const reserved = table.slice();
    reserved[table.length - 5] = 0x04;
    for (const tail of [new Uint8Array(0), table.subarray(-8), table.subarray(0, -1), noise(100), reserved]) {
      expect(parseSeekTableFooter(tail)).toBeNull();
    }
  });

  test('is refused where its size or its header is wrong', () => {
    const table = encodeSeekTable(plain);
    const size = table.slice();
    size[4] = 1;
    const magic = table.slice();
    magic[0] = 0x50;
    for (const wrong of [table.subarray(1), size, magic]) {
      expect(() => parseSeekTable(wrong)).toThrow(expect.objectContaining({ code: 'malformed-zstd' }));
    }
  });
});

describe.each(bothEngines)('the seekable encoder with the $name engine', (engine) => {
  const frameBytes = 10_000;

  async function encode(content: Uint8Array, chunkBytes: number) {
    let frames = 0;
    const onFrames = (made: readonly SeekEntry[]) => {
      frames = made.length;
    };
    const file = await run(seekableEncode({ engine, level: 3, frameBytes, onFrames }), content, chunkBytes);
    const footer = parseSeekTableFooter(file);
    const table = parseSeekTable(file.subarray(file.length - (footer?.tableBytes ?? 0)));
    return { file, frames, table, tableBytes: footer?.tableBytes ?? 0 };
  }

  const sizes = [0, 1, 9_999, 10_000, 10_001, 30_000, 34_567];
  test.each(sizes)('writes %i bytes as frames that can be read one by one', async (bytes) => {
    const content = text(bytes);
    for (const chunkBytes of [1, 700, 10_000, 15_000, 100_000]) {
      const { file, frames, table, tableBytes } = await encode(content, chunkBytes);
      expect(frames).toBe(Math.max(1, Math.ceil(bytes / frameBytes)));
      expect(table.length).toBe(frames);
      let at = 0;
      let from = 0;
      for (const entry of table) {
        const frame = file.subarray(at, at + entry.compressedBytes);
        const wanted = content.subarray(from, from + frameBytes);
        expect(entry.contentBytes).toBe(wanted.length);
        expect(firstDifference(engine.decompressFrame(frame, entry.contentBytes), wanted)).toBeNull();
        expect(entry.checksum !== undefined).toBe(engine.writesChecksum);
        at += entry.compressedBytes;
        from += entry.contentBytes;
      }
      expect(from).toBe(bytes);
      expect(at + tableBytes).toBe(file.length);
      expect(firstDifference(await run(zstdDecode({ engine, maxBytes: MIB }), file), content)).toBeNull();
    }
  });

  test('makes the same file whatever chunks the content comes in', async () => {
    const content = text(34_567);
    const whole = await encode(content, content.length);
    for (const chunkBytes of [1, 999, 10_000, 20_001]) {
      expect(firstDifference((await encode(content, chunkBytes)).file, whole.file)).toBeNull();
    }
  });

  test('the files of both engines are read by both', async () => {
    const content = text(25_000);
    const { file } = await encode(content, 5000);
    for (const other of bothEngines) {
      expect(firstDifference(await run(zstdDecode({ engine: other, maxBytes: MIB }), file), content)).toBeNull();
    }
  });

  test('refuses a level it does not have before it reads anything', () => {
    expect(() => seekableEncode({ engine, level: engine.highestLevel + 1 })).toThrow(
      expect.objectContaining({ code: 'level-unsupported', highest: engine.highestLevel }),
    );
  });

  test('pulls no more than a frame ahead, and leaves its source with its reader', async () => {
    let pulled = 0;
    let left = false;
    async function* source() {
      try {
        for await (const chunk of chunked(noise(100_000), 1000)) {
          pulled += chunk.length;
          yield chunk;
        }
      } finally {
        left = true;
      }
    }
    for await (const _ of seekableEncode({ engine, level: 1, frameBytes })(source())) break;
    expect(pulled).toBe(frameBytes);
    expect(left).toBe(true);
  });

  test('throws the error of its source as it is', async () => {
    const failure = new Error('the disk is gone');
    async function* source() {
      yield noise(15_000);
      throw failure;
    }
    await expect(collect(seekableEncode({ engine, level: 1, frameBytes })(source()))).rejects.toBe(failure);
  });
});
