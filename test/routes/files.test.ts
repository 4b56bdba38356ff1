import { describe, expect, it } from 'vitest';
import { utf8 } from '../../src/shared/bytes.ts';
import {
  type FilePage,
  filesPage,
  fileUrl,
  gzipped,
  manyFrames,
  oneFrame,
  tarOf,
  textAt,
} from '../support/archives.ts';
import { ask, expectProblem, put, sample, sha256Hex } from '../support/vault.ts';
import { scanned, unpack } from '../unit/archive/tar-samples.ts';
import { tarVectors } from '../vectors/tar.ts';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** All pages of a listing, one after the other. */
async function pages(backupId: string, query: string): Promise<FilePage[]> {
  const all: FilePage[] = [];
  for (let cursor = ''; ; ) {
    const page = await filesPage(backupId, `?${query}${cursor && `&cursor=${cursor}`}`);
    all.push(page);
    if (page.cursor === null) return all;
    cursor = page.cursor;
  }
}

const tree = tarOf([
  { path: 'src', type: 'directory', mode: 0o755 },
  { path: 'src/b.ts', content: 'bb' },
  { path: 'src/lib/deep/x.ts', content: 'x' },
  { path: 'src/lib/y.ts', content: 'y' },
  { path: 'src.txt', content: 'beside' },
  { path: 'Z', content: 'capital' },
  { path: 'é', content: 'accent' },
  { path: Uint8Array.of(0xe9, 0x2f, 0x31), content: 'latin' },
  { path: 'src/b.ts', content: 'later' },
]);
const inOrder = ['Z', 'src', 'src.txt', 'src/b.ts', 'src/b.ts', 'src/lib/deep/x.ts', 'src/lib/y.ts', 'é', '\ufffd/1'];

describe('GET /backup/{id}/files', () => {
  it('lists each member with what the archive says of it', async () => {
    const archive = tarOf([
      { path: 'a.txt', content: 'hello', mode: 0o4755, uid: 7, gid: 8, mtime: { seconds: -1, nanos: 500_000_000 } },
      { path: 'dir/', type: 'directory', mode: 0o700 },
      { path: 'hard', type: 'hardlink', linkTarget: 'a.txt' },
      { path: 'null', type: 'character', device: { major: 1, minor: 3 } },
      { path: 'soft', type: 'symlink', linkTarget: '../out' },
    ]);
    const { backup_id } = await put('all.tar', archive);
    const { files, cursor, stopped, ...rest } = await filesPage(backup_id);
    expect({ cursor, stopped, rest }).toEqual({ cursor: null, stopped: null, rest: {} });
    const { offset } = files[0] ?? { offset: 0 };
    expect(text(archive.subarray(offset, offset + 5))).toBe('hello');
    expect(files[0]).toEqual({
      path: 'a.txt',
      type: 'file',
      size: 5,
      mode: '4755',
      uid: 7,
      gid: 8,
      mtime: '1969-12-31T23:59:59.500Z',
      link_target: null,
      offset,
      url: `/backup/${backup_id}/files/a.txt`,
    });
    expect(files.slice(1)).toMatchObject([
      { path: 'dir', type: 'directory', size: 0, mode: '0700', mtime: '2023-11-14T22:13:20.000Z' },
      { path: 'hard', type: 'hardlink', size: 0, link_target: 'a.txt' },
      { path: 'null', type: 'character', device: { major: 1, minor: 3 } },
      { path: 'soft', type: 'symlink', link_target: '../out' },
    ]);
  });

  it('has the order of the bytes of paths, of a name that comes twice both, and addresses that lead to each', async () => {
    const { backup_id } = await put('tree.tar', tree);
    const { files } = await filesPage(backup_id);
    expect(files.map(({ path }) => path)).toEqual(inOrder);
    const contents = await Promise.all(files.filter(({ type }) => type === 'file').map(({ url }) => textAt(url)));
    expect(contents).toEqual(['capital', 'beside', 'later', 'later', 'x', 'y', 'accent', 'latin']);
  });

  it.each([
    ['prefix=src', ['src', 'src.txt', 'src/b.ts', 'src/b.ts', 'src/lib/deep/x.ts', 'src/lib/y.ts']],
    ['prefix=src%2Flib/', ['src/lib/deep/x.ts', 'src/lib/y.ts']],
    ['prefix=%C3%A9', ['é']],
    ['prefix=%C3', ['é']],
    ['prefix=%E9', ['\ufffd/1']],
    ['prefix=%E9%2F', ['\ufffd/1']],
    ['prefix=nothing', []],
    ['prefix=', inOrder],
  ])('lists what begins with ?%s', async (query, paths) => {
    const { backup_id } = await put('tree.tar', tree);
    expect((await filesPage(backup_id, `?${query}`)).files.map(({ path }) => path)).toEqual(paths);
  });

  it.each([
    ['delimiter=/', ['Z', 'src', 'src.txt', 'é'], ['src/', '\ufffd/']],
    ['delimiter=%2F&prefix=src/', ['src/b.ts', 'src/b.ts'], ['src/lib/']],
    ['delimiter=/&prefix=src/lib/', ['src/lib/y.ts'], ['src/lib/deep/']],
    ['delimiter=/&prefix=src/lib', [], ['src/lib/']],
  ])('shows a directory with ?%s', async (query, paths, prefixes) => {
    const { backup_id } = await put('tree.tar', tree);
    const page = await filesPage(backup_id, `?${query}`);
    expect(page.files.map(({ path }) => path)).toEqual(paths);
    expect(page.prefixes).toEqual(prefixes);
  });

  it('goes on page by page, with any limit, and misses and repeats nothing', async () => {
    const { backup_id } = await put('tree.tar', tree);
    for (let limit = 1; limit <= inOrder.length + 1; limit++) {
      const plain = await pages(backup_id, `limit=${limit}`);
      expect(plain.flatMap(({ files }) => files.map(({ path }) => path))).toEqual(inOrder);
      const view = await pages(backup_id, `limit=${limit}&delimiter=/`);
      expect(view.flatMap(({ files }) => files.map(({ path }) => path))).toEqual(['Z', 'src', 'src.txt', 'é']);
      expect(view.flatMap(({ prefixes }) => prefixes ?? [])).toEqual(['src/', '\ufffd/']);
      for (const page of [...plain, ...view]) {
        expect(page.files.length + (page.prefixes?.length ?? 0)).toBeLessThanOrEqual(limit);
      }
    }
  });

  it('gives a hundred members a page, and a thousand at most', async () => {
    const { backup_id } = await put(
      'many.tar',
      tarOf(Array.from({ length: 1100 }, (_, i) => ({ path: `${1e4 + i}` }))),
    );
    expect((await filesPage(backup_id)).files).toHaveLength(100);
    const most = await filesPage(backup_id, '?limit=1000');
    expect(most.files).toHaveLength(1000);
    const rest = await filesPage(backup_id, `?limit=1000&cursor=${most.cursor}`);
    expect(rest.files.map(({ path }) => path)).toEqual(Array.from({ length: 100 }, (_, i) => `${11000 + i}`));
    expect(rest.cursor).toBeNull();
  });

  it.each([
    ['limit=0', 'invalid-option'],
    ['limit=1001', 'invalid-option'],
    ['limit=-1', 'invalid-option'],
    ['limit=1.5', 'invalid-option'],
    ['limit=many', 'invalid-option'],
    ['delimiter=x', 'invalid-option'],
    ['delimiter=', 'invalid-option'],
    ['cursor=!', 'invalid-cursor'],
    ['cursor=', 'invalid-cursor'],
    ['cursor=____________', 'invalid-cursor'],
    [`cursor=${'A'.repeat(50_000)}`, 'invalid-cursor'],
  ])('refuses ?%.30s', async (query, code) => {
    const { backup_id } = await put('tree.tar', tree);
    await expectProblem(await ask(`/backup/${backup_id}/files?${query}`), 400, code);
    if (!query.startsWith('cursor')) return;
    await expectProblem(await ask(`/backup/${backup_id}/files/src/?${query}`), 400, code);
  });

  it('lists an empty archive, and one that holds one empty file', async () => {
    const nothing = await put('nothing.tar', tarOf([]));
    expect(await filesPage(nothing.backup_id)).toEqual({ files: [], cursor: null, stopped: null });
    const { backup_id } = await put('empty.tar', tarOf([{ path: 'e' }]));
    expect((await filesPage(backup_id)).files).toMatchObject([{ path: 'e', size: 0 }]);
    expect(await textAt(fileUrl(backup_id, 'e'))).toBe('');
  });

  it('answers 404 where there is no such backup', async () => {
    for (const path of ['files', 'files/a', 'files/', 'files/a/?format=tar']) {
      await expectProblem(await ask(`/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/${path}`), 404, 'not-found');
    }
  });
});

describe('the receipt', () => {
  it('says that the backup is an archive, and of how many members', async () => {
    const { backup_id } = await put('tree.tar', tree);
    expect(await (await ask(`/backup/${backup_id}`)).json()).toMatchObject({
      archive: { format: 'tar', members: 9, stopped: null },
    });
  });

  it('says where an archive breaks off, as the listing does, and the backup is good', async () => {
    const whole = tarOf([
      { path: 'good', content: sample(3000) },
      { path: 'cut', content: sample(3000) },
    ]);
    const torn = whole.slice(0, 6000);
    const odd = whole.slice();
    odd.fill(0x41, 3584 + 148, 3584 + 156);
    for (const archive of [torn, odd]) {
      const { backup_id, download_url } = await put('torn.tar', archive);
      const page = await filesPage(backup_id);
      expect(page.files.map(({ path }) => path)).toEqual(['good']);
      expect(page.stopped).toEqual({ offset: 3584, reason: expect.stringMatching(/[^.]$/) });
      const { archive: told } = await (await ask(`/backup/${backup_id}`)).json<{ archive: unknown }>();
      expect(told).toEqual({ format: 'tar', members: 1, stopped: page.stopped });
      expect(new Uint8Array(await (await ask(download_url)).arrayBuffer())).toEqual(archive);
      expect(await textAt(fileUrl(backup_id, 'good'))).toBe(text(sample(3000)));
    }
  });

  it('of an archive whose gzip or zstd breaks off says so too, and what came before is served', async () => {
    const noisy = tarOf([
      { path: 'good', content: 'safe' },
      { path: 'far', content: sample(6_000_000, 5) },
    ]);
    for (const packed of [await gzipped(noisy), await manyFrames(noisy, 1 << 20)]) {
      const { backup_id } = await put('torn.tgz', packed.slice(0, packed.length >> 1));
      const page = await filesPage(backup_id);
      expect(page.files.map(({ path }) => path)).toEqual(['good']);
      expect(page.stopped).not.toBeNull();
      expect(await textAt(fileUrl(backup_id, 'good'))).toBe('safe');
    }
  });
});

describe('what is no archive', () => {
  it.each([
    ['data.json', async () => utf8('{"a":1}')],
    ['named.tar', async () => utf8('only text, whatever its name says')],
    ['empty.tar', async () => new Uint8Array()],
    ['long.tar', async () => sample(20_000)],
    ['text.tar.gz', async () => gzipped(sample(20_000))],
    ['text.tar.zst', async () => oneFrame(sample(20_000))],
  ] as const)('%s is told so with 409', async (name, make) => {
    const { backup_id } = await put(name, new Uint8Array(await make()), '?allow_empty=true');
    expect(await (await ask(`/backup/${backup_id}`)).json()).toMatchObject({ archive: null });
    for (const path of ['files', 'files/', 'files/a', 'files/a/?format=tar', 'files/?format=tar']) {
      await expectProblem(await ask(`/backup/${backup_id}/${path}`), 409, 'not-an-archive');
    }
  });
});

describe.each(tarVectors)('the archive of $name, as a backup', (vector) => {
  it('lists and gives what its own program does', async () => {
    const { archive, listing } = await unpack(vector);
    const { backup_id } = await put('vector.tar', archive);
    const { files, stopped } = await filesPage(backup_id, '?limit=1000');
    expect(stopped).toBeNull();
    expect(files).toHaveLength(listing.length);
    const { members } = await scanned(archive);
    const digests = new Map(members.map(({ dataOffset }, i) => [dataOffset, listing[i]?.sha256]));
    const last = new Map(files.map(({ url, offset }) => [url, offset]));
    for (const file of files) {
      if (last.get(file.url) !== file.offset || !['file', 'sparse'].includes(file.type)) continue;
      const response = await ask(file.url);
      expect(response.status, file.url).toBe(200);
      const content = new Uint8Array(await response.arrayBuffer());
      expect((await sha256Hex(content)).slice(0, 16), file.url).toBe(digests.get(file.offset));
      expect(content.byteLength).toBe(file.size);
    }
  });
});
