import { env, exports } from 'cloudflare:workers';
import { expect } from 'vitest';
import { hex, sha256 } from '../../src/shared/bytes.ts';

/** The vault as its clients see it: whole requests, in the runtime. */
export async function ask(path: string, init: RequestInit & { token?: string | null } = {}): Promise<Response> {
  const { token = env.ADMIN_TOKEN, ...rest } = init;
  const headers = new Headers(rest.headers);
  if (token !== null && !headers.has('authorization')) headers.set('authorization', `Bearer ${token}`);
  const url = path.startsWith('http') ? path : `https://vault.test${path}`;
  return exports.default.fetch(new Request(url, { redirect: 'manual', ...rest, headers }));
}

export interface Receipt {
  message: string;
  backup_id: string;
  job_id: string;
  name: string;
  filename: string;
  content_type: string;
  file_size: number;
  checksum: string;
  stored_size: number;
  compression: { codec: string; level?: number; engine?: string; frames?: number };
  created_at: string;
  created_by: string | null;
  expires_at: string | null;
  download_url: string;
}

/** Uploads by PUT and expects a receipt. */
export async function put(name: string, body: BodyInit, query = ''): Promise<Receipt> {
  const response = await ask(`/backup/upload/${encodeURIComponent(name)}${query}`, { method: 'PUT', body });
  expect(response.status, await response.clone().text()).toBe(201);
  return response.json();
}

/** Expects a refusal: its status, its code, and the form of RFC 9457. */
export async function expectProblem(response: Response, status: number, code: string): Promise<void> {
  const text = await response.text();
  expect(response.status, text).toBe(status);
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  const problem = JSON.parse(text);
  expect(problem).toMatchObject({ status, code });
  expect(problem.request_id).toBe(response.headers.get('x-request-id'));
  expect(problem.detail).toMatch(/[.?]$/);
}

/** Everything that stands in the bucket. */
export async function storedKeys(): Promise<string[]> {
  const keys: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await env.VAULT.list({ cursor });
    keys.push(...page.objects.map((object) => object.key));
    cursor = page.truncated ? page.cursor : undefined;
  } while (cursor);
  return keys;
}

/** Text-like bytes that compress, the same for a seed. */
export function sample(bytes: number, seed = 1): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes);
  let state = seed;
  for (let i = 0; i < bytes; i++) {
    if (i % 7 === 0) state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    out[i] = 97 + ((state >>> 16) % 23);
  }
  return out;
}

/** A body that arrives in chunks of `chunkBytes`, without a length. */
export function chunked(bytes: Uint8Array, chunkBytes: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, at + chunkBytes));
      at += chunkBytes;
    },
  });
}

export async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return hex(await sha256(bytes));
}
