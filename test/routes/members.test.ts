import { describe, expect, it } from 'vitest';
import { concat } from '../../src/shared/bytes.ts';
import {
  backupOf,
  bodyOf,
  filesPage,
  fileUrl,
  gzipped,
  manyFrames,
  oneFrame,
  owned,
  tarOf,
  textAt,
} from '../support/archives.ts';
import { ask, expectProblem, put, sample, sha256Hex } from '../support/vault.ts';
import { paxMember, rawMember, unpack } from '../unit/archive/tar-samples.ts';
import { tarVectors } from '../vectors/tar.ts';

describe('GET /backup/{id}/files/{path}', () => {
  const big = sample(5_000_000, 3);
  const archive = tarOf([
    { path: 'first', content: 'the first' },
    { path: 'big', content: big },
    { path: 'dir/last', content: 'the last' },
  ]);

  it.each([
    ['a.tar', '', async () => archive],
    ['a.tar', '?compression=none', async () => archive],
    ['a.tar', '?level=1', async () => archive],
    ['a.tar.gz', '', () => gzipped(archive)],
    ['a.tar.gz', '?compression=zstd', () => gzipped(archive)],
    [
      'a.tar.gz',
      '',
      async () => concat([await gzipped(archive.slice(0, 70_001)), await gzipped(archive.slice(70_001))]),
    ],
    ['a.tar.zst', '', async () => oneFrame(archive)],
    ['a.tar.zst', '', () => manyFrames(archive, 1 << 20)],
    ['a.tar.zst', '', () => manyFrames(archive, 1000)],
    ['a.tar.zst', '?compression=zstd', () => manyFrames(archive, 1 << 20)],
    ['a.tar.zst', '?compression=none', async () => concat([oneFrame(archive.slice(0, 9)), oneFrame(archive.slice(9))])],
  ] as const)('gives each member out of %s, uploaded with "%s" (%#)', async (name, query, make) => {
    const { backup_id } = await put(name, owned(await make()), query);
    expect(await textAt(fileUrl(backup_id, 'dir/last'))).toBe('the last');
    expect(await textAt(fileUrl(backup_id, 'first'))).toBe('the first');
    const response = await ask(fileUrl(backup_id, 'big'));
    expect(response.headers.get('content-length')).toBe(String(big.length));
    expect(await sha256Hex(owned(await bodyOf(response)))).toBe(await sha256Hex(big));
    const part = await ask(fileUrl(backup_id, 'big'), { headers: { range: 'bytes=1000000-3000000' } });
    expect(part.status).toBe(206);
    expect(await sha256Hex(owned(await bodyOf(part)))).toBe(await sha256Hex(big.slice(1_000_000, 3_000_001)));
  });

  it('gives of a name that comes twice the later one', async () => {
    const id = await backupOf([
      { path: 'twice', content: 'one' },
      { path: 'other', content: 'x' },
      { path: 'twice', content: 'two!' },
    ]);
    expect((await filesPage(id)).files.map(({ size }) => size)).toEqual([1, 3, 4]);
    expect(await textAt(fileUrl(id, 'twice'))).toBe('two!');
  });

  it('follows hard links to the bytes that tar would have linked', async () => {
    const id = await backupOf([
      { path: 'a', content: 'early' },
      { path: 'link-to-early', type: 'hardlink', linkTarget: 'a' },
      { path: 'a', content: 'late' },
      { path: 'link-to-late', type: 'hardlink', linkTarget: 'a' },
      { path: 'link-to-link', type: 'hardlink', linkTarget: 'link-to-early' },
    ]);
    expect(await textAt(fileUrl(id, 'link-to-early'))).toBe('early');
    expect(await textAt(fileUrl(id, 'link-to-late'))).toBe('late');
    expect(await textAt(fileUrl(id, 'link-to-link'))).toBe('early');
    const response = await ask(fileUrl(id, 'link-to-early'), { method: 'HEAD' });
    expect(response.headers.get('coldstream-member-type')).toBe('hardlink');
    expect(response.headers.get('content-length')).toBe('5');
    expect(response.headers.get('content-disposition')).toContain('"link-to-early"');
  });

  it('tells of links, directories and devices as JSON, and never follows', async () => {
    const id = await backupOf([
      { path: 'secret', content: 'not by a link' },
      { path: 'soft', type: 'symlink', linkTarget: 'secret' },
      { path: 'out', type: 'symlink', linkTarget: '/etc/passwd' },
      { path: 'dir', type: 'directory' },
      { path: 'disk', type: 'block', device: { major: 8, minor: 1 } },
      { path: 'tty', type: 'character', device: { major: 5, minor: 0 } },
      { path: 'pipe', type: 'fifo' },
    ]);
    const { files } = await filesPage(id);
    for (const file of files.filter(({ path }) => path !== 'secret')) {
      const response = await ask(file.url);
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toBe('application/json');
      expect(response.headers.get('coldstream-member-type')).toBe(file.type);
      expect(await response.json()).toEqual(file);
      const head = await ask(file.url, { method: 'HEAD' });
      expect(head.status).toBe(200);
      expect(head.headers.get('coldstream-member-type')).toBe(file.type);
      expect(await head.text()).toBe('');
    }
    expect(await textAt(fileUrl(id, 'secret'))).toBe('not by a link');
  });

  it('fills the holes of sparse files', async () => {
    for (const name of ['GNU tar, sparse 1.0', 'GNU tar, old sparse']) {
      const vector = tarVectors.find((one) => one.name === name);
      if (!vector) throw new Error('no such vector');
      const { archive, listing } = await unpack(vector);
      const { backup_id } = await put('sparse.tar', archive);
      for (const file of (await filesPage(backup_id)).files.filter(({ type }) => type === 'sparse')) {
        const response = await ask(file.url);
        expect(response.headers.get('coldstream-member-type')).toBe('sparse');
        const bytes = owned(await bodyOf(response));
        expect((await sha256Hex(bytes)).slice(0, 16)).toBe(listing.find(({ path }) => path === file.path)?.sha256);
        const part = await ask(file.url, { headers: { range: 'bytes=500-70000' } });
        expect(part.headers.get('content-range')).toBe(`bytes 500-${Math.min(70_000, file.size - 1)}/${file.size}`);
        expect(await bodyOf(part)).toEqual(bytes.slice(500, 70_001));
      }
    }
  });

  it('tells that the map of a sparse file cannot be read, and gives no bytes of it', async () => {
    const pax = paxMember([
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', 'holes'],
      ['GNU.sparse.realsize', '5000'],
    ]);
    for (const map of ['no map', '1\n0\n', '1\n0\n9999999999\n', '2\n600\n10\n0\n10\n']) {
      const archive = concat([
        pax,
        rawMember({ name: 'holes' }, map.padEnd(512, '\0')),
        tarOf([{ path: 'b', content: 'b' }]),
      ]);
      const { backup_id } = await put('sparse.tar', owned(archive));
      await expectProblem(await ask(fileUrl(backup_id, 'holes')), 422, 'sparse-map-malformed');
      await expectProblem(
        await ask(fileUrl(backup_id, 'holes'), { headers: { range: 'bytes=0-9' } }),
        422,
        'sparse-map-malformed',
      );
      expect(await textAt(fileUrl(backup_id, 'b'))).toBe('b');
      await expect((await ask(fileUrl(backup_id, '?format=tar'))).arrayBuffer()).rejects.toThrow();
    }
  });

  it('finds what lies in an archive of "." with and without "./"', async () => {
    const id = await backupOf([
      { path: '.', type: 'directory' },
      { path: './a', content: 'a' },
      { path: './dir/b', content: 'b' },
      { path: './hard', type: 'hardlink', linkTarget: './a' },
    ]);
    const { files } = await filesPage(id);
    expect(files.map(({ path }) => path)).toEqual(['.', './a', './dir/b', './hard']);
    for (const [path, content] of [
      ['a', 'a'],
      ['.%2Fa', 'a'],
      ['dir/b', 'b'],
      ['hard', 'a'],
    ] as const) {
      expect(await textAt(fileUrl(id, path))).toBe(content);
    }
    for (const file of files) expect((await ask(file.url)).status, file.url).toBe(200);
    expect(await (await ask(fileUrl(id, 'dir/'))).json()).toMatchObject({ files: [{ path: './dir/b' }] });
  });

  it('answers a page of the directory where the path ends with a slash', async () => {
    const id = await backupOf([
      { path: 'd', type: 'directory' },
      { path: 'd/f', content: 'f' },
      { path: 'd/e/g', content: 'g' },
      { path: 'top', content: 't' },
    ]);
    const d = await (await ask(fileUrl(id, 'd/'))).json();
    expect(d).toMatchObject({ files: [{ path: 'd/f' }], prefixes: ['d/e/'], cursor: null, stopped: null });
    expect(await (await ask(fileUrl(id, 'd/e/'))).json()).toMatchObject({ files: [{ path: 'd/e/g' }], prefixes: [] });
    const root = await (await ask(fileUrl(id, ''))).json();
    expect(root).toMatchObject({ files: [{ path: 'd' }, { path: 'top' }], prefixes: ['d/'] });
    const page = await (await ask(fileUrl(id, 'd/?limit=1'))).json<{ cursor: string }>();
    expect(page).toMatchObject({ files: [], prefixes: ['d/e/'] });
    const next = await (await ask(fileUrl(id, `d/?limit=1&cursor=${page.cursor}`))).json();
    expect(next).toMatchObject({ files: [{ path: 'd/f' }], prefixes: [], cursor: null });
    for (const path of ['top/', 'd/f/', 'none/', 'to/']) {
      await expectProblem(await ask(fileUrl(id, path)), 404, 'not-found');
    }
  });
});

describe('hostile paths', () => {
  const long = `${'p/'.repeat(2047)}x`;
  const longest = 'n'.repeat(16 * 1024 - 1);
  const listed: [string, string][] = [
    ['../up', '..%2Fup'],
    ['../../etc/passwd', '..%2F..%2Fetc%2Fpasswd'],
    ['..', '..%2F'],
    ['a/../b', 'a%2F..%2Fb'],
    ['/abs', '%2Fabs'],
    ['//two', '%2F%2Ftwo'],
    ['a//b', 'a%2F%2Fb'],
    ['line\r\nset-cookie: a=b', 'line%0D%0Aset-cookie:%20a=b'],
    ['per%cent', 'per%25cent'],
    ['per%2Fcent', 'per%252Fcent'],
    ['plus+and space', 'plus+and%20space'],
    ['q?x=1#y', 'q%3Fx=1%23y'],
    ['back\\slash', 'back%5Cslash'],
    ['files', 'files'],
    [long, long],
    [longest, longest],
  ];

  it('are data: each that is listed is found, as its address in the listing and as people write it', async () => {
    const id = await backupOf(listed.map(([path], i) => ({ path, content: `content ${i}` })));
    const { files } = await filesPage(id);
    expect(files).toHaveLength(listed.length);
    for (const [i, [path, encoded]] of listed.entries()) {
      const file = files.find((one) => one.path === path);
      expect(await textAt(file?.url ?? ''), path).toBe(`content ${i}`);
      expect(await textAt(fileUrl(id, encoded)), encoded).toBe(`content ${i}`);
    }
  });

  it('that are not listed are not found', async () => {
    const id = await backupOf([{ path: 'a/b', content: 'only this' }]);
    const paths = [...listed.map(([, encoded]) => encoded), 'a', 'a%2F%2Fb', 'a/b%00', 'A/b', 'a/b/c', '%', '%2'];
    for (const path of [...paths, 'x'.repeat(20 * 1024), '%2F'.repeat(7000), '.%2Fa%2F.%2Fb', '%C3%28']) {
      await expectProblem(await ask(fileUrl(id, path)), 404, 'not-found');
    }
  });

  it('never reach out of the archive', async () => {
    const id = await backupOf([{ path: 'a', content: 'a' }]);
    for (const path of ['..%2Freceipt', '..%2Fdata', '..%2Findex', '%2E%2E%2Freceipt', '..%5Creceipt']) {
      await expectProblem(await ask(fileUrl(id, path)), 404, 'not-found');
      await expectProblem(await ask(fileUrl(id, `${path}/?format=tar`)), 404, 'not-found');
    }
  });

  it('are found also where they are not UTF-8', async () => {
    const path = Uint8Array.of(0xff, 0x2f, 0xe9, 0x80);
    const id = await backupOf([{ path, content: 'bytes' }]);
    const { files } = await filesPage(id);
    expect(files[0]?.url).toBe(`/backup/${id}/files/%FF/%E9%80`);
    expect(await textAt(fileUrl(id, '%ff%2f%e9%80'))).toBe('bytes');
    const disposition = (await ask(files[0]?.url ?? '', { method: 'HEAD' })).headers.get('content-disposition');
    expect(disposition).toMatch(/^attachment; filename="[ -~]+"; filename\*=UTF-8''(%EF%BF%BD)+$/);
  });
});
