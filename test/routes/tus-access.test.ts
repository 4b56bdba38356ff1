/** Who may create an upload, and who may go on with it: tokens, and the upload's own secret. */
import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { create, creating, patch, receiptOf, send, sessionOf, standing, tus, type Upload } from '../support/tus.ts';
import { ask, expectProblem, put, sample, sha256Hex } from '../support/vault.ts';

const content = sample(10_000);

async function post<T>(path: string, body: unknown): Promise<T> {
  const response = await ask(path, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });
  expect(response.status, await response.clone().text()).toBeLessThan(300);
  return response.json<T>();
}

function makeToken(...scopes: string[]): Promise<{ id: string; token: string }> {
  return post('/tokens', { name: 'tus', scopes, expires_in: 3600 });
}

async function expire(id: string): Promise<void> {
  await env.CATALOGUE.prepare('UPDATE tokens SET expires_at = ? WHERE token_id = ?')
    .bind('2020-01-01T00:00:00.000Z', id)
    .run();
}

/** Every request to an upload that there is, by one credential. */
async function everyRequest(upload: Upload, token: string | null): Promise<Response[]> {
  const by = { token };
  return [
    await tus('HEAD', upload.url, by),
    await ask(upload.url, by),
    await patch(upload, 0, content.subarray(0, 1), by),
    await tus('POST', upload.url, { ...by, headers: { 'x-http-method-override': 'HEAD' } }),
    await tus('POST', upload.url, { ...by, headers: { 'x-http-method-override': 'DELETE' } }),
    await tus('DELETE', upload.url, by),
  ];
}

async function expectRefused(upload: Upload, token: string | null, status: number, code: string): Promise<void> {
  for (const answer of await everyRequest(upload, token)) {
    expect(answer.status).toBe(status);
    expect(answer.headers.get('tus-resumable')).toBe('1.0.0');
    expect(answer.headers.get('upload-offset')).toBeNull();
    if (status === 401) expect(answer.headers.get('www-authenticate')).toContain('Bearer');
    const text = await answer.text();
    if (text !== '') expect(JSON.parse(text)).toMatchObject({ code });
  }
}

/** Goes on with the upload to its end, by one credential. */
async function expectGoesOn(upload: Upload, token: string | null): Promise<void> {
  const by = { token };
  const { offset } = await standing(upload, by);
  const answer = await patch(upload, offset, content.subarray(offset), by);
  expect(answer.status, await answer.clone().text()).toBe(204);
  const shown = await ask(upload.url, by);
  expect(await shown.json()).toMatchObject({ phase: 'done', receipt: { checksum: await sha256Hex(content) } });
  expect((await tus('DELETE', upload.url, by)).status).toBe(204);
}

describe('creating an upload', () => {
  it('needs a token that may write', async () => {
    const { token: reads } = await makeToken('read');
    const { token: writes } = await makeToken('write');
    for (const [token, status, code] of [
      [null, 401, 'unauthorized'],
      ['wrong', 401, 'unauthorized'],
      [`csu_${'A'.repeat(43)}`, 401, 'unauthorized'],
      [reads, 403, 'forbidden'],
    ] as const) {
      const refused = await creating({ length: 10, token });
      if (status === 401) expect(refused.headers.get('www-authenticate')).toContain('Bearer');
      expect(refused.headers.get('location')).toBeNull();
      await expectProblem(refused, status, code);
    }
    await expectGoesOn(await create({ length: content.length, token: writes }), writes);
  });

  it('is not for a token that ran out, or was revoked', async () => {
    const late = await makeToken('write');
    await expire(late.id);
    await expectProblem(await creating({ length: 10, token: late.token }), 401, 'unauthorized');
    const revoked = await makeToken('write');
    await ask(`/tokens/${revoked.id}`, { method: 'DELETE' });
    await expectProblem(await creating({ length: 10, token: revoked.token }), 401, 'unauthorized');
  });

  it('does not lend its secret: not for another upload, and for nothing else', async () => {
    const { secret, id } = await create({ length: content.length });
    await expectProblem(await creating({ length: 10, token: secret }), 401, 'unauthorized');
    for (const path of ['/backup', `/backup/${id}`, '/jobs/x', '/tokens']) {
      await expectProblem(await ask(path, { token: secret }), 401, 'unauthorized');
      await expectProblem(await ask(`${path}?upload_key=${secret}`, { token: null }), 401, 'unauthorized');
    }
    const inOne = await ask('/backup/upload/a.tar', { method: 'PUT', body: content, token: secret });
    await expectProblem(inOne, 401, 'unauthorized');
  });
});

describe('going on with an upload', () => {
  it('is for every token that may write', async () => {
    const { token } = await makeToken('write');
    await expectGoesOn(await create({ length: content.length }), token);
    const { token: admin } = await makeToken('admin');
    await expectGoesOn(await create({ length: content.length, token }), admin);
  });

  it('is for nobody without a credential, with an unknown one, or with one that only reads', async () => {
    const upload = await create({ length: content.length });
    const { token: reads } = await makeToken('read');
    await expectRefused(upload, null, 401, 'unauthorized');
    await expectRefused(upload, 'wrong', 401, 'unauthorized');
    await expectRefused(upload, reads, 403, 'forbidden');
    await expectGoesOn(upload, env.ADMIN_TOKEN);
  });

  it('is for the token that created it, also after it ran out; for another that ran out it is not', async () => {
    const mine = await makeToken('write');
    const other = await makeToken('write');
    const upload = await create({ length: content.length, token: mine.token });
    await send(upload, [content.subarray(0, 100)]);
    await expire(mine.id);
    await expire(other.id);
    await expectRefused(upload, other.token, 401, 'unauthorized');
    await expectGoesOn(upload, mine.token);
  });

  it('is not for the token that created it once that is revoked; the secret of the upload stays good', async () => {
    const mine = await makeToken('write');
    const upload = await create({ length: content.length, token: mine.token });
    await ask(`/tokens/${mine.id}`, { method: 'DELETE' });
    await expectRefused(upload, mine.token, 401, 'unauthorized');
    await expectGoesOn(upload, upload.secret);
  });

  it('is for its own secret, in a header or in its address', async () => {
    const byHeader = await create({ length: content.length });
    await expectGoesOn(byHeader, byHeader.secret);
    const made = await create({ length: content.length });
    await expectGoesOn({ ...made, url: `${made.url}?upload_key=${made.secret}` }, null);
  });

  it('is not for the secret of another upload, and not for one that nobody has', async () => {
    const upload = await create({ length: content.length });
    const other = await create({ length: content.length });
    for (const secret of [other.secret, `csu_${'A'.repeat(43)}`]) {
      await expectRefused(upload, secret, 401, 'unauthorized');
      await expectRefused({ ...upload, url: `${upload.url}?upload_key=${secret}` }, null, 401, 'unauthorized');
    }
    await expectRefused(upload, 'csu_short', 401, 'unauthorized');
    // The one in the address counts, so that a good header does not hide that the address is wrong.
    await expectRefused({ ...upload, url: `${upload.url}?upload_key=wrong` }, upload.secret, 401, 'unauthorized');
  });

  it('leaves the secret nowhere in the clear', async () => {
    const { token } = await makeToken('write');
    const upload = await create({ length: content.length, token });
    await send(upload, [content.subarray(0, 10)]);
    const stored = await runInDurableObject(sessionOf(upload), async (_, { storage }) =>
      JSON.stringify([...(await storage.list())]),
    );
    expect(stored).toContain('secret_hash');
    expect(stored).not.toContain(upload.secret);
    expect(stored).not.toContain(token);
    const { headers } = await tus('HEAD', upload.url);
    expect(headers.get('coldstream-upload-secret')).toBeNull();
    expect(await (await ask(upload.url)).text()).not.toContain('csu_');
  });
});

describe('what a token may read', () => {
  it('of a finished upload is the same as of any backup: a token that only writes gets its receipt from the upload', async () => {
    const { token: writes } = await makeToken('write');
    const upload = await create({ length: content.length, token: writes });
    await send(upload, [content]);
    const shown = await ask(upload.url, { token: writes });
    expect(await shown.json()).toMatchObject({ receipt: { backup_id: upload.id, message: 'Upload successful' } });
    await expectProblem(await ask(`/backup/${upload.id}`, { token: writes }), 403, 'forbidden');
    const inOne = await put('site.tar', content);
    expect(Object.keys((await receiptOf(upload)) as object).sort()).toEqual(Object.keys(inOne).sort());
  });
});
