import { createExecutionContext } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeAll, describe, expect, it } from 'vitest';
import { createApp } from '../../src/http/app.ts';
import type { Env } from '../../src/services.ts';
import { tarOf } from '../support/archives.ts';
import { ask, expectProblem, put, sample } from '../support/vault.ts';

/** A vault in which one token or link has one transfer at a time; the storage and the jobs are those of the test. */
const app = createApp();
const vault = { ...env, MAX_TRANSFERS_PER_TOKEN: '1', MAX_SOCKETS_PER_TOKEN: '2', RESUMABLE_DRAFT: '1' } as Env;

function one(path: string, init: RequestInit & { token?: string | null } = {}): Promise<Response> {
  const { token = null, ...rest } = init;
  const headers = new Headers(rest.headers);
  if (token !== null) headers.set('authorization', `Bearer ${token}`);
  const context = createExecutionContext();
  const answer = app.fetch(new Request(new URL(path, 'https://vault.test'), { ...rest, headers }), vault, context);
  return Promise.resolve(answer);
}

async function newToken(): Promise<string> {
  const body = JSON.stringify({ name: 'limited', scopes: ['admin'] });
  const made = await ask('/tokens', { method: 'POST', body, headers: { 'content-type': 'application/json' } });
  return (await made.json<{ token: string }>()).token;
}

/** A download that its reader has opened and does not read. */
async function unread(token: string): Promise<{ readonly end: () => Promise<unknown> }> {
  const open = await one(`${large}/download`, { token });
  expect(open.status).toBe(200);
  return { end: () => open.arrayBuffer() };
}

async function statusOf(answer: Response): Promise<number> {
  await answer.arrayBuffer();
  return answer.status;
}

const TUS = { 'tus-resumable': '1.0.0' };
const form = new FormData();
form.set('file', new File(['x'], 'form.bin'));
let backup: string;
let large: string;
let rows: string;

beforeAll(async () => {
  backup = `/backup/${(await put('some.tar', tarOf([{ path: 'dir/a', content: 'x' }]))).backup_id}`;
  large = `/backup/${(await put('large.bin', sample(3_000_000), '?compression=zstd')).backup_id}`;
  rows = `/backup/${(await put('rows.json', '[]')).backup_id}`;
});

async function tusUpload(token: string): Promise<string> {
  const headers = { ...TUS, 'upload-length': '1', 'upload-metadata': `filename ${btoa('tus.bin')}` };
  return (await ask('/tus', { method: 'POST', token, headers })).headers.get('location') ?? '';
}

/** Every way in which bytes go in or out. */
const WAYS: Record<string, (token: string) => Promise<Response>> = {
  'a PUT': (token) => one('/backup/upload/a.bin', { method: 'PUT', token, body: 'x' }),
  'a form': (token) => one('/backup/upload', { method: 'POST', token, body: form }),
  'a tus POST with a body': (token) =>
    one('/tus', {
      method: 'POST',
      token,
      body: 'x',
      headers: {
        ...TUS,
        'content-type': 'application/offset+octet-stream',
        'upload-length': '1',
        'upload-metadata': `filename ${btoa('tus.bin')}`,
      },
    }),
  'a tus PATCH': async (token) =>
    one(await tusUpload(token), {
      method: 'PATCH',
      token,
      body: 'x',
      headers: { ...TUS, 'content-type': 'application/offset+octet-stream', 'upload-offset': '0' },
    }),
  'an upload of the draft': (token) =>
    one('/uploads/draft.bin', { method: 'POST', token, body: 'x', headers: { 'upload-complete': '?1' } }),
  'an import': (token) =>
    one('/import/stream?database=sample&table=items', {
      method: 'POST',
      token,
      body: '[]',
      headers: { 'content-type': 'application/json' },
    }),
  'a restore': (token) => one(`${rows}/restore?database=sample&table=items`, { method: 'POST', token }),
  'a verification': (token) => one(`${backup}/verify`, { method: 'POST', token }),
  'a download': (token) => one(`${backup}/download`, { token }),
  'a member': (token) => one(`${backup}/files/dir/a`, { token }),
  'a directory': (token) => one(`${backup}/files/dir/?format=tar`, { token }),
  'an export': (token) => one('/export/stream', { token }),
};

describe('a token with as many transfers as it may have', () => {
  it.each(Object.entries(WAYS))('is refused %s with 429, which another token gets', async (_, way) => {
    const [busy, other] = [await newToken(), await newToken()];
    const { end } = await unread(busy);
    const refused = await way(busy);
    expect(refused.headers.get('retry-after')).toBe('5');
    await expectProblem(refused, 429, 'too-many-transfers');
    const taken = await way(other);
    expect(taken.status, await taken.text()).toBeLessThan(300);
    await end();
    // The place is free once the pump behind the answer has noticed that all was taken.
    await expect.poll(async () => statusOf(await way(busy))).toBeLessThan(300);
  });

  it('still reads lists, receipts and headers', async () => {
    const token = await newToken();
    const { end } = await unread(token);
    for (const path of ['/backup', backup, '/jobs', `${backup}/files`])
      expect((await one(path, { token })).status).toBe(200);
    for (const path of ['download', 'files/dir/a', 'files/dir/?format=tar']) {
      expect((await one(`${backup}/${path}`, { token, method: 'HEAD' })).status, path).toBe(200);
    }
    await end();
  });

  it('has an upload until its sender is done', async () => {
    const token = await newToken();
    const { readable, writable } = new IdentityTransformStream();
    const writer = writable.getWriter();
    const upload = one('/backup/upload/slow.bin', { method: 'PUT', token, body: readable });
    await expect.poll(async () => statusOf(await one(`${backup}/download`, { token }))).toBe(429);
    await writer.write(new Uint8Array([1]));
    await writer.close();
    expect((await upload).status).toBe(201);
    expect((await one(`${backup}/download`, { token })).status).toBe(200);
  });
});

describe('a link', () => {
  it('has a limit of its own, which only genuine links count for', async () => {
    const make = async () => {
      const made = await ask(`${backup}/links`, { method: 'POST' });
      return (await made.json<{ url: string }>()).url;
    };
    const held = await ask(`${large}/links`, { method: 'POST' });
    const { url } = await held.json<{ url: string }>();
    const open = await one(url);
    await expectProblem(await one(url), 429, 'too-many-transfers');
    const forged = new URL(url);
    forged.searchParams.set('expires', '9999999999');
    await expectProblem(await one(forged.href), 403, 'bad-signature');
    expect((await one(await make())).status).toBe(200);
    await open.arrayBuffer();
  });
});

describe('sockets', () => {
  const watch = (job: string, token: string) => one(`/ws/backup/${job}`, { token, headers: { upgrade: 'websocket' } });

  it('are at most as many as a token may have, over all jobs, and closing one makes room', async () => {
    const [token, other] = [await newToken(), await newToken()];
    const open = [await watch('first', token), await watch('second', token)];
    for (const { status, webSocket } of open) {
      expect(status).toBe(101);
      webSocket?.accept();
    }
    const refused = await watch('third', token);
    expect(refused.headers.get('retry-after')).toBe('5');
    await expectProblem(refused, 429, 'too-many-transfers');
    const others = await watch('third', other);
    expect(others.status).toBe(101);
    others.webSocket?.accept();
    others.webSocket?.close(1000);
    open[0]?.webSocket?.close(1000);
    const again = async () => {
      const { status, webSocket } = await watch('third', token);
      webSocket?.accept();
      return status;
    };
    await expect.poll(again).toBe(101);
    open[1]?.webSocket?.close(1000);
  });
});
