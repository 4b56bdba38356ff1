import { describe, expect, it } from 'vitest';
import type { Member } from '../../../src/archive/member.ts';
import { directoryTar } from '../../../src/delivery/directory-tar.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { DIRECTORY_BATCH_MEMBERS } from '../../../src/shared/limits.ts';
import type { ByteSpan } from '../../../src/shared/seek-points.ts';
import { type Bytes, type Entry, owned, tarOf, whole } from '../../support/archives.ts';
import { openIndex, writeIndex } from '../archive/index-samples.ts';
import { scanned } from '../archive/tar-samples.ts';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** The index of an archive, and a reader of it that tells its reads. */
async function archiveOf(entries: readonly Entry[]) {
  const archive = tarOf(entries);
  const index = await openIndex(await writeIndex((await scanned(archive)).members));
  const reads: ByteSpan[] = [];
  const state = { open: 0 };
  async function* read(span: ByteSpan): AsyncGenerator<Uint8Array, void, undefined> {
    reads.push(span);
    state.open += 1;
    try {
      for (let at = 0; at < span.length; at += 10_000) {
        const piece = archive.slice(span.offset + at, span.offset + Math.min(span.length, at + 10_000));
        yield piece;
        piece.fill(0xee);
      }
    } finally {
      state.open -= 1;
    }
  }
  return { index, read, reads, state };
}

function contents(tar: Bytes, members: readonly Member[]): [string, string][] {
  return members.map(({ path, dataOffset, size }) => [text(path), text(tar.subarray(dataOffset, dataOffset + size))]);
}

describe('directoryTar', () => {
  it('reads what it gives in one pass over the archive, and nothing behind its last member', async () => {
    const { index, read, reads, state } = await archiveOf([
      { path: 'd/z', content: 'zz' },
      { path: 'other', content: 'o'.repeat(100_000) },
      { path: 'd/a', content: 'aa' },
      { path: 'tail', content: 't'.repeat(100_000) },
    ]);
    const tar = owned(await whole(directoryTar(index, utf8('d'), read)));
    expect(contents(tar, (await scanned(tar)).members)).toEqual([
      ['d/z', 'zz'],
      ['d/a', 'aa'],
    ]);
    const last = await index.find(utf8('d/a'));
    expect(reads).toEqual([{ offset: 512, length: (last?.dataOffset ?? 0) + 2 - 512 }]);
    expect(state.open).toBe(0);
  });

  it('reads nothing for what has no bytes', async () => {
    const { index, read, reads } = await archiveOf([
      { path: 'd', type: 'directory' },
      { path: 'd/empty', content: '' },
      { path: 'd/link', type: 'symlink', linkTarget: 'x' },
    ]);
    expect((await scanned(owned(await whole(directoryTar(index, utf8('d'), read))))).members).toHaveLength(3);
    expect(reads).toEqual([]);
  });

  it('takes "d" and what is in it, and neither "d-x" nor "d.txt" that lie between them in order', async () => {
    const { index, read } = await archiveOf(
      ['d', 'd ', 'd-x/y', 'd.txt', 'd/a', 'd/b/c', 'd0', 'dd/a'].map((path) => ({
        path,
        type: path === 'd' ? 'directory' : 'file',
      })),
    );
    const tar = owned(await whole(directoryTar(index, utf8('d'), read)));
    expect((await scanned(tar)).members.map(({ path }) => text(path))).toEqual(['d', 'd/a', 'd/b/c']);
  });

  it.each([-1, 0, 1, 2])('gives every member once at the boundary of a batch (%i more)', async (more) => {
    const count = DIRECTORY_BATCH_MEMBERS + more;
    const entries = Array.from({ length: count }, (_, i) => ({
      path: `d/${String((i * 7919) % count).padStart(5, '0')}`,
      content: i % 50 === 0 ? `content ${i}` : '',
    }));
    const { index, read, state } = await archiveOf(entries);
    const tar = owned(await whole(directoryTar(index, utf8('d'), read)));
    const { members, end } = await scanned(tar);
    expect(end).toEqual({ kind: 'complete' });
    const byPath = (a: readonly string[], b: readonly string[]) => ((a[0] ?? '') < (b[0] ?? '') ? -1 : 1);
    const wanted = entries.map(({ path, content }): [string, string] => [path, content]);
    expect(contents(tar, members).sort(byPath)).toEqual(wanted.sort(byPath));
    expect(state.open).toBe(0);
  });

  it('puts hard links after what they link to, also where that is in a later batch', async () => {
    const many = Array.from({ length: DIRECTORY_BATCH_MEMBERS }, (_, i) => ({ path: `d/m${10_000 + i}` }));
    const { index, read } = await archiveOf([
      { path: 'd/z', content: 'target' },
      { path: 'd/a', type: 'hardlink', linkTarget: 'd/z' },
      ...many,
    ]);
    const tar = owned(await whole(directoryTar(index, utf8('d'), read)));
    const paths = (await scanned(tar)).members.map(({ path }) => text(path));
    expect(paths.slice(-3)).toEqual(['d/z', 'd/m14999', 'd/a']);
  });

  it('breaks off in the place of the end where the index ended early', async () => {
    const archive = tarOf([{ path: 'd/a', content: 'aa' }]);
    const stopped = { offset: 1024, reason: 'the archive ends within a header' };
    const index = await openIndex(
      await writeIndex((await scanned(archive)).members, { facts: { stopped, layers: [] } }),
    );
    async function* read({ offset, length }: ByteSpan): AsyncGenerator<Uint8Array, void, undefined> {
      yield archive.slice(offset, offset + length);
    }
    for (const directory of ['', 'd']) {
      const pieces: Uint8Array[] = [];
      const reading = (async () => {
        for await (const piece of directoryTar(index, utf8(directory), read)) pieces.push(piece.slice());
      })();
      await expect(reading).rejects.toMatchObject({ code: 'archive-incomplete' });
      expect((await scanned(owned(concat(pieces)))).members.map(({ path }) => text(path))).toEqual(['d/a']);
    }
  });

  it('closes what it reads when it is left, and when the archive cannot be read', async () => {
    const { index, read, state } = await archiveOf([
      { path: 'a', content: 'a'.repeat(50_000) },
      { path: 'b', content: 'b'.repeat(50_000) },
    ]);
    let pieces = 0;
    for await (const piece of directoryTar(index, utf8(''), read)) {
      expect(piece.length).toBeGreaterThan(0);
      pieces += 1;
      if (pieces === 3) break;
    }
    expect(state.open).toBe(0);
    const fault = new Error('the disk went away');
    async function* failing(span: ByteSpan): AsyncGenerator<Uint8Array, void, undefined> {
      for await (const piece of read({ ...span, length: 30_000 })) yield piece;
      throw fault;
    }
    await expect(whole(directoryTar(index, utf8(''), failing))).rejects.toBe(fault);
    expect(state.open).toBe(0);
  });
});
