import { describe, expect, test } from 'vitest';
import {
  decodeCursor,
  encodeCursor,
  type IndexPage,
  listPage,
  type PageQuery,
} from '../../../src/archive/index-page.ts';
import type { Member } from '../../../src/archive/member.ts';
import type { MemberIndex } from '../../../src/archive/member-index.ts';
import { base64url, hex, utf8 } from '../../../src/shared/bytes.ts';
import { member, openIndex, randomMembers, sortedMembers, told, writeIndex } from './index-samples.ts';

const SMALL_BLOCKS = { blockBytes: 1 };

/** All pages, one after another, each asked for with the text of the cursor that the one before gave. */
async function allPages(index: MemberIndex, query: Omit<PageQuery, 'after'>): Promise<IndexPage[]> {
  const pages: IndexPage[] = [];
  for (let after: string | null = ''; after !== null; ) {
    const page: IndexPage = await listPage(index, { ...query, after: after === '' ? null : decodeCursor(after) });
    pages.push(page);
    after = page.next && encodeCursor(page.next);
    if (pages.length > 2_000) throw new Error('the pages do not end');
  }
  return pages;
}

function flat(pages: readonly IndexPage[]) {
  return {
    members: pages.flatMap((page) => page.members.map(told)),
    prefixes: pages.flatMap((page) => page.prefixes.map(hex)),
  };
}

/** The same by looking at every member. */
function naive(members: readonly Member[], prefix: Uint8Array, delimiter: boolean) {
  const matching = sortedMembers(members).filter(({ path }) => hex(path).startsWith(hex(prefix)));
  const slash = ({ path }: Member) => (delimiter ? path.indexOf(0x2f, prefix.length) : -1);
  return {
    members: matching.filter((each) => slash(each) < 0).map(told),
    prefixes: [
      ...new Set(matching.filter((each) => slash(each) >= 0).map((each) => hex(each.path.slice(0, slash(each) + 1)))),
    ],
  };
}

describe('pages', () => {
  test('of every size give each member once', async () => {
    const members = randomMembers(40, 21);
    const index = await openIndex(await writeIndex(members));
    const all = naive(members, utf8(''), false);
    for (let limit = 1; limit <= 41; limit++) {
      const pages = await allPages(index, { prefix: utf8(''), delimiter: false, limit });
      expect(flat(pages)).toEqual(all);
      expect(pages.length).toBe(Math.ceil(40 / limit));
      expect(pages.slice(0, -1).every((page) => page.members.length === limit)).toBe(true);
    }
  });

  test.each([
    [true, 3],
    [false, 3],
    [true, 1_000],
    [false, 1_000],
  ])('of a prefix are what a look at every member finds (directories: %s, limit %i)', async (delimiter, limit) => {
    const members = randomMembers(400, 22);
    const index = await openIndex(await writeIndex(members, SMALL_BLOCKS), 1_000);
    const prefixes = ['', 'a', 'a/', 'src', 'src/', 'src/lib/', 'node', '/', '../', '\0', 'zzz', 'd'.repeat(4_000)];
    for (const prefix of [...prefixes.map(utf8), Uint8Array.of(0xff), Uint8Array.of(0xc3)]) {
      const pages = await allPages(index, { prefix, delimiter, limit });
      expect(flat(pages)).toEqual(naive(members, prefix, delimiter));
      expect(pages.every((page) => page.members.length + page.prefixes.length <= limit)).toBe(true);
    }
  });

  test.each([1, 2, 3])('end early after %i blocks, and still come to the end', async (maxBlocks) => {
    const members = randomMembers(700, 23);
    const index = await openIndex(await writeIndex(members, SMALL_BLOCKS), 1_000);
    for (const [prefix, delimiter] of [
      ['', false],
      ['', true],
      ['src/', true],
      ['node_modules/', false],
    ] as const) {
      const pages = await allPages(index, { prefix: utf8(prefix), delimiter, limit: 1_000, maxBlocks });
      expect(flat(pages)).toEqual(naive(members, utf8(prefix), delimiter));
    }
  });

  test('show members in order, and a directory beside what lies in it', async () => {
    const paths = ['src', 'src/b', 'src/a/x', 'src/a/y', 'src/a', 'src/a-b', 'src/c/'];
    const index = await openIndex(await writeIndex(paths.map((path, i) => member(path, 1024 * i))));
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    const page = await listPage(index, { prefix: utf8('src/'), delimiter: true, after: null, limit: 10 });
    expect(page.members.map(({ path }) => text(path))).toEqual(['src/a', 'src/a-b', 'src/b']);
    expect(page.prefixes.map(text)).toEqual(['src/a/', 'src/c/']);
    expect(page.next).toBeNull();
    const top = await listPage(index, { prefix: utf8(''), delimiter: true, after: null, limit: 10 });
    expect([top.members.length, top.prefixes.map(text)]).toEqual([1, ['src/']]);
  });

  test('leap over what they collapse: a page of two directories of thousands reads three blocks at most', async () => {
    const paths = Array.from({ length: 6_000 }, (_, i) => `${i < 3_000 ? 'a' : 'b'}/${i}`);
    const object = await writeIndex(
      paths.map((path, i) => member(path, 1024 * i)),
      SMALL_BLOCKS,
    );
    const index = await openIndex(object, 3_000);
    const page = await listPage(index, { prefix: utf8(''), delimiter: true, after: null, limit: 10 });
    expect([page.prefixes.length, page.next]).toEqual([2, null]);
    expect(index.reads).toBeLessThanOrEqual(3);
  });

  test('of an index without members are empty', async () => {
    const index = await openIndex(await writeIndex([]));
    const page = await listPage(index, { prefix: utf8(''), delimiter: true, after: null, limit: 10 });
    expect(page).toEqual({ members: [], prefixes: [], next: null });
  });

  test('of a cursor that lies before or behind the prefix begin with it, or are empty', async () => {
    const index = await openIndex(await writeIndex(['a', 'b/1', 'b/2', 'c'].map((path, i) => member(path, 1024 * i))));
    const listed = async (path: string) => {
      const after = { path: utf8(path), headerOffset: 0 };
      return (await listPage(index, { prefix: utf8('b/'), delimiter: false, after, limit: 9 })).members.length;
    };
    expect([await listed('a'), await listed('b/2'), await listed('c'), await listed('zz')]).toEqual([2, 1, 0, 0]);
  });
});

describe('the text of a cursor', () => {
  test.each([0, 127, 128, 2 ** 32, 2 ** 53 - 1])('comes back with offset %i', (headerOffset) => {
    for (const path of [utf8(''), utf8('src/ü'), Uint8Array.of(0, 0xff, 0x2f), new Uint8Array(16_384).fill(0xfe)]) {
      const text = encodeCursor({ path, headerOffset });
      expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
      expect(decodeCursor(text)).toEqual({ path, headerOffset });
    }
  });

  test.each([
    ['', 'nothing'],
    ['A', 'a length that base64 never has'],
    ['a/b', 'other characters'],
    ['é', 'other letters'],
    [base64url(Uint8Array.of(0x80)), 'a number that is cut'],
    [base64url(new Uint8Array(9).fill(0xff)), 'a number that is too large'],
    ['A'.repeat(40_000), 'too much'],
  ])('%s is refused: %s', (text) => {
    expect(() => decodeCursor(text)).toThrow(SyntaxError);
  });
});
