import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { BytesIn, BytesOut } from '../../../src/archive/index-bytes.ts';
import { IndexCorrupt, IndexTooNew } from '../../../src/archive/index-errors.ts';
import { encodeFooter } from '../../../src/archive/index-root.ts';
import { MemberIndexWriter } from '../../../src/archive/index-writer.ts';
import { IndexEntry, readEntry, writeEntry } from '../../../src/archive/member-codec.ts';
import { MemberIndex } from '../../../src/archive/member-index.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { collect } from '../codec/bytes.ts';
import {
  compress,
  dice,
  listed,
  MemoryRuns,
  member,
  openIndex,
  randomMembers,
  sourceOf,
  writeIndex,
} from './index-samples.ts';

const FACTS = {
  stopped: { offset: 77, reason: 'it ends' },
  layers: [
    { codec: 'zstd' as const, points: { encoded: [0, 9], content: [0, 90], encodedBytes: 20, contentBytes: 99 } },
  ],
};
const MEMBERS = Array.from({ length: 150 }, (_, i) => member(`src/${i % 140}`, 1024 * i, { size: i }));

/** Everything that an index says. `tailBytes`: how much comes with the first read. */
async function answers(object: Uint8Array, tailBytes?: number): Promise<string> {
  const index = await openIndex(object, tailBytes);
  const lines = await listed(index.from(null));
  const found = await index.find(utf8('src/99'));
  return JSON.stringify([lines, index.members, index.stopped, index.layers, found?.headerOffset]);
}

/** The answers, or the name of the error where it is one of those that say so. */
async function outcome(object: Uint8Array, tailBytes?: number): Promise<string> {
  try {
    return await answers(object, tailBytes);
  } catch (error) {
    if (error instanceof IndexTooNew) return 'too new';
    if (error instanceof IndexCorrupt) return 'corrupt';
    throw error;
  }
}

describe('an index that was harmed', () => {
  test('in any one byte answers the same as before, or says so', async () => {
    const object = await writeIndex(MEMBERS, { blockBytes: 1, facts: FACTS });
    const whole = await answers(object);
    const seen = new Set<string>();
    for (let at = 0; at < object.length; at++) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const harmed = object.slice();
        harmed[at] = (harmed[at] ?? 0) ^ flip;
        seen.add(await outcome(harmed, at % 2 === 0 ? undefined : 60));
      }
    }
    expect([...seen].filter((each) => each !== whole).sort()).toEqual(['corrupt', 'too new']);
  });

  test('is found out by its own checksums, where those of zstd are not there', async () => {
    const writer = new MemberIndexWriter({ runs: new MemoryRuns(), blockBytes: 1 });
    for (const each of MEMBERS) await writer.add(each);
    const object = await collect(writer.finish(FACTS, (bytes) => bytes.slice()));
    const read = async (harmed: Uint8Array) => {
      const source = { ...sourceOf(harmed, 60), decompress: (bytes: Uint8Array) => bytes };
      const index = await MemberIndex.open(source);
      return await listed(index?.from(null) ?? []);
    };
    expect(await read(object)).toHaveLength(MEMBERS.length);
    for (let at = 0; at < object.length; at++) {
      const harmed = object.slice();
      harmed[at] = (harmed[at] ?? 0) ^ 0x02;
      const version = at >= object.length - 12 && at < object.length - 8;
      const reading = read(harmed);
      if (version) await expect(reading).rejects.toThrow(IndexTooNew);
      else await expect(reading).rejects.toThrow(/checksum|has a size|its root is larger|no end of an index/);
    }
  });

  test('by the loss of its end or its beginning, at any byte, says so', async () => {
    const object = await writeIndex(MEMBERS, { blockBytes: 1, facts: FACTS });
    for (let at = 0; at < object.length; at++) {
      expect(await outcome(object.slice(0, at))).toBe('corrupt');
      if (at > 0) expect(await outcome(object.slice(at))).toBe('corrupt');
    }
  });

  test('is told of in words for people, and the backup is not lost', async () => {
    const object = await writeIndex(MEMBERS);
    const opening = openIndex(object.slice(0, -1));
    await expect(opening).rejects.toMatchObject({ code: 'stored-data-corrupt' });
    await expect(opening).rejects.toThrow(/index .* is damaged .* can still be downloaded/);
  });

  test('made by a newer version says that, whatever the rest looks like', async () => {
    const object = await writeIndex(MEMBERS);
    new DataView(object.buffer, object.byteOffset).setUint32(object.length - 12, 2, true);
    const newer = concat([utf8('unknown to us'), object.slice(-24)]);
    for (const each of [object, newer]) {
      await expect(openIndex(each)).rejects.toMatchObject({ code: 'index-too-new', version: 2 });
      await expect(openIndex(each)).rejects.toThrow('made by a newer version; update this deployment');
    }
  });

  test('with reads that come back short or other says so', async () => {
    const object = await writeIndex(randomMembers(400, 1), { blockBytes: 1 });
    const source = sourceOf(object, 2_000);
    const index = await MemberIndex.open({ ...source, read: async (span) => (await source.read(span)).subarray(1) });
    await expect(index?.find(utf8('a'))).rejects.toThrow(IndexCorrupt);
  });
});

/** Writes a root; it is told of the block as it is stored. */
type WriteRoot = (out: BytesOut, stored: Uint8Array) => void;

/** An index of one block, whose bytes and root somebody made by hand, with checksums that are right. */
function forged(block: Uint8Array, root: WriteRoot): Uint8Array {
  const stored = compress(block);
  const out = new BytesOut();
  root(out, stored);
  const storedRoot = compress(out.written);
  return concat([stored, storedRoot, encodeFooter(storedRoot, out.length)]);
}

/** The root that belongs to it. */
function oneBlock(rawBytes: number): WriteRoot {
  return (out, stored) => {
    for (const number of [1, 0, 0, 1, 0, 0, 0, stored.length, rawBytes]) out.varint(number);
    out.uint32(crc32(stored));
  };
}

function entries(...members: ReturnType<typeof member>[]): Uint8Array {
  const out = new BytesOut();
  const previous = new IndexEntry();
  const entry = new IndexEntry();
  for (const each of members) {
    entry.setMember(each);
    writeEntry(out, previous, entry);
  }
  return out.written.slice();
}

describe('an index with right checksums that lies', () => {
  const good = entries(member('a', 0), member('b', 1024));

  test('is read where it is right', async () => {
    expect(JSON.parse(await outcome(forged(good, oneBlock(good.length))))[0]).toHaveLength(2);
  });

  test.each([
    ['a block that holds more', 'cannot be decompressed', good, good.length - 1],
    ['a block that holds less', 'cannot be decompressed', good, good.length + 1],
    ['a block of gigabytes', 'a block has a size that none has', good, 2 ** 40],
    ['a block of nothing', 'a block has a size that none has', new Uint8Array(0), 0],
    ['paths that fall', 'its order is wrong', entries(member('b', 0), member('a', 1024)), null],
    ['paths that fall behind what they share', 'its order is wrong', entries(member('ab', 0), member('a', 1024)), null],
    ['places of one path that fall', 'its order is wrong', entries(member('a', 1024), member('a', 0)), null],
    ['more shared than there was', 'a path is too long', Uint8Array.of(1, 1, 0x61, 0, 0, 0), null],
    ['a path longer than the block', 'it is cut short', Uint8Array.of(0, 100, 0x61, 0, 0, 0), null],
    ['a path longer than any', 'a path is too long', Uint8Array.of(0, 0xff, 0xff, 0xff, 0x7f, 0, 0), null],
    ['a link longer than the block', 'it is cut short', Uint8Array.of(0, 1, 0x61, 0, 0xd8, 0x01, 0, 99), null],
    ['parts that nobody knows', 'an entry has unknown parts', Uint8Array.of(0, 1, 0x61, 0, 0xd8, 0x08, 0), null],
    ['an offset below 0', 'a number is too large', Uint8Array.of(0, 1, 0x61, 3, 0x58, 0), null],
  ])('about its blocks is refused: %s', async (_, why, block, rawBytes) => {
    await expect(answers(forged(block, oneBlock(rawBytes ?? block.length)))).rejects.toThrow(why);
  });

  const numbers =
    (...values: number[]) =>
    (out: BytesOut) => {
      for (const value of values) out.varint(value);
    };

  test.each([
    ['nothing', 'it is cut short', numbers(1)],
    ['a count of blocks that it does not hold', 'it counts more than it holds', numbers(1, 0, 0, 2 ** 50)],
    ['a count of layers', 'it has too many layers', numbers(1, 0, 2 ** 40)],
    ['a count of points', 'it counts more than it holds', numbers(1, 0, 1, 0, 2 ** 40, 0)],
    ['a codec', 'a layer of an unknown kind', numbers(1, 0, 1, 2, 1, 0, 0, 0, 0, 0)],
    ['a reason longer than it', 'it is cut short', numbers(1, 1, 5, 2 ** 40, 1)],
    ['points past all numbers', 'a number is too large', numbers(1, 0, 1, 0, 2, 0, 2 ** 53 - 1, 1, 0, 0, 0)],
    ['blocks that do not fill the object', 'its blocks do not fill it', numbers(1, 0, 0, 0)],
    ['a key longer than it', 'it is cut short', numbers(1, 0, 0, 1, 0, 2 ** 40, 0, 1, 1, 0, 0, 0, 0)],
    ['a key that shares with nothing', 'a path is too long', numbers(1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0)],
  ])('about its root is refused: %s', async (_, why, root) => {
    await expect(answers(forged(good, root))).rejects.toThrow(why);
  });

  test('about its keys is refused before they are unfolded', async () => {
    const root = (out: BytesOut) => {
      numbers(1, 0, 0, 2_000)(out);
      for (let block = 0; block < 2_000; block++) {
        numbers(block === 0 ? 0 : 16_000, block === 0 ? 16_000 : 0)(out);
        if (block === 0) out.bytes(new Uint8Array(16_000));
        numbers(block, 1, 1)(out);
        out.uint32(0);
      }
    };
    await expect(answers(forged(good, root))).rejects.toThrow('its directory is too long');
  });

  test('in any way at all gives entries in order or is refused, and nothing else', () => {
    const roll = dice(99);
    const entry = new IndexEntry();
    for (let round = 0; round < 3_000; round++) {
      const bytes = Uint8Array.from({ length: 1 + roll(40) }, () => (roll(2) === 0 ? roll(4) : roll(256)));
      const from = new BytesIn(bytes);
      entry.clear();
      try {
        while (from.left > 0) readEntry(from, entry);
        expect(entry.headerOffset).toBeGreaterThanOrEqual(0);
      } catch (error) {
        expect(error).toBeInstanceOf(IndexCorrupt);
      }
    }
  });
});
