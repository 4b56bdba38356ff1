import { describe, expect, it } from 'vitest';
import type { Member } from '../../../src/archive/member.ts';
import { bytesOwner, findDirectory, findMember, hasBytes, requireOwner } from '../../../src/delivery/archive.ts';
import { utf8 } from '../../../src/shared/bytes.ts';
import { member, openIndex, writeIndex } from '../archive/index-samples.ts';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** An index of these, in this order, 512 bytes apart. */
async function indexOf(entries: readonly (readonly [string, Partial<Member>?])[]) {
  return openIndex(await writeIndex(entries.map(([path, more], i) => member(path, 512 * i, more))));
}

const link = (target: string): Partial<Member> => ({ type: 'hardlink', linkTarget: utf8(target) });

describe('findMember', () => {
  it('finds the last one of the path, and else the one behind "./"', async () => {
    const index = await indexOf([['a'], ['a', { size: 7 }], ['./b'], ['./c'], ['c'], ['././d']]);
    expect(await findMember(index, utf8('a'))).toMatchObject({ headerOffset: 512, size: 7 });
    expect(await findMember(index, utf8('b'))).toMatchObject({ headerOffset: 1024 });
    expect(await findMember(index, utf8('./b'))).toMatchObject({ headerOffset: 1024 });
    expect(await findMember(index, utf8('c'))).toMatchObject({ headerOffset: 2048 });
    expect(await findMember(index, utf8('./c'))).toMatchObject({ headerOffset: 1536 });
    expect(await findMember(index, utf8('./d'))).toMatchObject({ headerOffset: 2560 });
  });

  it('finds nothing else', async () => {
    const index = await indexOf([['a'], ['dir/b'], ['./x']]);
    for (const path of ['', 'A', 'dir', 'dir/', 'b', 'a/../a', '../a', 'dir//b', '.', 'a\0']) {
      await expect(findMember(index, utf8(path)), path).rejects.toMatchObject({ code: 'not-found' });
    }
    await expect(findMember(await indexOf([]), utf8('a'))).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('a path that is spelt otherwise', () => {
  it('is found with a leading "/" or "./" too many or too few', async () => {
    for (const stored of ['a/b', './a/b', '/a/b']) {
      const index = await indexOf([['x'], [stored, { size: 7 }], ['z']]);
      for (const asked of ['a/b', '/a/b', './a/b', '//a/b', '/././a/b']) {
        expect(await findMember(index, utf8(asked)), `${asked} of ${stored}`).toMatchObject({ size: 7 });
        expect(text(await findDirectory(index, utf8(asked.slice(0, -2))))).toBe(stored.slice(0, -2));
      }
    }
  });

  it.each(['a/b', './a/b', '/a/b', 'a//b', 'a/./b', '//a/b', '././a/.//b', '/./a/b'])(
    'is the target of a hard link as %s, as an extraction would make it',
    async (stored) => {
      for (const target of ['a/b', './a/b', '/a/b', 'a//b', 'a/./b', '../a/b']) {
        const index = await indexOf([['x'], [stored], ['b', link(target)], ['z']]);
        expect(await bytesOwner(index, await findMember(index, utf8('b'))), target).toMatchObject({
          headerOffset: 512,
        });
      }
    },
  );

  it('of a hard link finds the last member before the link', async () => {
    for (const target of ['d/a', './d/a', '/d/a', 'd//a', 'd/./a', '../d/a', 'x/../d/a']) {
      const index = await indexOf([['d/a'], ['./d/a'], ['b', link(target)], ['d/a']]);
      expect(await bytesOwner(index, await findMember(index, utf8('b'))), target).toMatchObject({ headerOffset: 512 });
    }
    const odd = await indexOf([['d//./a'], ['b', link('d/a')], ['d//./a']]);
    expect(await bytesOwner(odd, await findMember(odd, utf8('b')))).toMatchObject({ headerOffset: 0 });
  });

  it('costs a bounded number of look-ups, however long an archive makes it', async () => {
    const index = await indexOf([[`${'./'.repeat(4_000)}a`], ['b', link('a')]]);
    expect(await bytesOwner(index, await findMember(index, utf8('b')))).toBeNull();
    const short = await indexOf([[`${'./'.repeat(20)}a`], ['b', link('a')]]);
    expect(await bytesOwner(short, await findMember(short, utf8('b')))).toMatchObject({ headerOffset: 0 });
  });
});

describe('an index that ended early', () => {
  it('says of what it has not that it may lie behind the end', async () => {
    const stopped = { offset: 1536, reason: "the header's checksum is wrong" };
    const index = await openIndex(await writeIndex([member('d/a', 0)], { facts: { stopped, layers: [] } }));
    expect(await findMember(index, utf8('d/a'))).toMatchObject({ headerOffset: 0 });
    expect(text(await findDirectory(index, utf8('d')))).toBe('d');
    for (const missing of [findMember(index, utf8('b')), findDirectory(index, utf8('e'))]) {
      await expect(missing).rejects.toMatchObject({
        code: 'archive-incomplete',
        message: expect.stringContaining("up to byte 1536: the header's checksum is wrong"),
      });
    }
  });
});

describe('requireOwner', () => {
  it.each([
    ['gone', 'is not in the archive before the link'],
    ['soft', 'is a symlink, which has no bytes'],
    ['d', 'is a directory, which has no bytes'],
  ])('refuses a hard link to %s', async (target, reason) => {
    const index = await indexOf([
      ['soft', { type: 'symlink', linkTarget: utf8('x') }],
      ['d', { type: 'directory' }],
      ['l', link(target)],
    ]);
    await expect(requireOwner(index, await findMember(index, utf8('l')))).rejects.toMatchObject({
      code: 'hard-link-unresolved',
      message: expect.stringContaining(reason),
    });
    expect(await requireOwner(index, await findMember(index, utf8('soft')))).toMatchObject({ type: 'symlink' });
  });
});

describe('findDirectory', () => {
  it('finds those that have a member, those that only have members beneath, and the root', async () => {
    const index = await indexOf([
      ['own', { type: 'directory' }],
      ['implied/deep/file'],
      ['./here/file'],
      ['./there', { type: 'directory' }],
      ['file/beneath'],
      ['file'],
    ]);
    for (const [path, found] of [
      ['', ''],
      ['own', 'own'],
      ['implied', 'implied'],
      ['implied/deep', 'implied/deep'],
      ['here', './here'],
      ['./here', './here'],
      ['there', './there'],
      ['.', '.'],
      // Odd, but said by the archive.
      ['file', 'file'],
    ] as const) {
      expect(text(await findDirectory(index, utf8(path)))).toBe(found);
    }
    expect(await findDirectory(await indexOf([]), utf8(''))).toEqual(new Uint8Array());
  });

  it('finds no files, no beginnings of names, and nothing that was replaced by a file', async () => {
    const index = await indexOf([
      ['dirt/file'],
      ['plain'],
      ['soft', { type: 'symlink' }],
      ['x', { type: 'directory' }],
      ['x'],
    ]);
    for (const path of ['dir', 'dirt/file', 'plain', 'soft', 'x', 'none', 'z', '/', 'dirt/']) {
      await expect(findDirectory(index, utf8(path)), path).rejects.toMatchObject({ code: 'not-found' });
    }
  });
});

describe('bytesOwner', () => {
  async function ownerOf(entries: Parameters<typeof indexOf>[0], at: number): Promise<number | null> {
    const index = await indexOf(entries);
    const path = utf8(entries[at]?.[0] ?? '');
    const asked = await index.find(path, 512 * at + 1);
    if (!asked) throw new Error('no such member');
    return (await bytesOwner(index, asked))?.headerOffset ?? null;
  }

  it('is the member itself where it is no hard link, or holds bytes of its own', async () => {
    expect(await ownerOf([['a']], 0)).toBe(0);
    expect(await ownerOf([['a', { type: 'symlink', linkTarget: utf8('b') }], ['b']], 0)).toBe(0);
    expect(await ownerOf([['b'], ['a', { ...link('b'), size: 5, dataBytes: 5 }]], 1)).toBe(512);
  });

  it('is the last one of the name before the link', async () => {
    const entries = [['a'], ['a'], ['l', link('a')], ['a'], ['m', link('a')]] as const;
    expect(await ownerOf(entries, 2)).toBe(512);
    expect(await ownerOf(entries, 4)).toBe(3 * 512);
  });

  it('is found through links, and is null where there is none before', async () => {
    expect(await ownerOf([['a'], ['l', link('a')], ['m', link('l')], ['n', link('m')]], 3)).toBe(0);
    expect(await ownerOf([['l', link('a')], ['a']], 0)).toBeNull();
    expect(await ownerOf([['l', link('gone')]], 0)).toBeNull();
    expect(
      await ownerOf(
        [
          ['l', link('gone')],
          ['m', link('l')],
        ],
        1,
      ),
    ).toBeNull();
  });

  it('never goes in a circle', async () => {
    expect(await ownerOf([['a', link('a')]], 0)).toBeNull();
    expect(
      await ownerOf(
        [
          ['a', link('a')],
          ['a', link('a')],
        ],
        1,
      ),
    ).toBeNull();
    expect(
      await ownerOf(
        [
          ['a', link('b')],
          ['b', link('a')],
        ],
        1,
      ),
    ).toBeNull();
    const chain = Array.from({ length: 300 }, (_, i) => [`${i % 2}`, link(`${(i + 1) % 2}`)] as const);
    expect(await ownerOf(chain, 299)).toBeNull();
    expect(await ownerOf([['0'], ['1'], ...chain], 301)).toBe(512);
  });

  it('is what it is, with bytes or without', async () => {
    const types = ['file', 'sparse', 'hardlink', 'directory', 'symlink', 'character', 'block', 'fifo'] as const;
    expect(types.filter((type) => hasBytes(member('a', 0, { type })))).toEqual(['file', 'sparse', 'hardlink']);
  });
});
