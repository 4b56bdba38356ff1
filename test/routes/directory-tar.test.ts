import { describe, expect, it } from 'vitest';
import type { Member } from '../../src/archive/member.ts';
import {
  backupOf,
  bodyOf,
  type Entry,
  fileUrl,
  gzipped,
  manyFrames,
  oneFrame,
  owned,
  tarOf,
} from '../support/archives.ts';
import { ask, expectProblem, put, sample, sha256Hex } from '../support/vault.ts';
import { scanned, text, unpack } from '../unit/archive/tar-samples.ts';
import { tarVectors } from '../vectors/tar.ts';

interface Out {
  readonly tar: Uint8Array;
  readonly members: readonly Member[];
  /** In the order of the tar. */
  readonly paths: readonly string[];
  content(path: string): string;
}

/** What our own scanner reads of an answer. */
async function read(response: Response): Promise<Out> {
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('application/x-tar');
  const tar = owned(await bodyOf(response));
  const { members, end } = await scanned(tar);
  expect(end).toEqual({ kind: 'complete' });
  const content = (path: string) => {
    const member = members.find((one) => text(one.path) === path);
    if (!member) throw new Error(`no ${path}`);
    return text(tar.subarray(member.dataOffset, member.dataOffset + member.dataBytes));
  };
  return { tar, members, content, paths: members.map((member) => text(member.path)) };
}

async function tarAt(id: string, path: string): Promise<Out> {
  return read(await ask(fileUrl(id, `${path}?format=tar`)));
}

const tree: Entry[] = [
  { path: 'other/x', content: 'elsewhere' },
  { path: 'src', type: 'directory', mode: 0o750, uid: 5, gid: 6 },
  { path: 'src/z.ts', content: 'z', mode: 0o600, mtime: { seconds: 12, nanos: 345_000_000 } },
  { path: 'src/lib', type: 'directory' },
  { path: 'src/lib/a.ts', content: 'a' },
  { path: 'src/link', type: 'symlink', linkTarget: '../other/x' },
  { path: 'src/null', type: 'character', device: { major: 1, minor: 3 } },
  { path: 'src.txt', content: 'beside' },
  { path: 'src/empty', content: '' },
];
const underSrc = ['src', 'src/z.ts', 'src/lib', 'src/lib/a.ts', 'src/link', 'src/null', 'src/empty'];

describe('GET /backup/{id}/files/{dir}/?format=tar', () => {
  it('gives the directory with all beneath it, as the archive has it', async () => {
    const id = await backupOf(tree);
    const { members, paths, content } = await tarAt(id, 'src/');
    expect(paths).toEqual(underSrc);
    expect(content('src/z.ts')).toBe('z');
    expect(content('src/lib/a.ts')).toBe('a');
    expect(members[0]).toMatchObject({ type: 'directory', mode: 0o750, uid: 5, gid: 6 });
    expect(members[1]).toMatchObject({ type: 'file', mode: 0o600, mtime: { seconds: 12, nanos: 345_000_000 } });
    expect(members[4]).toMatchObject({ type: 'symlink', linkTarget: new TextEncoder().encode('../other/x') });
    expect(members[5]).toMatchObject({ type: 'character', device: { major: 1, minor: 3 } });
  });

  it('takes the directory with and without its slash, and gives the same', async () => {
    const id = await backupOf(tree);
    const { tar } = await tarAt(id, 'src/');
    expect((await tarAt(id, 'src')).tar).toEqual(tar);
    expect((await tarAt(id, 'src//')).tar).toEqual(tar);
  });

  it('gives the whole archive for the root', async () => {
    const id = await backupOf(tree);
    expect((await tarAt(id, '')).paths.toSorted()).toEqual(tree.map(({ path }) => path).toSorted());
    expect((await tarAt(await backupOf([]), '')).paths).toEqual([]);
  });

  it('gives a directory that has no member of its own', async () => {
    const id = await backupOf(tree);
    const { paths, content } = await tarAt(id, 'other/');
    expect(paths).toEqual(['other/x']);
    expect(content('other/x')).toBe('elsewhere');
  });

  it('gives an empty directory as just that', async () => {
    const id = await backupOf([
      { path: 'e', type: 'directory' },
      { path: 'e.txt', content: 'x' },
    ]);
    expect((await tarAt(id, 'e/')).paths).toEqual(['e']);
  });

  it('finds directories of an archive of "."', async () => {
    const id = await backupOf([
      { path: '.', type: 'directory' },
      { path: './d/a', content: 'a' },
      { path: './b', content: 'b' },
    ]);
    expect((await tarAt(id, 'd/')).paths).toEqual(['./d/a']);
    expect((await tarAt(id, '')).paths).toEqual(['.', './d/a', './b']);
  });

  it('answers 404 for what is no directory', async () => {
    const id = await backupOf(tree);
    for (const path of [
      'src.txt',
      'src.txt/',
      'src/link',
      'sr',
      'src/li',
      'none',
      'src/z.ts/',
      '%00',
      'src%2F%2Flib',
    ]) {
      await expectProblem(await ask(fileUrl(id, `${path}?format=tar`)), 404, 'not-found');
    }
    await expectProblem(await ask(fileUrl(id, 'src/?format=zip')), 400, 'invalid-option');
  });

  it('of a name that comes twice gives the later one, once', async () => {
    const id = await backupOf([
      { path: 'd/a', content: 'one' },
      { path: 'd/b', content: 'b' },
      { path: 'd/a', content: 'two' },
      { path: 'd', type: 'directory' },
    ]);
    const { paths, content } = await tarAt(id, 'd/');
    expect(paths.toSorted()).toEqual(['d', 'd/a', 'd/b']);
    expect(content('d/a')).toBe('two');
  });

  it('keeps hard links within the directory, after what they link to', async () => {
    const id = await backupOf([
      { path: 'd/file', content: 'content' },
      { path: 'd/a-link', type: 'hardlink', linkTarget: 'd/file' },
    ]);
    const { members, paths } = await tarAt(id, 'd/');
    expect(paths).toEqual(['d/file', 'd/a-link']);
    expect(members[1]).toMatchObject({ type: 'hardlink', linkTarget: new TextEncoder().encode('d/file') });
  });

  it('makes files of hard links out of the directory, and to what a later member has replaced', async () => {
    const id = await backupOf([
      { path: 'out', content: 'from out there' },
      { path: 'd/link', type: 'hardlink', linkTarget: 'out' },
      { path: 'd/twice', content: 'early' },
      { path: 'd/to-early', type: 'hardlink', linkTarget: 'd/twice' },
      { path: 'd/twice', content: 'late' },
    ]);
    const { members, content } = await tarAt(id, 'd/');
    expect(members.map(({ type }) => type)).toEqual(['file', 'file', 'file']);
    expect(content('d/link')).toBe('from out there');
    expect(content('d/to-early')).toBe('early');
    expect(content('d/twice')).toBe('late');
  });

  it('keeps what a hard link to a symbolic link is', async () => {
    const id = await backupOf([
      { path: 'soft', type: 'symlink', linkTarget: 'anywhere' },
      { path: 'd/link', type: 'hardlink', linkTarget: 'soft' },
      { path: 'd/broken', type: 'hardlink', linkTarget: 'nowhere' },
    ]);
    const { members } = await tarAt(id, 'd/');
    expect(members.map((member) => [text(member.path), member.type, text(member.linkTarget)])).toEqual([
      ['d/broken', 'hardlink', 'nowhere'],
      ['d/link', 'symlink', 'anywhere'],
    ]);
  });

  it('links straight to the file, over links between that come later or were replaced', async () => {
    const id = await backupOf([
      { path: 'd/file', content: 'content' },
      { path: 'd/z', type: 'hardlink', linkTarget: 'd/file' },
      { path: 'd/a', type: 'hardlink', linkTarget: 'd/z' },
      { path: 'd/z', content: 'another' },
    ]);
    const { members, content } = await tarAt(id, 'd/');
    expect(members.map((member) => [text(member.path), member.type, text(member.linkTarget)])).toEqual([
      ['d/file', 'file', ''],
      ['d/a', 'hardlink', 'd/file'],
      ['d/z', 'file', ''],
    ]);
    expect(content('d/z')).toBe('another');
  });

  it('keeps the order that the archive had', async () => {
    const order = ['d', 'd/x', 'd/x/y', 'd/x/y/z', 'd/x/b', 'd/a'];
    const entries = order.map((path) => ({ path, type: /[ab]$/.test(path) ? 'file' : 'directory' }) as const);
    const id = await backupOf(entries);
    expect((await tarAt(id, 'd/')).paths).toEqual(order);
  });

  it.each([
    ['raw', '?compression=none', async (tar: Uint8Array) => tar],
    ['ours', '', async (tar: Uint8Array) => tar],
    ['gzip', '', gzipped],
    ['gzip in ours', '?compression=zstd', gzipped],
    ['one frame', '', async (tar: Uint8Array) => oneFrame(tar)],
    ['frames of 64 KiB', '', (tar: Uint8Array) => manyFrames(tar, 64 * 1024)],
  ] as const)('is the same out of every form (%s)', async (_, query, packed) => {
    const entries = Array.from({ length: 60 }, (_, i) => ({
      path: `${i % 3 === 0 ? 'in' : 'out'}/${(i * 37) % 60}`,
      content: sample(1 + ((i * 7919) % 200_000), i + 1),
    }));
    const { backup_id } = await put('a.tar', owned(await packed(tarOf(entries))), query);
    const { tar, members } = await tarAt(backup_id, 'in/');
    const wanted = entries.filter(({ path }) => path.startsWith('in/'));
    expect(members.map((member) => text(member.path))).toEqual(wanted.map(({ path }) => path));
    for (const [i, { dataOffset, size }] of members.entries()) {
      const content = owned(tar.subarray(dataOffset, dataOffset + size));
      expect(await sha256Hex(content)).toBe(await sha256Hex(wanted[i]?.content ?? new Uint8Array()));
    }
  });

  it('names the file, has a weak tag and no ranges, and answers HEAD', async () => {
    const id = await backupOf(tree);
    for (const [path, name] of [
      ['src/lib/?format=tar', 'lib.tar'],
      ['?format=tar', 'members.tar'],
      ['src/?format=tar&filename=mine.tar', 'mine.tar'],
    ]) {
      const head = await ask(fileUrl(id, path ?? ''), { method: 'HEAD' });
      expect(head.status).toBe(200);
      expect(head.body).toBeNull();
      expect(head.headers.get('content-disposition')).toBe(`attachment; filename="${name}"`);
      expect(head.headers.get('etag')).toMatch(/^W\/"[^"]+"$/);
      expect(head.headers.get('accept-ranges')).toBe('none');
      expect(head.headers.get('content-length')).toBeNull();
    }
    const ranged = await ask(fileUrl(id, 'src/?format=tar'), { headers: { range: 'bytes=0-9' } });
    expect((await read(ranged)).paths).toEqual(underSrc);
    const etag = ranged.headers.get('etag') ?? '';
    const again = await ask(fileUrl(id, 'src/?format=tar'), { headers: { 'if-none-match': etag } });
    expect(again.status).toBe(304);
    await expectProblem(
      await ask(fileUrl(id, 'src/?format=tar'), { headers: { 'if-match': etag } }),
      412,
      'precondition-failed',
    );
  });
});

describe.each(tarVectors)('the archive of $name, whole, as a fresh tar', (vector) => {
  it('has each member once, with the same content', async () => {
    const { archive, listing } = await unpack(vector);
    const { backup_id } = await put('vector.tar', archive);
    const { tar, members } = await tarAt(backup_id, '');
    const last = new Map(listing.map((one) => [String(one.path), one]));
    expect(members).toHaveLength(last.size);
    const digests: string[] = [];
    for (const { type, dataOffset, size } of members) {
      if (type === 'file') digests.push(await sha256Hex(owned(tar.subarray(dataOffset, dataOffset + size))));
    }
    const wanted = [...last.values()].filter(({ type }) => type === 'file' || type === 'sparse');
    expect(digests.map((digest) => digest.slice(0, 16)).toSorted()).toEqual(
      wanted.map(({ sha256 }) => sha256).toSorted(),
    );
  });
});
