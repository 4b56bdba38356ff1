import { describe, expect, test } from 'vitest';
import type { Member } from '../../../src/archive/member.ts';
import { MemberIndex } from '../../../src/archive/member-index.ts';
import { utf8 } from '../../../src/shared/bytes.ts';
import {
  bytesOrder,
  listed,
  member,
  openIndex,
  randomMembers,
  sortedMembers,
  sourceOf,
  told,
  writeIndex,
} from './index-samples.ts';

const SMALL_BLOCKS = { blockBytes: 1 };

function lastOf(members: readonly Member[], path: Uint8Array, before: number): string | null {
  const same = members.filter((each) => bytesOrder(each.path, path) === 0 && each.headerOffset < before);
  const last = sortedMembers(same).at(-1);
  return last ? told(last) : null;
}

async function found(index: MemberIndex, path: Uint8Array, before?: number): Promise<string | null> {
  const member = await index.find(path, before);
  return member && told(member);
}

describe('find', () => {
  test('gives the last member of every path, and with `before` the last one before that', async () => {
    const members = randomMembers(700, 11);
    const index = await openIndex(await writeIndex(members, SMALL_BLOCKS), 1_000);
    for (const { path, headerOffset } of members) {
      expect(await found(index, path)).toBe(lastOf(members, path, Number.POSITIVE_INFINITY));
      expect(await found(index, path, headerOffset)).toBe(lastOf(members, path, headerOffset));
      expect(await found(index, path, headerOffset + 1)).toBe(lastOf(members, path, headerOffset + 1));
    }
  });

  test('gives null for what is not there, wherever it would be', async () => {
    const members = randomMembers(300, 12);
    const index = await openIndex(await writeIndex(members, SMALL_BLOCKS), 1_000);
    for (const { path } of members) {
      for (const end of [0, 1, 0x2e, 0xff]) {
        const other = Uint8Array.from([...path, end, 7]);
        expect(await found(index, other)).toBe(lastOf(members, other, Number.POSITIVE_INFINITY));
      }
    }
    expect(await found(index, utf8('zzz'))).toBeNull();
    expect(await found(await openIndex(await writeIndex([])), utf8('a'))).toBeNull();
  });

  test('finds each of many members of one path, over several blocks', async () => {
    const twins = Array.from({ length: 200 }, (_, i) => member('twin', 1024 * i));
    const members = [member('a', 300_000), ...twins, member('twin-not', 400_000), member('z', 500_000)];
    const index = await openIndex(await writeIndex(members, SMALL_BLOCKS), 400);
    expect((await index.find(utf8('twin')))?.headerOffset).toBe(1024 * 199);
    for (let i = 0; i < 200; i++) {
      const before = (await index.find(utf8('twin'), 1024 * i))?.headerOffset;
      expect(before).toBe(i === 0 ? undefined : 1024 * (i - 1));
    }
  });
});

describe('reads', () => {
  const members = randomMembers(3_000, 13);

  test('a small index is one read in all', async () => {
    const source = sourceOf(await writeIndex(randomMembers(50, 1)));
    const index = await MemberIndex.open(source);
    for (const { path } of randomMembers(50, 1)) expect(await index?.find(path)).not.toBeNull();
    expect(await listed(index?.from(null) ?? [])).toHaveLength(50);
    expect(source.reads).toBe(1);
    expect(index?.reads).toBe(0);
  });

  test('a lookup is at most two, where the root came with the end of the object', async () => {
    const object = await writeIndex(members, SMALL_BLOCKS);
    for (const { path } of members.slice(0, 40)) {
      const source = sourceOf(object, 8_000);
      await (await MemberIndex.open(source))?.find(path);
      expect(source.reads).toBeLessThanOrEqual(2);
    }
  });

  test('and three where it did not; the same block again is none', async () => {
    const source = sourceOf(await writeIndex(members, SMALL_BLOCKS), 100);
    const index = await MemberIndex.open(source);
    expect(source.reads).toBe(2);
    const path = members[0]?.path ?? utf8('');
    await index?.find(path);
    await index?.find(path);
    expect(source.reads).toBe(3);
    expect(index?.reads).toBe(1);
  });

  test('a listing that is left reads no further', async () => {
    const source = sourceOf(await writeIndex(members, SMALL_BLOCKS), 8_000);
    const index = await MemberIndex.open(source);
    for await (const _ of index?.from(null) ?? []) break;
    expect(index?.reads).toBe(1);
  });

  test('what the source throws comes as it is', async () => {
    const lost = new Error('the store is away');
    const object = await writeIndex(members, SMALL_BLOCKS);
    const fails = () => Promise.reject(lost);
    await expect(MemberIndex.open({ ...sourceOf(object), readTail: fails })).rejects.toBe(lost);
    await expect(MemberIndex.open({ ...sourceOf(object, 100), read: fails })).rejects.toBe(lost);
    const index = await MemberIndex.open({ ...sourceOf(object, 8_000), read: fails });
    await expect(index?.find(utf8('a'))).rejects.toBe(lost);
  });
});

describe('one index for several', () => {
  test('answers them at once, and lookups between the steps of a listing', async () => {
    const members = randomMembers(500, 15);
    const source = sourceOf(await writeIndex(members, SMALL_BLOCKS), 1_000);
    const index = await MemberIndex.open(source);
    if (!index) throw new Error('there is an index');
    const lines = sortedMembers(members).map(told);
    const finding = members.map(({ path, headerOffset }) => found(index, path, headerOffset + 1));
    expect(await Promise.all([listed(index.from(null)), listed(index.from(null))])).toEqual([lines, lines]);
    expect(await Promise.all(finding)).toEqual(members.map(told));
    const steps: string[] = [];
    for await (const each of index.from(null)) {
      const other = members[steps.length];
      expect(await found(index, other?.path ?? utf8(''), (other?.headerOffset ?? 0) + 1)).toBe(other && told(other));
      steps.push(told(each));
    }
    expect(steps).toEqual(lines);
  });

  test('in which a listing asks for each member that it meets reads each block once', async () => {
    const source = sourceOf(await writeIndex(randomMembers(500, 16), SMALL_BLOCKS), 100);
    const index = await MemberIndex.open(source);
    for await (const _ of index?.from(null) ?? []);
    const once = source.reads;
    const other = await MemberIndex.open(source);
    for await (const { path, headerOffset } of other?.from(null) ?? []) {
      expect((await other?.find(path, headerOffset + 1))?.headerOffset).toBe(headerOffset);
    }
    expect(source.reads).toBe(2 * once);
  });
});

describe('from', () => {
  test('begins at any member, between any two, and at the ends', async () => {
    const members = randomMembers(200, 14);
    const sorted = sortedMembers(members);
    const index = await openIndex(await writeIndex(members, SMALL_BLOCKS), 1_000);
    const lines = sorted.map(told);
    for (const [i, { path, headerOffset }] of sorted.entries()) {
      expect(await listed(index.from({ path, headerOffset }))).toEqual(lines.slice(i));
      expect(await listed(index.from({ path, headerOffset: headerOffset + 1 }))).toEqual(lines.slice(i + 1));
    }
    expect(await listed(index.from({ path: new Uint8Array(0), headerOffset: 0 }))).toEqual(lines);
    expect(await listed(index.from({ path: Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff), headerOffset: 0 }))).toEqual(
      [],
    );
  });
});
