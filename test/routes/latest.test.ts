import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { recordVerification } from '../../src/catalogue/backups.ts';
import { createApp } from '../../src/http/app.ts';
import { tarOf } from '../support/archives.ts';
import { countingBucket } from '../support/counting-bucket.ts';
import { ask, expectProblem, put, sample } from '../support/vault.ts';

const DAMAGE = { found_at: '2026-11-24T07:30:00.000Z', reason: 'x', frame: null, offset: null };

interface Link {
  readonly url: string;
  readonly expires_at: string;
}

function postJson(path: string, body: object): Promise<Response> {
  return ask(path, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });
}

async function linkTo(name: string, body: object = {}): Promise<Link> {
  const response = await postJson(`/latest/${name}/links`, body);
  expect(response.status, await response.clone().text()).toBe(200);
  return response.json<Link>();
}

async function locationOf(address: string, token?: null): Promise<string> {
  const response = await ask(address, { token });
  expect(response.status, await response.clone().text()).toBe(307);
  return response.headers.get('location') ?? '';
}

async function textAt(address: string, token?: null): Promise<string> {
  const response = await ask(address, { token });
  expect(response.status).toBe(200);
  return response.text();
}

describe('GET /latest/{name}', () => {
  it('redirects to the newest version that is undamaged', async () => {
    const versions = [];
    for (const n of [1, 2, 3]) versions.push(await put('latest/etc.tar', sample(10 + n)));
    await put('latest/etc.tar.gz', sample(20));
    const newest = await ask('/latest/latest/etc.tar');
    expect(newest.status).toBe(307);
    expect(newest.headers.get('location')).toBe(versions[2]?.download_url);
    expect(newest.headers.get('coldstream-backup-id')).toBe(versions[2]?.backup_id);
    expect(newest.headers.get('cache-control')).toBe('no-store');
    await recordVerification(env.CATALOGUE, versions[2]?.backup_id ?? '', { verified_at: null, damage: DAMAGE });
    expect(await locationOf('/latest/latest%2Fetc.tar')).toBe(versions[1]?.download_url);
    expect((await ask(`/backup/${versions[1]?.backup_id}`, { method: 'DELETE' })).status).toBe(204);
    expect(await locationOf('/latest/latest/etc.tar/')).toBe(versions[0]?.download_url);
    await recordVerification(env.CATALOGUE, versions[0]?.backup_id ?? '', { verified_at: null, damage: DAMAGE });
    await expectProblem(await ask('/latest/latest/etc.tar'), 404, 'not-found');
  });

  it.each([
    ['in NFD', 'nfc/Cafe\u0301.tar', 'nfc/Caf\u00e9.tar'],
    ['with letters of URLs', 'odd/a%20b?c#d&e+f.tar', 'odd/a%20b?c#d&e+f.tar'],
    ['that ends in "links"', 'odd/links', 'odd/links'],
    ['of 16 segments', 'a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p', 'a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p'],
  ])('finds a name %s', async (_, asked, name) => {
    const { download_url } = await put(name, sample(10));
    const path = asked.split('/').map(encodeURIComponent).join('/');
    expect(await locationOf(`/latest/${path}`)).toBe(download_url);
    const { url } = await linkTo(path);
    expect(await locationOf(url, null)).toContain(download_url);
  });

  it('passes on what the download, a member or a directory is asked for', async () => {
    const tar = tarOf([
      { path: 'etc', type: 'directory' },
      { path: 'etc/hosts', content: 'localhost' },
      { path: 'etc/a b%', content: 'odd' },
    ]);
    const { backup_id } = await put('members/etc.tar', tar);
    const of = (query: string) => locationOf(`/latest/members/etc.tar?${query}`);
    expect(await of('format=gz&filename=x.gz')).toBe(`/backup/${backup_id}/download?format=gz&filename=x.gz`);
    expect(await textAt(await of('path=etc/hosts'))).toBe('localhost');
    expect(await textAt(await of('path=etc/a%20b%25'))).toBe('odd');
    const directory = await ask(await of('path=etc/&format=tar&filename=e.tar'));
    expect(directory.headers.get('content-disposition')).toContain('filename="e.tar"');
    await directory.body?.cancel();
    expect(await of('format=tar')).toBe(`/backup/${backup_id}/files/?format=tar`);
    await expectProblem(await ask(await of('path=none')), 404, 'not-found');
    await expectProblem(await ask('/latest/members/etc.tar?path=etc/hosts&format=zst'), 400, 'option-not-applicable');
    await expectProblem(await ask('/latest/members/etc.tar?filename=..'), 400, 'invalid-filename');
    await expectProblem(await ask('/latest/members/etc.tar?pth=a'), 400, 'unknown-option');
  });

  it('reads nothing of the bucket, and answers HEAD alike', async () => {
    await put('head/etc.tar', tarOf([{ path: 'a', content: 'a' }]));
    const { bucket, reads } = countingBucket(env.VAULT);
    const headers = { authorization: `Bearer ${env.ADMIN_TOKEN}` };
    const answers = ['GET', 'HEAD'].map(async (method) => {
      const request = new Request('https://vault.test/latest/head/etc.tar?path=a', {
        method,
        headers,
        redirect: 'manual',
      });
      const response = await createApp().fetch(request, { ...env, VAULT: bucket });
      return [response.status, response.headers.get('location')];
    });
    const [get, head] = await Promise.all(answers);
    expect(head).toEqual(get);
    expect(get?.[0]).toBe(307);
    expect(reads).toEqual([]);
  });

  it('takes its methods, and tells others', async () => {
    const options = await ask('/latest/a/b/c', { method: 'OPTIONS', token: null });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'GET, HEAD, OPTIONS']);
    const links = await ask('/latest/a/b/c/links', { method: 'OPTIONS', token: null });
    expect([links.status, links.headers.get('allow')]).toEqual([204, 'POST, OPTIONS']);
    await expectProblem(await ask('/latest/a/b', { method: 'DELETE' }), 405, 'method-not-allowed');
    for (const path of ['/latest', '/latest/']) await expectProblem(await ask(path), 404, 'not-found');
    await expectProblem(await ask('/latest/links', { method: 'POST' }), 405, 'method-not-allowed');
  });
});

describe('a link to the latest version', () => {
  it('serves the newest at any time, by GET and HEAD, until it expires', async () => {
    await put('shared/report.json', '"old"');
    const { url, expires_at } = await linkTo('shared/report.json', { expires_in: 60, filename: 'report.json' });
    expect(new URL(url).pathname).toBe('/latest/shared/report.json');
    const old = await locationOf(url, null);
    expect(await textAt(old, null)).toBe('"old"');
    const { backup_id } = await put('shared/report.json', '"new"');
    const location = await locationOf(url, null);
    expect(location).toContain(backup_id);
    const download = await ask(location, { token: null });
    expect(download.headers.get('content-disposition')).toContain('filename="report.json"');
    expect(await download.text()).toBe('"new"');
    expect(new URLSearchParams(location.split('?')[1]).get('expires')).toBe(String(Date.parse(expires_at) / 1000));
    expect((await ask(url, { method: 'HEAD', token: null })).status).toBe(307);
    expect(await textAt(old, null), 'the address of a version stays that version').toBe('"old"');
  });

  it('opens a member of the newest version, and nothing else', async () => {
    await put('shared/etc.tar', tarOf([{ path: 'etc/hosts', content: 'old' }]));
    const { url } = await linkTo('shared/etc.tar', { path: 'etc/hosts' });
    await put(
      'shared/etc.tar',
      tarOf([
        { path: 'etc/hosts', content: 'new' },
        { path: 'etc/shadow', content: 'secret' },
      ]),
    );
    const location = await locationOf(url, null);
    expect(await textAt(location, null)).toBe('new');
    for (const altered of [
      url.replace('path=etc%2Fhosts', 'path=etc%2Fshadow'),
      url.replace('etc.tar', 'report.json'),
      `${url}&format=tar`,
      location.replace('hosts', 'shadow'),
      location.replace(/files\/.*\?/, 'download?'),
    ]) {
      await expectProblem(await ask(altered, { token: null }), 403, 'bad-signature');
    }
  });

  it('and what it redirects to end together: at its time, and with the key that signed it', async () => {
    await put('ended/a.bin', sample(10));
    const { url } = await linkTo('ended/a.bin', { expires_in: 1 });
    const location = await locationOf(url, null);
    await scheduler.wait(1_100);
    for (const each of [url, location]) await expectProblem(await ask(each, { token: null }), 403, 'link-expired');
    const app = createApp();
    const [newest, older] = env.LINK_SIGNING_KEYS.split(',');
    const asked = (path: string, keys: string) =>
      app.fetch(new Request(new URL(path, 'https://vault.test'), { redirect: 'manual' }), {
        ...env,
        LINK_SIGNING_KEYS: keys,
      });
    const lasting = await linkTo('ended/a.bin');
    const rotated = await asked(lasting.url, `${older},${newest}`);
    const target = rotated.headers.get('location') ?? '';
    expect(target).toContain('key_id=k2');
    expect((await asked(target, String(older))).status).toBe(403);
  });

  it('needs a version that it can open', async () => {
    await put('shared/none.bin', sample(10));
    await expectProblem(await postJson('/latest/shared/nothing/links', {}), 404, 'not-found');
    await expectProblem(await postJson('/latest/shared/none.bin/links', { path: 'a' }), 409, 'not-an-archive');
    await expectProblem(await postJson('/latest/shared/none.bin/links', { filename: '..' }), 400, 'invalid-filename');
    await expectProblem(await postJson('/latest/shared/none.bin/links', { expires: 5 }), 400, 'unknown-option');
  });

  it('is 404 once no version is left', async () => {
    const { backup_id } = await put('shared/gone.bin', sample(10));
    const { url } = await linkTo('shared/gone.bin');
    await ask(`/backup/${backup_id}`, { method: 'DELETE' });
    await expectProblem(await ask(url, { token: null }), 404, 'not-found');
  });
});
