import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { TokenLookup } from '../../src/catalogue/token-lookup.ts';
import { createApp } from '../../src/http/app.ts';
import { ask, expectProblem, put, sample } from '../support/vault.ts';

async function newToken(more: object = {}): Promise<{ id: string; token: string }> {
  const body = JSON.stringify({ name: 'n', scopes: ['read', 'write'], ...more });
  return (await ask('/tokens', { method: 'POST', body, headers: { 'content-type': 'application/json' } })).json();
}

function basic(password: string, user = 'anyone'): { authorization: string } {
  return { authorization: `Basic ${btoa(`${user}:${password}`)}` };
}

describe('Basic', () => {
  it('takes a token as the password, with any user name', async () => {
    const { token } = await newToken();
    for (const user of ['', 'me', 'a b', 'ü'.normalize('NFD').slice(0, 1)]) {
      expect((await ask('/backup', { headers: basic(token, user) })).status).toBe(200);
      expect((await ask('/tokens', { headers: basic(env.ADMIN_TOKEN, user) })).status).toBe(200);
      await expectProblem(await ask('/tokens', { headers: basic(token, user) }), 403, 'forbidden');
    }
    for (const authorization of ['Basic', 'Basic !!!', `Basic ${btoa(token)}`, basic(`${token}x`).authorization]) {
      await expectProblem(await ask('/backup', { headers: { authorization } }), 401, 'unauthorized');
    }
  });

  it('is named in a 401, but not to a browser, which would open its dialog', async () => {
    const challenge = async (headers = {}) =>
      (await ask('/backup', { token: null, headers })).headers.get('www-authenticate');
    expect(await challenge()).toBe('Basic realm="Coldstream", charset="UTF-8", Bearer');
    expect(await challenge({ 'sec-fetch-mode': 'cors' })).toBe('Bearer');
  });

  it.each([
    [{ origin: 'https://evil.test' }, 403],
    [{ origin: 'null' }, 403],
    [{ 'sec-fetch-site': 'cross-site' }, 403],
    [{ 'sec-fetch-site': 'same-site' }, 403],
    [{ 'sec-fetch-site': 'none' }, 403],
    [{ origin: 'https://vault.test' }, 201],
    [{ 'sec-fetch-site': 'same-origin' }, 201],
    [{}, 201],
  ])('changes something for a request with %j: %d', async (headers: Record<string, string>, status) => {
    const send = (authorization: string) =>
      ask('/backup/upload/site.bin', { method: 'PUT', body: sample(5), headers: { ...headers, authorization } });
    const answer = await send(basic(env.ADMIN_TOKEN).authorization);
    if (status === 403) await expectProblem(answer, 403, 'cross-site');
    else expect(answer.status).toBe(201);
    // A browser adds no Bearer token by itself.
    expect((await send(`Bearer ${env.ADMIN_TOKEN}`)).status).toBe(201);
    const reads = await ask('/backup', { headers: { ...headers, ...basic(env.ADMIN_TOKEN) } });
    expect(reads.status).toBe(200);
  });

  it('is checked for uploads in pieces too', async () => {
    const headers = { 'tus-resumable': '1.0.0', 'sec-fetch-site': 'cross-site', ...basic(env.ADMIN_TOKEN) };
    const upload = '/tus/01JC8Z5V3M9QK2T7W4X6Y8B0CD';
    await expectProblem(await ask(upload, { method: 'DELETE', headers }), 403, 'cross-site');
  });
});

describe('wrong credentials', () => {
  it('are 429 after 10 a minute from one address; a right one and other addresses are accepted', async () => {
    const { token } = await newToken();
    const from = (address: string, credential: string | null) =>
      ask('/backup', { token: credential, headers: { 'cf-connecting-ip': address } });
    for (let n = 0; n < 10; n++) await expectProblem(await from('2001:db8::1', `wrong${n}`), 401, 'unauthorized');
    const refused = await from(
      '2001:db8::2',
      token.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')),
    );
    expect(refused.headers.get('retry-after')).toBe('60');
    await expectProblem(refused, 429, 'too-many-attempts');
    for (const right of [token, env.ADMIN_TOKEN]) expect((await from('2001:db8::1', right)).status).toBe(200);
    await expectProblem(await from('2001:db8::1', null), 401, 'unauthorized');
    await expectProblem(await from('2001:db8:0:1::1', 'wrong'), 401, 'unauthorized');
  });

  it('cost no read where this vault did not make them, and one where it did', async () => {
    let reads = 0;
    const counting = new Proxy(env.CATALOGUE, {
      get: (db, name) => {
        if (name !== 'prepare') return Reflect.get(db, name);
        return (sql: string) => {
          reads++;
          return db.prepare(sql);
        };
      },
    });
    const tokens = new TokenLookup(counting);
    const { id, token } = await newToken();
    expect(await tokens.find(token)).toMatchObject({ token_id: id });
    expect(reads).toBe(2);
    const guesses = Array.from({ length: 20 }, () => token.slice(0, -43) + 'A'.repeat(43));
    for (const guess of [...guesses, 'wrong', `${token}A`, token.slice(0, -1)])
      expect(await tokens.find(guess)).toBeNull();
    expect(reads).toBe(2);
    await ask(`/tokens/${id}`, { method: 'DELETE' });
    for (let n = 0; n < 5; n++) expect(await tokens.find(token)).toBeNull();
    expect(reads).toBe(3);
  });

  it('are those of tokens that expired or were revoked, too', async () => {
    const [expired, revoked] = [await newToken({ expires_in: 1 }), await newToken()];
    expect((await ask('/backup', { token: revoked.token })).status).toBe(200);
    await ask(`/tokens/${revoked.id}`, { method: 'DELETE' });
    await scheduler.wait(1100);
    for (const { token } of [expired, revoked, expired]) {
      await expectProblem(await ask('/backup', { token }), 401, 'unauthorized');
    }
  });
});

describe('?upload_key=', () => {
  it('takes the secret of an upload, and no token', async () => {
    const { token } = await newToken();
    const headers = {
      'tus-resumable': '1.0.0',
      'upload-length': '5',
      'upload-metadata': `filename ${btoa('key.bin')}`,
    };
    const made = await ask('/tus', { method: 'POST', headers });
    const location = made.headers.get('location');
    const secret = made.headers.get('coldstream-upload-secret');
    const head = (key: string | null) => ask(`${location}?upload_key=${key}`, { method: 'HEAD', headers, token: null });
    expect((await head(secret)).status).toBe(200);
    for (const key of [token, env.ADMIN_TOKEN]) expect((await head(key)).status).toBe(401);
  });
});

describe('a configuration that cannot be used', () => {
  it.each([
    ['ADMIN_TOKEN', 'short'],
    ['ALLOWED_ORIGINS', '*'],
  ])('answers every request with 500, and names the variable in the log alone: %s', async (name, value) => {
    const answer = await createApp().request('https://vault.test/healthz', {}, { ...env, [name]: value });
    expect(answer.status).toBe(500);
    const { detail, code } = await answer.json<{ detail: string; code: string }>();
    expect(code).toBe('internal-error');
    expect(detail).toContain('configuration');
    expect(detail).not.toContain(value);
  });
});

it('a download works with the token as a Basic password', async () => {
  const { token } = await newToken();
  const { download_url } = await put('basic.bin', sample(100));
  const answer = await ask(download_url, { headers: { ...basic(token), 'accept-encoding': 'identity' } });
  expect((await answer.arrayBuffer()).byteLength).toBe(100);
});
