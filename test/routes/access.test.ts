import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { ask, expectProblem, put, sample } from '../support/vault.ts';

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
    const { backup_id } = await put('scoped.tar', sample(10));
    const needs: [string, string, string][] = [
      ['GET', '/backup', 'read'],
      ['GET', `/backup/${backup_id}`, 'read'],
      ['GET', `/backup/${backup_id}/download`, 'read'],
      ['POST', `/backup/${backup_id}/links`, 'read'],
      ['GET', '/jobs/x', 'read'],
      ['PUT', '/backup/upload/a.tar', 'write'],
      ['POST', '/backup/upload-links', 'write'],
      ['GET', '/tokens', 'admin'],
      ['POST', '/reindex', 'admin'],
      ['GET', '/export/stream', 'admin'],
      ['DELETE', `/backup/${backup_id}`, 'admin'],
    ];
    for (const scope of ['read', 'write']) {
      const { token } = await post<{ token: string }>('/tokens', { name: scope, scopes: [scope] });
      for (const [method, path, needed] of needs) {
        const body = method === 'PUT' ? sample(5) : method === 'POST' ? '{"filename":"a.tar"}' : undefined;
        const response = await ask(path, { method, token, body, headers: { 'content-type': 'application/json' } });
        if (needed === scope) expect(response.status, `${method} ${path}`).toBeLessThan(300);
        else await expectProblem(response, 403, 'forbidden');
        if (needed === scope) await response.body?.cancel();
      }
    }
    for (const [method, path] of needs) {
      const response = await ask(path, { method, token: null });
      expect(response.headers.get('www-authenticate')).toBe('Bearer');
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
    expect(stored).not.toContain(made.token.split('_')[2]);
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
