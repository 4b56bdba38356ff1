import { describe, expect, it } from 'vitest';
import { utf8 } from '../../src/shared/bytes.ts';
import { backupOf, filesPage, fileUrl, MTIME } from '../support/archives.ts';
import { ask, expectProblem } from '../support/vault.ts';

describe("a member's headers", () => {
  it.each([
    ['page.html', 'text/html'],
    ['SHOUT.TXT', 'text/plain'],
    ['data.json', 'application/json'],
    ['photo.JPEG', 'image/jpeg'],
    ['noext', 'application/octet-stream'],
    ['.hidden', 'application/octet-stream'],
    ['odd.zzzz', 'application/octet-stream'],
    ['trap.html/plain', 'application/octet-stream'],
  ])('name the type of %s', async (path, type) => {
    const id = await backupOf([{ path, content: 'x' }]);
    const response = await ask(fileUrl(id, path));
    expect(response.headers.get('content-type')?.split(';')[0]).toBe(type);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('content-disposition')).toMatch(/^attachment; /);
    expect(response.headers.get('accept-ranges')).toBe('bytes');
    expect(response.headers.get('cache-control')).toBe('private, no-cache, no-transform');
    await response.body?.cancel();
  });

  it.each([
    ['dir/größe.txt', `filename="gr__e.txt"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt`],
    ['a"b.txt', `filename="a_b.txt"; filename*=UTF-8''a%22b.txt`],
    ['x\r\nset-cookie: a=1', `filename="x__set-cookie: a=1"; filename*=UTF-8''x%0D%0Aset-cookie%3A%20a%3D1`],
    ['🧊', `filename="_"; filename*=UTF-8''%F0%9F%A7%8A`],
    ['dir/..', 'filename=".."'],
  ])('name %j safely', async (path, disposition) => {
    const id = await backupOf([{ path, content: 'x' }]);
    const { files } = await filesPage(id);
    for (const method of ['GET', 'HEAD']) {
      const response = await ask(files[0]?.url ?? '', { method });
      expect(response.headers.get('content-disposition')).toBe(`attachment; ${disposition}`);
      expect(response.headers.get('set-cookie')).toBeNull();
      await response.body?.cancel();
    }
  });

  it('stay small where a name is longer than any file system takes', async () => {
    const id = await backupOf([{ path: `dir/${'é'.repeat(8000)}.json`, content: '{}' }]);
    const { files } = await filesPage(id);
    const { headers } = await ask(files[0]?.url ?? '', { method: 'HEAD' });
    expect(headers.get('content-type')).toMatch(/^application\/json/);
    expect(headers.get('content-disposition')).toMatch(/^attachment; .*(%C3%A9){250}\.json$/);
    expect(headers.get('content-disposition')?.length).toBeLessThan(4096);
  });

  it('take another name where the client gives one, and no unusable one', async () => {
    const id = await backupOf([{ path: 'a.txt', content: '{}' }]);
    const response = await ask(fileUrl(id, 'a.txt?filename=b%20%C3%BC.json'));
    expect(response.headers.get('content-disposition')).toContain("filename*=UTF-8''b%20%C3%BC.json");
    expect(response.headers.get('content-type')).toMatch(/^application\/json/);
    expect(await response.text()).toBe('{}');
    for (const name of ['..', 'a%2F', 'a%00', '']) {
      await expectProblem(await ask(fileUrl(id, `a.txt?filename=${name}`)), 400, 'invalid-filename');
    }
  });

  it('have a tag of their own for each member, and for each of one name', async () => {
    const entries = [
      { path: 'a', content: 'same' },
      { path: 'b', content: 'same' },
      { path: 'c', content: '' },
      { path: 'd', content: '' },
    ];
    const tags = new Set<string | null>();
    for (const id of [await backupOf(entries), await backupOf([...entries, { path: 'a', content: 'late' }])]) {
      for (const { url } of (await filesPage(id)).files) {
        const tag = (await ask(url, { method: 'HEAD' })).headers.get('etag');
        expect(tag).toMatch(/^"[^"]+"$/);
        tags.add(tag);
      }
    }
    expect(tags.size).toBe(8);
  });

  it.each([
    ['its own', MTIME, 'Tue, 14 Nov 2023 22:13:20 GMT'],
    ['before 1970', { seconds: -5, nanos: 0 }, 'Thu, 01 Jan 1970 00:00:00 GMT'],
    ['with parts of a second', { seconds: 1, nanos: 999_999_999 }, 'Thu, 01 Jan 1970 00:00:01 GMT'],
  ] as const)('tell the time of a member: %s', async (_, mtime, told) => {
    const id = await backupOf([{ path: 'a', content: 'a', mtime }]);
    expect((await ask(fileUrl(id, 'a'), { method: 'HEAD' })).headers.get('last-modified')).toBe(told);
  });

  it.each([4e9, 8 ** 11 - 1, 1e14, -1e14])(
    'tell no time that is still to come (%i), nor one out of bounds',
    async (seconds) => {
      const id = await backupOf([{ path: 'a', content: 'a', mtime: { seconds, nanos: 0 } }]);
      const { created_at } = await (await ask(`/backup/${id}`)).json<{ created_at: string }>();
      const told = Date.parse((await ask(fileUrl(id, 'a'), { method: 'HEAD' })).headers.get('last-modified') ?? '');
      expect(told).toBe(seconds < 0 ? 0 : Math.floor(Date.parse(created_at) / 1000) * 1000);
      const [file] = (await filesPage(id)).files;
      expect(Date.parse(file?.mtime ?? '')).toBe(Math.min(8.64e15, Math.max(-8.64e15, seconds * 1000)));
    },
  );

  it('are the same for HEAD', async () => {
    const id = await backupOf([{ path: 'a.txt', content: utf8('content') }]);
    const [get, head] = [await ask(fileUrl(id, 'a.txt')), await ask(fileUrl(id, 'a.txt'), { method: 'HEAD' })];
    expect(await get.text()).toBe('content');
    expect(head.body).toBeNull();
    const told = ({ headers }: Response) => [...headers].filter(([name]) => name !== 'x-request-id');
    expect(told(head)).toEqual(told(get));
    expect(head.headers.get('content-length')).toBe('7');
  });
});
