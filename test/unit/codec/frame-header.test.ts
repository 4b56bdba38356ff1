import { describe, expect, test } from 'vitest';
import { parseBlockHeader, parseFrameHeader } from '../../../src/codec/zstd/frame-header.ts';
import { blockHeader, skippable } from './zstd-files.ts';

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];

function header(...rest: number[]) {
  return parseFrameHeader(Uint8Array.of(...MAGIC, ...rest));
}

describe('frame headers', () => {
  const sizes: [string, number[], number | null, number][] = [
    ['one byte, single segment', [0x20, 200], 200, 200],
    ['two bytes, counted from 256', [0x60, 1, 0], 257, 257],
    ['four bytes', [0xa0, 0, 0, 64, 0], 4_194_304, 4_194_304],
    ['eight bytes and a window', [0xc0, 0x68, 0, 0, 0, 0, 2, 0, 0, 0], 2 * 2 ** 32, 2 ** 23],
    ['none and a window', [0x00, 0x69], null, 2 ** 23 + 2 ** 20],
    ['more than a number holds', [0xe0, 255, 255, 255, 255, 255, 255, 255, 255], Infinity, Infinity],
  ];
  test.each(sizes)('tell the content size: %s', (_, bytes, contentBytes, windowBytes) => {
    const parsed = header(...bytes, 9, 9, 9);
    expect(parsed).toMatchObject({
      kind: 'frame',
      frame: { contentBytes, windowBytes, headerBytes: 4 + bytes.length },
    });
  });

  test.each(sizes)('that are cut anywhere say so: %s', (_, bytes) => {
    const whole = [...MAGIC, ...bytes];
    for (let length = 0; length < whole.length; length++) {
      expect(parseFrameHeader(Uint8Array.from(whole.slice(0, length)))).toEqual({ kind: 'cut' });
    }
  });

  test('tell the dictionary, the checksum and the reserved bit', () => {
    const plain = { dictionaryId: 0, hasChecksum: false, reservedBit: false };
    expect(header(0x20, 1)).toMatchObject({ frame: plain });
    expect(header(0x24, 1)).toMatchObject({ frame: { ...plain, hasChecksum: true } });
    expect(header(0x28, 1)).toMatchObject({ frame: { ...plain, reservedBit: true } });
    expect(header(0x21, 7, 1)).toMatchObject({ frame: { ...plain, dictionaryId: 7, contentBytes: 1 } });
    expect(header(0x22, 0, 1, 1)).toMatchObject({ frame: { ...plain, dictionaryId: 256 } });
    expect(header(0x23, 1, 2, 3, 0xff, 1)).toMatchObject({ frame: { ...plain, dictionaryId: 0xff030201 } });
  });

  test.each(Array.from({ length: 16 }, (_, i) => i))('know skippable frame number %i', (nibble) => {
    const parsed = parseFrameHeader(skippable(new Uint8Array(300), nibble));
    expect(parsed).toEqual({ kind: 'skippable', headerBytes: 8, contentBytes: 300 });
  });

  test('know nothing else', () => {
    expect(parseFrameHeader(Uint8Array.of(0x1f, 0x8b, 8, 0, 0))).toEqual({ kind: 'unknown' });
    expect(parseFrameHeader(Uint8Array.of(0x60, 0x2a, 0x4d, 0x18, 0))).toEqual({ kind: 'unknown' });
  });
});

test('block headers tell kind, end and sizes', () => {
  const at = (type: number, size: number, last: boolean) =>
    parseBlockHeader(Uint8Array.of(9, ...blockHeader(type, size, last)), 1);
  expect(at(0, 5, false)).toEqual({ kind: 'raw', last: false, sizeField: 5, storedBytes: 5, atMostBytes: 5 });
  expect(at(1, 131_072, true)).toMatchObject({ kind: 'rle', last: true, storedBytes: 1, atMostBytes: 131_072 });
  expect(at(2, 70, false)).toMatchObject({ kind: 'compressed', storedBytes: 70, atMostBytes: 131_072 });
  expect(at(3, 0, true)).toMatchObject({ kind: 'reserved' });
});
