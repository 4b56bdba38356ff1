import { describe, expect, test } from 'vitest';
import { BytesIn, BytesOut, discard } from '../../../src/archive/index-bytes.ts';
import { IndexCorrupt } from '../../../src/archive/index-errors.ts';
import { IndexEntry, readEntry, writeEntry } from '../../../src/archive/member-codec.ts';
import { member, randomMembers, sortedMembers, told } from './index-samples.ts';

const LARGEST = Number.MAX_SAFE_INTEGER;

describe('a varint', () => {
  test.each([
    [0, 1],
    [127, 1],
    [128, 2],
    [16_383, 2],
    [16_384, 3],
    [2 ** 31 - 1, 5],
    [2 ** 31, 5],
    [2 ** 32, 5],
    [2 ** 35 - 1, 5],
    [2 ** 35, 6],
    [2 ** 49, 8],
    [LARGEST, 8],
  ])('of %i takes %i bytes and comes back', (value, bytes) => {
    const out = new BytesOut();
    out.varint(value);
    expect(out.length).toBe(bytes);
    const from = new BytesIn(out.written);
    expect([from.varint(), from.left]).toEqual([value, 0]);
    for (let cut = 0; cut < bytes; cut++) expect(() => new BytesIn(out.written, 0, cut).varint()).toThrow(IndexCorrupt);
  });

  test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('of %d is not written', (value) => {
    expect(() => new BytesOut().varint(value)).toThrow(RangeError);
  });

  test.each([
    ['past 2^53', [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]],
    ['without end', new Array(100).fill(0xff)],
    ['of zeros without end', new Array(5_000).fill(0x80)],
  ])('%s is not read', (_, bytes) => {
    expect(() => new BytesIn(Uint8Array.from(bytes)).varint()).toThrow(IndexCorrupt);
  });
});

describe('a signed number', () => {
  test.each([0, 1, 63, 64, 8_191, 8_192, 2 ** 31, 2 ** 52, LARGEST])('of ±%i comes back', (magnitude) => {
    for (const value of magnitude === 0 ? [0] : [magnitude, -magnitude]) {
      const out = new BytesOut();
      out.signed(value);
      const from = new BytesIn(out.written);
      expect([from.signed(), from.left]).toEqual([value, 0]);
    }
  });

  test('past 2^53 is neither written nor read', () => {
    expect(() => new BytesOut().signed(2 ** 53)).toThrow(RangeError);
    const out = new BytesOut();
    out.byte(0x80);
    out.varint(2 ** 47);
    expect(() => new BytesIn(out.written).signed()).toThrow(IndexCorrupt);
  });
});

describe('memory', () => {
  test('is given back at once where it is nobody else’s', () => {
    const own = new Uint8Array(10);
    const shared = new Uint8Array(10);
    discard(own);
    discard(shared.subarray(1));
    expect([own.length, shared.length]).toEqual([0, 10]);
  });

  test('of a writer that grows holds what was written, also what it repeats', () => {
    const out = new BytesOut(4);
    out.bytes(Uint8Array.of(1, 2, 3));
    for (let i = 0; i < 16; i++) out.again(0, out.length);
    expect(out.length).toBe(3 * 2 ** 16);
    expect(out.written.every((byte, i) => byte === (i % 3) + 1)).toBe(true);
  });
});

describe('an entry', () => {
  test('comes back with each number at its bounds, whatever stood before it', () => {
    const sorted = sortedMembers(randomMembers(2_000, 31));
    const out = new BytesOut();
    const [previous, entry, read] = [new IndexEntry(), new IndexEntry(), new IndexEntry()];
    for (const each of sorted) {
      entry.setMember(each);
      writeEntry(out, previous, entry);
    }
    const from = new BytesIn(out.written);
    for (const each of sorted) {
      readEntry(from, read);
      expect(told(read.member())).toBe(told(each));
    }
    expect(from.left).toBe(0);
  });

  test.each([
    ['the largest offsets', { headerOffset: LARGEST, dataOffset: LARGEST, dataBytes: LARGEST, size: LARGEST }],
    ['times as far apart as can be', { mtime: { seconds: -LARGEST, nanos: 999_999_999 } }],
    ['an empty link', { linkTarget: new Uint8Array(0) }],
    ['device 0, 0', { device: { major: 0, minor: 0 } }],
  ])('comes back between two others: %s', (_, more) => {
    const members = [
      member('a', 0, { mtime: { seconds: LARGEST, nanos: 1 } }),
      member('b', 512, more),
      member('c', 1024, { mtime: { seconds: LARGEST, nanos: 0 } }),
    ];
    const out = new BytesOut();
    const [previous, entry, read] = [new IndexEntry(), new IndexEntry(), new IndexEntry()];
    for (const each of members) {
      entry.setMember(each);
      writeEntry(out, previous, entry);
    }
    const from = new BytesIn(out.written);
    const back = members.map(() => {
      readEntry(from, read);
      return read.member();
    });
    expect(back).toEqual(members);
  });

  test('of a neighbour in the archive, of one owner and time, takes its name and six bytes', () => {
    const out = new BytesOut();
    const [previous, entry] = [new IndexEntry(), new IndexEntry()];
    entry.setMember(member('src/a.ts', 0, { size: 900 }));
    writeEntry(out, previous, entry);
    const before = out.length;
    entry.setMember(member('src/b.ts', 512 + 1024, { size: 900 }));
    writeEntry(out, previous, entry);
    expect(out.length - before).toBe('b.ts'.length + 6);
  });
});
