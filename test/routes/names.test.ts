import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { tarOf } from '../support/archives.ts';
import { ask, expectProblem, put, type Receipt, sample, storedKeys } from '../support/vault.ts';
import { rejected, stored, WAYS_IN } from '../support/ways-in.ts';

const content = sample(300);

async function rows(): Promise<number> {
  return (await env.CATALOGUE.prepare('SELECT count(*) AS n FROM backups').first<number>('n')) ?? -1;
}

/** Everything in the catalogue and the bucket but the objects of jobs that failed. */
async function footprint() {
  return { rows: await rows(), keys: await storedKeys() };
}

describe.each(WAYS_IN)('$way', ({ way, send }) => {
  it('keeps the whole name, in NFC, and its last segment as the filename', async () => {
    const name = `web1/${way}/Cafe\u0301 "100%" %2F; #?.tar.gz`;
    const kept = { name: name.normalize('NFC'), filename: 'Caf\u00e9 "100%" %2F; #?.tar.gz', created_by: 'admin' };
    const receipt = await stored(send(name, content));
    expect(receipt).toMatchObject(way.includes('link') ? { ...kept, created_by: null } : kept);
    expect(await (await ask(`/backup/${receipt.backup_id}`)).json()).toMatchObject({
      ...kept,
      created_by: receipt.created_by,
    });
    const disposition = (await ask(receipt.download_url, { method: 'HEAD' })).headers.get('content-disposition') ?? '';
    expect(decodeURIComponent(disposition.split("UTF-8''")[1] ?? '')).toBe(kept.filename);
  });

  const names = {
    'that begins with a slash': '/a',
    'with an empty segment': 'a//b',
    'with a backslash': 'a\\b',
    'with a control character': 'a\u0000b',
    'with a bidirectional override': 'a\u202eb',
    'of 17 segments': `${'a/'.repeat(16)}b`,
    'with a segment of 256 bytes': 'x'.repeat(256),
    'of 513 bytes': `${'x'.repeat(250)}/${'x'.repeat(250)}/${'x'.repeat(11)}`,
  };
  // URL parsers remove these segments, so as a path they are other names.
  const notInPaths = { 'that is empty': '', 'of two dots': '..', 'with a dot as a segment': 'a/./b' };
  const isPath = ['PUT', 'the draft'].includes(way);
  it.each(Object.entries(isPath ? names : { ...names, ...notInPaths }))(
    'rejects a name %s, and keeps nothing',
    async (_, name) => {
      const before = await footprint();
      await expectProblem(await rejected(send(name, content)), 400, 'invalid-name');
      expect(await footprint()).toEqual(before);
    },
  );

  it('accepts any suffix and none', async () => {
    for (const name of ['suffix/none', 'suffix/a.exe', 'suffix/a.']) {
      expect((await stored(send(name, content))).name).toBe(name);
    }
  });

  it('rejects an archive that is not whole, and an empty file, where the sender says so', async () => {
    const tar = tarOf([{ path: 'a', content: 'x'.repeat(2000) }]);
    const before = await footprint();
    const broken = await rejected(send('whole/a.tar', tar.slice(0, 1024), { require: 'whole-archive' }));
    // tus answers the last chunk with the error of the upload.
    if (way.includes('tus'))
      expect(await broken.json()).toMatchObject({ code: expect.stringMatching(/broken-archive|upload-failed/) });
    else await expectProblem(broken, 422, 'broken-archive');
    const empty = new Uint8Array(0);
    await expectProblem(await rejected(send('whole/empty', empty)), 400, 'empty-upload');
    expect(await footprint()).toEqual(before);
    expect((await stored(send('whole/a.tar', tar, { require: 'whole-archive' }))).name).toBe('whole/a.tar');
    expect((await stored(send('whole/empty', empty, { allow_empty: 'true' }))).file_size).toBe(0);
  });
});

describe('the name of a form', () => {
  const send = (filename: string, fields: Record<string, string> = {}) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append('file', new Blob([content]), filename);
    return ask('/backup/upload', { method: 'POST', body: form });
  };

  it.each(['dir/site.tar', 'C:\\dir\\site.tar', '../site.tar', 'site.tar'])(
    'is the last segment of the filename %j',
    async (filename) => {
      expect(await (await send(filename)).json()).toMatchObject({ name: 'site.tar', filename: 'site.tar' });
    },
  );

  it('is that of the option, whatever the filename is', async () => {
    expect(await (await send('..', { name: 'web1/etc.tar' })).json()).toMatchObject({ name: 'web1/etc.tar' });
    await expectProblem(await send('..'), 400, 'invalid-name');
    await expectProblem(await send('a.tar', { name: '' }), 400, 'invalid-name');
    await expectProblem(await send('a.tar', { nmae: 'b.tar' }), 400, 'unknown-option');
  });
});

describe('the name in a path', () => {
  it.each([
    ['web1/etc.tar', 'web1/etc.tar'],
    ['web1%2Fetc.tar', 'web1/etc.tar'],
    ['web1%252Fetc.tar', 'web1%2Fetc.tar'],
    ['./web1/../web2/%2e/etc.tar', 'web2/etc.tar'],
    ['100%.tar', '100%.tar'],
    ['a+b.tar', 'a+b.tar'],
  ])('%s is decoded once', async (path, name) => {
    const response = await ask(`/backup/upload/${path}`, { method: 'PUT', body: content });
    expect(await response.json()).toMatchObject({ name });
    const [, ...segments] = `/${path}`.split('/upload/').join('/').split('/');
    const latest = await ask(`/latest/${segments.join('/')}`, { method: 'HEAD' });
    expect(latest.status).toBe(307);
  });

  it('may not end in a slash, to which a client was to append the filename', async () => {
    const response = await ask('/backup/upload/web1/', { method: 'PUT', body: content });
    expect(await response.clone().text()).toContain('has an empty segment');
    await expectProblem(response, 400, 'invalid-name');
  });
});

describe('an upload link', () => {
  const make = (body: object) =>
    ask('/backup/upload-links', {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    });

  it('takes its name as "name" or as "filename", and needs one', async () => {
    for (const body of [
      { name: 'web1/a b.tar' },
      { filename: 'web1/a b.tar' },
      { name: 'web1/a b.tar', filename: 'web1/a b.tar' },
    ]) {
      const { url, tus_url } = await (await make(body)).json<{ url: string; tus_url: string }>();
      expect(new URL(url).pathname).toBe('/backup/upload/web1/a%20b.tar');
      expect(new URL(tus_url).searchParams.get('name')).toBe('web1/a b.tar');
    }
    await expectProblem(await make({}), 400, 'invalid-request');
    await expectProblem(await make({ name: 'a', filename: 'b' }), 400, 'invalid-request');
    await expectProblem(await make({ name: 'a/../b' }), 400, 'invalid-name');
  });
});

describe('GET /backup', () => {
  interface Page {
    readonly backups: readonly Receipt[];
    readonly prefixes: readonly string[];
    readonly cursor: string | null;
  }
  const list = async (query: string): Promise<Page> => (await ask(`/backup?${query}`)).json<Page>();

  it('lists the versions of a name, folders, and what is before or after a time', async () => {
    const ids: string[] = [];
    for (const name of ['list/a', 'list/b/x', 'list/a', 'list/c', 'list/b/y'])
      ids.push((await put(name, content)).backup_id);
    expect((await list('name=list/a')).backups.map(({ backup_id }) => backup_id)).toEqual([ids[2], ids[0]]);
    const folder = await list('prefix=list/&delimiter=/');
    expect(folder.backups.map(({ name }) => name)).toEqual(['list/a', 'list/a', 'list/c']);
    expect(folder).toMatchObject({ prefixes: ['list/b/'], cursor: null });
    expect((await list('prefix=list/')).backups.map(({ backup_id }) => backup_id)).toEqual(ids.toReversed());
    const tomorrow = new Date(Date.now() + 86_400_000).toISOString();
    expect((await list(`prefix=list/&before=${tomorrow}&after=2026-01-01`)).backups).toHaveLength(5);
    expect((await list(`prefix=list/&after=${tomorrow.slice(0, 10)}`)).backups).toEqual([]);
    expect(await list('prefix=list/&before=2026-01-01&delimiter=/')).toEqual({
      backups: [],
      prefixes: [],
      cursor: null,
    });
  });

  it('lists damaged backups alone, of names that are given in NFD too', async () => {
    const { backup_id } = await put('damage/caf\u00e9', content);
    await put('damage/whole', content);
    await env.VAULT.put(
      `data/${backup_id}`,
      new Uint8Array((await (await env.VAULT.get(`data/${backup_id}`))?.bytes())?.length ?? 0),
    );
    await expectProblem(await ask(`/backup/${backup_id}/verify`, { method: 'POST' }), 422, 'stored-data-corrupt');
    for (const query of [
      'prefix=damage/',
      'prefix=damage/&delimiter=/',
      `name=${encodeURIComponent('damage/cafe\u0301')}`,
    ]) {
      expect(
        (await list(`damaged=true&${query}`)).backups.map((one) => one.backup_id),
        query,
      ).toEqual([backup_id]);
    }
    expect((await list('damaged=false&prefix=damage/')).backups).toHaveLength(2);
  });

  it.each([
    'before=yesterday',
    'after=2026-02-30',
    'before=2026-01-01T00:00',
    'after=1700000000',
    'damaged=yes',
    'delimiter=.',
  ])('rejects %s', async (query) => {
    await expectProblem(await ask(`/backup?${query}`), 400, 'invalid-option');
  });

  it('takes the cursor of one order for no place in the other', async () => {
    await put('order/a', content);
    await put('order/b', content);
    const byAge = await list('limit=1');
    const byName = await list('limit=1&delimiter=/&prefix=order/');
    await expectProblem(await ask(`/backup?cursor=${byName.cursor}`), 400, 'invalid-cursor');
    await expectProblem(await ask(`/backup?delimiter=/&cursor=${byAge.cursor}`), 400, 'invalid-cursor');
  });
});

describe('a receipt in the bucket', () => {
  it('has the name and rebuilds its row; one that is older than names has its filename for one', async () => {
    const { backup_id } = await put('receipts/web1.tar', content, '?expires_at=2099-01-01');
    const receipt: Record<string, unknown> = (await (await env.VAULT.get(`receipt/${backup_id}`))?.json()) ?? {};
    const added = { name: 'receipts/web1.tar', created_by: 'admin', expires_at: '2099-01-01T00:00:00.000Z' };
    expect(receipt).toMatchObject({ ...added, filename: 'web1.tar' });
    await env.CATALOGUE.prepare('DELETE FROM backups').run();
    expect((await ask('/reindex', { method: 'POST' })).status).toBe(200);
    expect(await (await ask(`/backup/${backup_id}`)).json()).toMatchObject(added);
    const { name: _, created_by: __, expires_at: ___, ...old } = receipt;
    await env.VAULT.put(`receipt/${backup_id}`, JSON.stringify(old));
    expect((await ask('/reindex', { method: 'POST' })).status).toBe(200);
    const rebuilt = { name: 'web1.tar', filename: 'web1.tar', created_by: null, expires_at: null };
    expect(await (await ask(`/backup/${backup_id}`)).json()).toMatchObject(rebuilt);
    const exported = await (await ask('/export/stream')).json<{ backup_id: string }[]>();
    expect(exported.find((one) => one.backup_id === backup_id)).toMatchObject(rebuilt);
  });
});
