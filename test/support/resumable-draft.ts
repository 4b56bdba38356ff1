/** The IETF's draft of resumable uploads as a client says it, header by header. */
import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect } from 'vitest';
import { createApp } from '../../src/http/app.ts';
import { ask, expectProblem, type Receipt, sha256Hex } from './vault.ts';

const app = createApp();
const draft = { ...env, RESUMABLE_DRAFT: '1' };
export const PROBLEM = 'https://iana.org/assignments/http-problem-types#';

/** As `ask`, of a vault with RESUMABLE_DRAFT=1 and what else is named. */
export function asker(vars: Record<string, string> = {}) {
  const bindings = { ...draft, ...vars };
  return async (path: string, init: RequestInit & { token?: string | null } = {}): Promise<Response> => {
    const { token = env.ADMIN_TOKEN, ...rest } = init;
    const headers = new Headers(rest.headers);
    if (token !== null) headers.set('authorization', `Bearer ${token}`);
    const context = createExecutionContext();
    const response = await app.fetch(new Request(`https://vault.test${path}`, { ...rest, headers }), bindings, context);
    await waitOnExecutionContext(context);
    return response;
  };
}

export const here = asker();

interface Sent {
  readonly complete: boolean | string;
  readonly offset?: number | string;
  readonly length?: number;
  readonly headers?: Record<string, string>;
  readonly token?: string | null;
}

export function fields({ complete, offset, length, headers }: Sent): Record<string, string> {
  return {
    'upload-complete': typeof complete === 'string' ? complete : complete ? '?1' : '?0',
    ...(offset !== undefined && { 'upload-offset': String(offset) }),
    ...(length !== undefined && { 'upload-length': String(length) }),
    'upload-draft-interop-version': '8',
    ...headers,
  };
}

/** What a client's HTTP library adds, and Request does not. */
function lengthField(body: BodyInit | null): Record<string, string> {
  return typeof body === 'string' || body instanceof Uint8Array ? { 'content-length': String(body.length) } : {};
}

export function create(body: BodyInit | null, sent: Sent, path = '/uploads/dump.sql'): Promise<Response> {
  return here(path, { method: 'POST', body, headers: { ...lengthField(body), ...fields(sent) }, token: sent.token });
}

/** Creates an upload of which nothing has come yet. */
export async function created(sent: Partial<Sent> = {}): Promise<string> {
  const response = await create(null, { complete: false, ...sent });
  expect(response.status, await response.clone().text()).toBe(201);
  return response.headers.get('location') ?? '';
}

export function append(location: string, body: BodyInit | null, sent: Sent): Promise<Response> {
  const headers = { 'content-type': 'application/partial-upload', ...lengthField(body), ...fields(sent) };
  return here(location, { method: 'PATCH', body, headers, token: sent.token });
}

export function head(location: string, method = 'HEAD'): Promise<Response> {
  return here(location, { method });
}

export async function offsetOf(location: string): Promise<number> {
  return Number((await head(location)).headers.get('upload-offset'));
}

export async function expectReceipt(response: Response, content: Uint8Array<ArrayBuffer>): Promise<Receipt> {
  expect(response.status, await response.clone().text()).toBe(201);
  expect(response.headers.get('upload-complete')).toBe('?1');
  const receipt: Receipt = await response.json();
  expect(receipt).toMatchObject({
    message: 'Upload successful',
    filename: 'dump.sql',
    file_size: content.length,
    checksum: await sha256Hex(content),
  });
  expect(response.headers.get('location')).toBe(`/backup/${receipt.backup_id}`);
  const stored = await ask(receipt.download_url);
  expect(await sha256Hex(new Uint8Array(await stored.arrayBuffer()))).toBe(receipt.checksum);
  return receipt;
}

export async function expectInconsistent(response: Response): Promise<void> {
  expect(await response.clone().json()).toMatchObject({
    type: `${PROBLEM}inconsistent-upload-length`,
    title: 'Inconsistent Upload Length Values',
  });
  expect(response.headers.get('upload-complete')).toBe('?0');
  await expectProblem(response, 400, 'invalid-upload-header');
}

export function limits(response: Response): Record<string, number> {
  const pairs = (response.headers.get('upload-limit') ?? '').split(', ').map((pair) => pair.split('='));
  return Object.fromEntries(pairs.map(([key, value]) => [key, Number(value)]));
}

export function digestField(hex: string): string {
  const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  return `sha-256=:${btoa(String.fromCharCode(...bytes))}:`;
}

/** Bytes, and then it breaks off. */
export function cut(bytes: Uint8Array): ReadableStream<Uint8Array> {
  let sent = false;
  return new ReadableStream({
    pull(controller) {
      if (sent) return controller.error(new Error('the sender is gone'));
      sent = true;
      controller.enqueue(bytes);
    },
  });
}
