import { env } from 'cloudflare:workers';
import { HTTPException } from 'hono/http-exception';
import { describe, expect, it } from 'vitest';
import { problemOf } from '../../src/http/problem.ts';
import { parseSigningKeys, signLink } from '../../src/links/signed-link.ts';
import { ask, expectProblem } from '../support/vault.ts';

const navigation = { 'sec-fetch-mode': 'navigate', accept: 'text/html,application/xhtml+xml,*/*;q=0.8' };
const ID = '01JC8Z5V3M9QK2T7W4X6Y8B0CD';

async function expectPage(response: Response, status: number, code: string): Promise<string> {
  const text = await response.text();
  expect(response.status, text).toBe(status);
  expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
  const policy = response.headers.get('content-security-policy');
  expect(policy).toMatch(/^default-src 'none'; style-src 'sha256-/);
  expect(policy).not.toContain('unsafe');
  expect(response.headers.get('x-frame-options')).toBe('DENY');
  expect(response.headers.get('referrer-policy')).toBe('no-referrer');
  expect(response.headers.get('cache-control')).toBe('no-store');
  expect(text).toContain(`<a href="/docs#${code}">`);
  expect(text).toContain(`<title>${status} `);
  expect(text).toContain(response.headers.get('x-request-id') ?? 'no request id');
  return text;
}

describe('an error of a navigation', () => {
  it.each([
    ['an address that does not exist', '/nowhere', { token: null }, 404, 'not-found'],
    ['a missing credential', '/backup', { token: null }, 401, 'unauthorized'],
    ['a wrong option', '/backup?limit=no', {}, 400, 'invalid-option'],
    ['a backup that does not exist', `/backup/${ID}`, {}, 404, 'not-found'],
    ['a wrong method', '/backup', { method: 'DELETE' }, 405, 'method-not-allowed'],
    [
      'an altered link',
      `/backup/${ID}/download?signature=x&expires=1&key_id=k1`,
      { token: null },
      403,
      'bad-signature',
    ],
    ['a tus upload that does not exist', `/tus/${ID}`, {}, 404, 'not-found'],
    ['plain HTTP to a WebSocket', '/ws/backup/job', {}, 426, 'upgrade-required'],
  ])('is a page: %s', async (_, path, init, status, code) => {
    const text = await expectPage(await ask(path, { ...init, headers: navigation }), status, code);
    const problem = await (await ask(path, init)).json<{ title: string }>();
    expect(text).toContain(`<h1>${problem.title}</h1>`);
  });

  it('is a page for a link that has expired', async () => {
    const path = `/backup/${ID}/download`;
    const [key] = parseSigningKeys(env.LINK_SIGNING_KEYS);
    if (!key) throw new Error('the tests have a signing key');
    const signed = await signLink(key, { method: 'GET', path, params: new URLSearchParams(), expires: 1 });
    await expectPage(await ask(`${path}?${signed}`, { token: null, headers: navigation }), 403, 'link-expired');
  });

  it('keeps the headers of the error, and shows what the client sent as text', async () => {
    const wrong = await ask('/backup', { method: 'PUT', headers: navigation });
    expect(wrong.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
    await wrong.body?.cancel();
    const text = await (await ask('/backup?%3Cimg%20src%3Dx%3E=1', { headers: navigation })).text();
    expect(text).toContain('&lt;img src=x&gt;');
    expect(text).not.toContain('<img');
  });

  it.each([
    ['a script of a page', { 'sec-fetch-mode': 'cors', accept: 'text/html' }],
    ['a program that takes anything', { accept: '*/*' }],
    ['a program that takes HTML', { accept: 'text/html' }],
    ['a navigation that takes no HTML', { 'sec-fetch-mode': 'navigate', accept: 'application/json' }],
  ])('is problem+json for %s', async (_, headers) => {
    await expectProblem(await ask('/nowhere', { headers }), 404, 'not-found');
  });
});

describe('an error of the framework', () => {
  it.each([
    [400, 400, 'invalid-request'],
    [401, 401, 'unauthorized'],
    [403, 403, 'cross-site'],
    [404, 404, 'not-found'],
    [405, 405, 'method-not-allowed'],
    [413, 413, 'body-too-large'],
    [415, 415, 'unsupported-media-type'],
    [418, 400, 'invalid-request'],
    [431, 400, 'invalid-request'],
    [500, 500, 'internal-error'],
    [503, 500, 'internal-error'],
  ] as const)('of status %i is answered as %i %s', (thrown, status, code) => {
    const problem = problemOf(new HTTPException(thrown, { message: 'internal words' }), 'the-request');
    expect(problem).toMatchObject({ status, code, request_id: 'the-request' });
    expect(problem.detail).not.toContain('internal words');
  });
});
