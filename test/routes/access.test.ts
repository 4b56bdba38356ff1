import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { tarOf } from '../support/archives.ts';
import { ask, expectProblem, put, sample } from '../support/vault.ts';
import { scanned } from '../unit/archive/tar-samples.ts';

interface Link {
  url: string;
  expires_at: string;
}

async function post<T>(path: string, body: unknown = {}): Promise<T> {
  const response = await ask(path, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });
  expect(response.status, await response.clone().text()).toBeLessThan(300);
  return response.json<T>();
}

const asNobody = { token: null };

describe('tokens', () => {
  it('open what their scopes name, and nothing else', async () => {
    const { backup_id } = await put('scoped.tar', tarOf([{ path: 'dir/file', content: 'x' }]));
    const needs: [string, string, string][] = [
      ['GET', '/backup', 'read'],
      ['GET', `/backup/${backup_id}`, 'read'],
      ['GET', `/backup/${backup_id}/download`, 'read'],
      ['GET', `/backup/${backup_id}/files`, 'read'],
      ['GET', `/backup/${backup_id}/files/`, 'read'],
      ['GET', `/backup/${backup_id}/files/dir/file`, 'read'],
      ['GET', `/backup/${backup_id}/files/dir%2Ffile`, 'read'],
      ['GET', `/backup/${backup_id}/files/dir/`, 'read'],
      ['GET', `/backup/${backup_id}/files/dir/?format=tar`, 'read'],
      ['GET', '/latest/scoped.tar', 'read'],
      ['POST', '/latest/scoped.tar/links', 'read'],
      ['POST', `/backup/${backup_id}/links`, 'read'],
      ['GET', '/jobs/x', 'read'],
      ['PUT', '/backup/upload/a.tar', 'write'],
      ['POST', '/backup/upload-links', 'write'],
      ['GET', '/tokens', 'admin'],
      ['POST', '/reindex', 'admin'],
      ['POST', `/backup/${backup_id}/verify`, 'admin'],
      ['GET', '/export/stream', 'admin'],
      ['DELETE', `/backup/${backup_id}`, 'admin'],
    ];
    for (const scope of ['read', 'write']) {
      const { token } = await post<{ token: string }>('/tokens', { name: scope, scopes: [scope] });
      for (const [method, path, needed] of needs) {
        const body = method === 'PUT' ? sample(5) : method === 'POST' ? '{"filename":"a.tar"}' : undefined;
        const response = await ask(path, { method, token, body, headers: { 'content-type': 'application/json' } });
        if (needed === scope) expect(response.status, `${method} ${path}`).toBeLessThan(400);
        else await expectProblem(response, 403, 'forbidden');
        if (needed === scope) await response.body?.cancel();
      }
    }
    const { token: writes } = await post<{ token: string }>('/tokens', { name: 'w', scopes: ['write'] });
    for (const path of ['download', 'files', 'files/', 'files/dir/file', 'files/dir/?format=tar']) {
      const head = async (token: string | null) =>
        (await ask(`/backup/${backup_id}/${path}`, { method: 'HEAD', token })).status;
      expect([await head(env.ADMIN_TOKEN), await head(writes), await head(null)], path).toEqual([200, 403, 401]);
    }
    for (const [method, path] of needs) {
      const response = await ask(path, { method, token: null });
      expect(response.headers.get('www-authenticate')).toBe('Basic realm="Coldstream", charset="UTF-8", Bearer');
      await expectProblem(response, 401, 'unauthorized');
    }
  });

  it('are shown once, stored as hashes, expire and are revoked', async () => {
    const made = await post<{ token: string; id: string }>('/tokens', {
      name: 'ci',
      scopes: ['read'],
      expires_in: 1000,
    });
    const listed = await (await ask('/tokens')).text();
    expect(listed).toContain(made.id);
    expect(listed).not.toContain(made.token);
    const stored = JSON.stringify((await env.CATALOGUE.prepare('SELECT * FROM tokens').all()).results);
    // Not up to the next `_`: the secret may have one of its own.
    expect(stored).not.toContain(made.token.slice(`cst_${made.id}_`.length));
    expect((await ask('/backup', { token: made.token })).status).toBe(200);
    await env.CATALOGUE.prepare('UPDATE tokens SET expires_at = ? WHERE token_id = ?')
      .bind('2020-01-01T00:00:00.000Z', made.id)
      .run();
    await expectProblem(await ask('/backup', { token: made.token }), 401, 'unauthorized');
    expect((await ask(`/tokens/${made.id}`, { method: 'DELETE' })).status).toBe(204);
    await expectProblem(await ask(`/tokens/${made.id}`, { method: 'DELETE' }), 404, 'not-found');
    await expectProblem(await ask('/backup', { token: made.token }), 401, 'unauthorized');
    await expectProblem(await ask('/backup', { token: 'wrong' }), 401, 'unauthorized');
  });

  it('are refused with scopes that do not exist', async () => {
    const body = JSON.stringify({ name: 'x', scopes: ['root'] });
    await expectProblem(
      await ask('/tokens', { method: 'POST', body, headers: { 'content-type': 'application/json' } }),
      400,
      'invalid-request',
    );
    await expectProblem(
      await ask('/tokens', { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } }),
      400,
      'invalid-request',
    );
  });
});

describe('signed links', () => {
  it('open a download without a token, by GET and HEAD', async () => {
    const { backup_id, stored_size } = await put('linked.tar', sample(10_000));
    const { url, expires_at } = await post<Link>(`/backup/${backup_id}/links`, {
      format: 'zst',
      filename: 'für dich.zst',
      expires_in: 60,
    });
    expect(Date.parse(expires_at)).toBeGreaterThan(Date.now() + 50_000);
    const get = await ask(url, asNobody);
    expect(get.status).toBe(200);
    expect(get.headers.get('content-disposition')).toContain("filename*=UTF-8''f%C3%BCr%20dich.zst");
    expect((await get.bytes()).length).toBe(stored_size);
    expect((await ask(url, { ...asNobody, method: 'HEAD' })).status).toBe(200);
  });

  it('are refused when anything is altered, and after their time', async () => {
    const { backup_id } = await put('linked.tar', sample(10));
    const other = await put('other.tar', sample(10));
    const { url } = await post<Link>(`/backup/${backup_id}/links`, { expires_in: 1 });
    const altered = [
      url.replace(backup_id, other.backup_id),
      `${url}&format=gz`,
      url.replace(/expires=\d+/, 'expires=99999999999'),
      url.replace(/key_id=\w+/, 'key_id=k9'),
      url.replace(/signature=../, 'signature=xx'),
      url.replace(/signature=[^&]+/, 'signature='),
    ];
    for (const bad of altered) await expectProblem(await ask(bad, asNobody), 403, 'bad-signature');
    await scheduler.wait(2100);
    await expectProblem(await ask(url, asNobody), 403, 'link-expired');
    await expectProblem(await ask(`${url}&x=1`, asNobody), 403, 'bad-signature');
  });

  describe('to members', () => {
    const tar = tarOf([
      { path: 'dir/file', content: 'the file' },
      { path: 'dir/other', content: 'another' },
      { path: '../größe\n', content: 'odd' },
      { path: './dot/x', content: 'dotted' },
      { path: 'soft', type: 'symlink', linkTarget: 'dir/other' },
    ]);

    it('open that one alone, by GET and HEAD, and ranges of it', async () => {
      const { backup_id } = await put('members.tar', tar);
      const { url } = await post<Link>(`/backup/${backup_id}/links`, { path: 'dir/file', filename: 'mine.txt' });
      const get = await ask(url, asNobody);
      expect(get.headers.get('content-disposition')).toBe('attachment; filename="mine.txt"');
      expect(await get.text()).toBe('the file');
      expect((await ask(url, { ...asNobody, method: 'HEAD' })).headers.get('content-length')).toBe('8');
      const part = await ask(url, { ...asNobody, headers: { range: 'bytes=4-7' } });
      expect([part.status, await part.text()]).toEqual([206, 'file']);
      const altered = [
        url.replace('dir/file', 'dir/other'),
        url.replace('dir/file', 'dir%2Ffile'),
        url.replace('dir/file', 'dir/../soft'),
        url.replace('dir/file', 'dir/'),
        url.replace('dir/file', ''),
        url.replace('/files/dir/file', '/files'),
        url.replace('/files/dir/file', '/download'),
        `${url}&format=tar`,
        `${url}&cursor=AAAA`,
        url.replace('mine.txt', 'mine.html'),
      ];
      for (const bad of altered) {
        // The listing takes tokens alone.
        if (bad.includes('/files?')) await expectProblem(await ask(bad, asNobody), 401, 'unauthorized');
        else await expectProblem(await ask(bad, asNobody), 403, 'bad-signature');
      }
    });

    it('open what no URL would hold by itself, and tell of what has no bytes', async () => {
      const { backup_id } = await put('members.tar', tar);
      for (const [path, content] of [
        ['../größe\n', 'odd'],
        ['dot/x', 'dotted'],
        ['./dot/x', 'dotted'],
      ] as const) {
        const { url } = await post<Link>(`/backup/${backup_id}/links`, { path });
        expect(new TextDecoder().decode(await (await ask(url, asNobody)).arrayBuffer())).toBe(content);
      }
      const { url } = await post<Link>(`/backup/${backup_id}/links`, { path: 'soft' });
      expect(await (await ask(url, asNobody)).json()).toMatchObject({ type: 'symlink', link_target: 'dir/other' });
    });

    it('open a directory, or all, as a tar', async () => {
      const { backup_id } = await put('members.tar', tar);
      for (const [order, members] of [
        [{ path: 'dir', format: 'tar' }, 2],
        [{ path: 'dir/', format: 'tar' }, 2],
        [{ format: 'tar' }, 5],
      ] as const) {
        const { url } = await post<Link>(`/backup/${backup_id}/links`, order);
        const response = await ask(url, asNobody);
        expect(response.headers.get('content-type')).toBe('application/x-tar');
        expect((await scanned(new Uint8Array(await response.arrayBuffer()))).members).toHaveLength(members);
        await expectProblem(await ask(url.replace('format=tar', 'format='), asNobody), 403, 'bad-signature');
      }
    });

    it('are not made to what is not there', async () => {
      const { backup_id } = await put('members.tar', tar);
      const plain = await put('plain.tar', sample(100));
      const order = (id: string, body: unknown) =>
        ask(`/backup/${id}/links`, {
          method: 'POST',
          body: JSON.stringify(body),
          headers: { 'content-type': 'application/json' },
        });
      await expectProblem(await order(backup_id, { path: 'none' }), 404, 'not-found');
      await expectProblem(await order(backup_id, { path: 'dir/none' }), 404, 'not-found');
      await expectProblem(await order(backup_id, { path: 'dir/file', format: 'tar' }), 404, 'not-found');
      await expectProblem(await order(plain.backup_id, { path: 'a' }), 409, 'not-an-archive');
      await expectProblem(await order(plain.backup_id, { format: 'tar' }), 409, 'not-an-archive');
      for (const format of ['zst', 'gz']) {
        await expectProblem(await order(backup_id, { path: 'dir/file', format }), 400, 'option-not-applicable');
      }
    });
  });

  it('open one upload, once', async () => {
    const link = await post<Link & { watch_url: string; job_id: string }>('/backup/upload-links', {
      filename: 'gift ü.tar',
      max_bytes: 1000,
      job_id: 'gift',
    });
    expect(link.job_id).toBe('gift');
    await expectProblem(await ask(link.url, { ...asNobody, method: 'PUT', body: sample(1001) }), 413, 'file-too-large');
    const done = await ask(link.url, { ...asNobody, method: 'PUT', body: sample(1000) });
    expect(done.status).toBe(201);
    expect(await done.json()).toMatchObject({ filename: 'gift ü.tar', job_id: 'gift' });
    await expectProblem(await ask(link.url, { ...asNobody, method: 'PUT', body: sample(10) }), 409, 'link-used');
    await expectProblem(
      await ask(`${link.url}&level=9`, { ...asNobody, method: 'PUT', body: sample(10) }),
      403,
      'bad-signature',
    );
    await expectProblem(await ask(link.url, asNobody), 404, 'not-found').catch(async () => undefined);
  });

  it('watch a job, and only that one', async () => {
    const { watch_url } = await post<{ watch_url: string }>('/backup/upload-links', {
      filename: 'a.tar',
      job_id: 'watched',
    });
    const http = watch_url.replace(/^ws/, 'http');
    const upgrade = { ...asNobody, headers: { upgrade: 'websocket' } };
    const response = await ask(http, upgrade);
    expect(response.status).toBe(101);
    response.webSocket?.accept();
    response.webSocket?.close();
    await expectProblem(await ask(http.replace('watched', 'other'), upgrade), 403, 'bad-signature');
  });

  it('are refused for times out of bounds', async () => {
    const { backup_id } = await put('linked.tar', sample(10));
    for (const expires_in of [0, 604_801, 1.5]) {
      const body = JSON.stringify({ expires_in });
      const headers = { 'content-type': 'application/json' };
      await expectProblem(
        await ask(`/backup/${backup_id}/links`, { method: 'POST', body, headers }),
        400,
        'invalid-request',
      );
    }
    const bare = await ask(`/backup/${backup_id}/links`, { method: 'POST' });
    expect(bare.status).toBe(200);
  });
});

describe('watching', () => {
  it('checks the origin of a browser', async () => {
    const watch = (headers: Record<string, string>) =>
      ask('/ws/backup/o', { headers: { upgrade: 'websocket', ...headers } });
    await expectProblem(await watch({ origin: 'https://evil.test' }), 403, 'bad-origin');
    await expectProblem(await watch({ origin: 'null' }), 403, 'bad-origin');
    const welcome: Record<string, string>[] = [{ origin: 'https://vault.test' }, {}];
    for (const headers of welcome) {
      const response = await watch(headers);
      expect(response.status).toBe(101);
      response.webSocket?.accept();
      response.webSocket?.close();
    }
    await expectProblem(await ask('/ws/backup/o'), 426, 'upgrade-required');
  });

  it('sees the present state at once, and the end', async () => {
    const response = await ask('/ws/backup/seen', { headers: { upgrade: 'websocket' } });
    const socket = response.webSocket;
    if (!socket) throw new Error('no socket');
    const messages: { phase: string; backup_id?: string; percentage: number }[] = [];
    const ended = new Promise<void>((resolve) => {
      socket.addEventListener('message', (event) => {
        messages.push(JSON.parse(String(event.data)));
        if (messages.at(-1)?.phase === 'done') resolve();
      });
    });
    socket.accept();
    const receipt = await put('seen.tar', sample(100_000), '?job_id=seen');
    await ended;
    expect(messages[0]).toMatchObject({ phase: 'waiting', percentage: 0 });
    expect(messages.at(-1)).toMatchObject({ phase: 'done', backup_id: receipt.backup_id, percentage: 100 });
    expect(await (await ask('/jobs/seen')).json()).toMatchObject({ phase: 'done', backup_id: receipt.backup_id });
  });

  it('knows nothing of a job that never was, and takes any allowed name', async () => {
    expect(await (await ask('/jobs/never')).json()).toMatchObject({ job_id: 'never', phase: 'waiting', percentage: 0 });
    const hex64 = 'a'.repeat(64);
    expect(await (await ask(`/jobs/${hex64}`)).json()).toMatchObject({ job_id: hex64, phase: 'waiting' });
    await expectProblem(await ask('/jobs/a.b'), 400, 'invalid-option');
  });
});
