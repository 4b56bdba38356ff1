import { describe, expect, test } from 'vitest';
import { IndexFull, MemberIndexWriter } from '../../../src/archive/index-writer.ts';
import type { Member } from '../../../src/archive/member.ts';
import { MemberIndex } from '../../../src/archive/member-index.ts';
import { INDEX_NAME_BYTES } from '../../../src/shared/limits.ts';
import { collect } from '../codec/bytes.ts';
import {
  compress,
  listed,
  MemoryRuns,
  member,
  NO_FACTS,
  openIndex,
  randomMembers,
  sortedMembers,
  sourceOf,
  told,
  writeIndex,
} from './index-samples.ts';

async function everyMember(object: Uint8Array): Promise<string[]> {
  return await listed((await openIndex(object)).from(null));
}

describe('the order', () => {
  test.each([
    ['in memory', 2 ** 21, 1],
    ['in two runs', 100_000, 2],
    ['in a run of every few members', 8_000, 3],
    ['in a run of every member', 1, 4],
  ])('is that of the bytes of the path, then of the archive: %s', async (_, runBytes, seed) => {
    for (const count of [0, 1, 2, 63, 64, 65, 180]) {
      const members = randomMembers(count, seed + 10 * count);
      const object = await writeIndex(members, { runBytes });
      expect((await openIndex(object)).members).toBe(count);
      expect(await everyMember(object)).toEqual(sortedMembers(members).map(told));
    }
  });

  test('is the same whatever order the members came in, and the index too', async () => {
    const members = randomMembers(300, 5);
    const object = await writeIndex(members);
    expect(await writeIndex(members.toReversed())).toEqual(object);
    expect(await writeIndex(members.toReversed(), { runBytes: 5_000 })).toEqual(object);
  });

  test('is unsigned: 0xff is last, what is shorter first, bytes that are no UTF-8 stay', async () => {
    const paths = [[0xff], [0x61, 0x00], [0x61], [], [0x7f], [0x80], [0x61, 0x2f], [0xc3]];
    const members = paths.map((path, i) => member(Uint8Array.from(path), 512 * i));
    const index = await openIndex(await writeIndex(members));
    const order: number[][] = [];
    for await (const { path } of index.from(null)) order.push(Array.from(path));
    expect(order).toEqual([[], [0x61], [0x61, 0x00], [0x61, 0x2f], [0x7f], [0x80], [0xc3], [0xff]]);
  });
});

describe('runs', () => {
  test('are not made while the members fit into memory, and add is no promise then', () => {
    const writer = new MemberIndexWriter({ runs: new MemoryRuns() });
    const answers = randomMembers(100, 1).map((each) => writer.add(each));
    expect(answers.every((answer) => answer === undefined)).toBe(true);
    expect(writer.runCount).toBe(0);
    expect(writer.members).toBe(100);
  });

  test('are read in chunks that together stay small, at most six at once', async () => {
    const runs = new MemoryRuns();
    const writer = new MemberIndexWriter({ runs, runBytes: 30_000 });
    const members = randomMembers(2_000, 2);
    for (const each of members) await writer.add(each);
    const object = await collect(writer.finish(NO_FACTS, compress));
    expect(writer.runCount).toBe(runs.runs.length);
    expect(writer.runCount).toBeGreaterThan(12);
    expect(runs.mostAtOnce).toBe(6);
    expect(runs.largestRead * 2 * writer.runCount).toBeLessThanOrEqual(12 * 2 ** 20);
    expect(await everyMember(object)).toEqual(sortedMembers(members).map(told));
  });

  test.each([1, 2, 7, 64, 1_000, 5_000, 20_000])('are read on where a chunk of %i bytes ends', async (chunkBytes) => {
    const members = randomMembers(250, 6);
    const whole = await writeIndex(members);
    expect(await writeIndex(members, { runBytes: 40_000, chunkBytes })).toEqual(whole);
  });

  test('that cannot be put fail the add, or the end, with what the store threw', async () => {
    const lost = new Error('the store is away');
    const runs = new MemoryRuns();
    runs.put = () => Promise.reject(lost);
    const writer = new MemberIndexWriter({ runs, runBytes: 1 });
    await writer.add(member('a', 0));
    await expect(async () => await writer.add(member('b', 512))).rejects.toBe(lost);
    await expect(collect(writer.finish(NO_FACTS, compress))).rejects.toBe(lost);
  });

  test.each([1, 2, 3, 20, 21, 40])('that cannot be read fail the end: read %i', async (failing) => {
    const lost = new Error('the store is away');
    const runs = new MemoryRuns();
    const writer = new MemberIndexWriter({ runs, runBytes: 2_000, chunkBytes: 100 });
    for (const each of randomMembers(30, 3)) await writer.add(each);
    const read = runs.read.bind(runs);
    runs.read = (run, span) => (runs.reads + 1 >= failing ? Promise.reject(lost) : read(run, span));
    await expect(collect(writer.finish(NO_FACTS, compress))).rejects.toBe(lost);
  });

  test.each([
    ['shorter', (bytes: Uint8Array) => bytes.subarray(1)],
    ['other', (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0xff)],
  ])('that come back %s are refused', async (_, harm) => {
    const runs = new MemoryRuns();
    const writer = new MemberIndexWriter({ runs, runBytes: 2_000 });
    for (const each of randomMembers(30, 3)) await writer.add(each);
    const read = runs.read.bind(runs);
    runs.read = async (run, span) => harm(await read(run, span));
    await expect(collect(writer.finish(NO_FACTS, compress))).rejects.toMatchObject({ code: 'stored-data-corrupt' });
  });
});

describe('the bounds', () => {
  test('past the runs an index takes no more, and what it has is good', async () => {
    const runs = new MemoryRuns();
    const writer = new MemberIndexWriter({ runs, runBytes: 1, maxRuns: 3 });
    const members = randomMembers(5, 1);
    const added: Member[] = [];
    const fill = async () => {
      for (const each of members) {
        await writer.add(each);
        added.push(each);
      }
    };
    await expect(fill()).rejects.toThrow(IndexFull);
    await expect(async () => await writer.add(member('again', 1))).rejects.toThrow(IndexFull);
    expect(added.length).toBe(3);
    expect(writer.members).toBe(3);
    const object = await collect(writer.finish(NO_FACTS, compress));
    expect(writer.runCount).toBe(3);
    expect(await everyMember(object)).toEqual(sortedMembers(added).map(told));
  });

  test('names of the longest kind are taken, and one byte more is not', async () => {
    const writer = new MemberIndexWriter({ runs: new MemoryRuns() });
    const longest = member(new Uint8Array(INDEX_NAME_BYTES - 1).fill(0x61), 0, { linkTarget: Uint8Array.of(0x62) });
    const longer = member(longest.path, 512, { linkTarget: Uint8Array.of(0x62, 0x63) });
    await writer.add(longest);
    expect(() => writer.add(longer)).toThrow(IndexFull);
    expect(await everyMember(await collect(writer.finish(NO_FACTS, compress)))).toEqual([told(longest)]);
  });

  test.each([
    ['size', { size: -1 }],
    ['size', { size: 2 ** 53 }],
    ['uid', { uid: 0.5 }],
    ['time', { mtime: { seconds: Number.NaN, nanos: 0 } }],
    ['data offset', { dataOffset: 1 }],
  ])('a %s that cannot be is refused and leaves nothing behind', async (_, wrong) => {
    const writer = new MemberIndexWriter({ runs: new MemoryRuns() });
    const before = member('a', 0);
    const after = member('b', 2048);
    await writer.add(before);
    expect(() => writer.add(member('wrong', 1024, wrong))).toThrow(RangeError);
    await writer.add(after);
    expect(writer.members).toBe(2);
    expect(await everyMember(await collect(writer.finish(NO_FACTS, compress)))).toEqual([before, after].map(told));
  });

  test('long paths that differ late make larger blocks, not a longer directory', async () => {
    const stem = 'x'.repeat(4_000);
    const writer = new MemberIndexWriter({ runs: new MemoryRuns(), blockBytes: 1 });
    const paths = Array.from({ length: 20_000 }, (_, i) => `${stem}${String(i).padStart(6, '0')}`);
    for (const [i, path] of paths.entries()) await writer.add(member(path, 1024 * i));
    const object = await collect(writer.finish(NO_FACTS, compress));
    const index = await openIndex(object);
    // 313 blocks of 64 members would have keys of 1.2 MiB; those past the first MiB are twice as large, at least.
    expect(index.heldBytes).toBeLessThan(2.5 * 2 ** 20);
    expect((await index.find(new TextEncoder().encode(paths[19_999])))?.headerOffset).toBe(1024 * 19_999);
  });
});

describe('what an index says of its archive', () => {
  const points = {
    encoded: [0, 100, 2 ** 40],
    content: [0, 4 << 20, 2 ** 53 - 9],
    encodedBytes: 2 ** 40,
    contentBytes: 2 ** 53 - 1,
  };

  test.each([
    ['nothing', NO_FACTS],
    ['where it stopped', { stopped: { offset: 2 ** 53 - 1, reason: 'the header’s checksum is wrong' }, layers: [] }],
    [
      'its layers',
      {
        stopped: null,
        layers: [
          { codec: 'zstd', points },
          { codec: 'gzip', points: { encoded: [0], content: [0], encodedBytes: 5, contentBytes: 0 } },
        ],
      },
    ],
  ] as const)('comes back: %s', async (_, facts) => {
    const { stopped, layers } = await openIndex(await writeIndex(randomMembers(10, 1), { facts }));
    expect({ stopped, layers }).toEqual(facts);
  });

  test('of more points than are kept, some are left out, and each still is one of them', async () => {
    const encoded = Array.from({ length: 600_000 }, (_, i) => 3 * i);
    const content = encoded.map((at) => 10 * at);
    const facts = {
      stopped: null,
      layers: [
        { codec: 'zstd' as const, points: { encoded, content, encodedBytes: 1_800_000, contentBytes: 18_000_000 } },
      ],
    };
    const [layer] = (await openIndex(await writeIndex([], { facts }))).layers;
    expect(layer?.points.encoded.length).toBe(200_000);
    expect(layer?.points.encoded.slice(0, 3)).toEqual([0, 9, 18]);
    expect(layer?.points.content.every((at, i) => at === 10 * (layer.points.encoded[i] ?? 0))).toBe(true);
    expect(layer?.points.contentBytes).toBe(18_000_000);
  });

  test('there is none where there is no object', async () => {
    const source = { ...sourceOf(new Uint8Array(0)), readTail: async () => null };
    expect(await MemberIndex.open(source)).toBeNull();
  });
});
