/** tus 1.0.0 as a client says it, header by header: a test sees what it sends. */
import { env } from 'cloudflare:workers';
import { beforeEach, expect } from 'vitest';
import { base64, utf8 } from '../../src/shared/bytes.ts';
import { ask, expectProblem, type Receipt, sha256Hex, storedKeys } from './vault.ts';

export type Bytes = Uint8Array<ArrayBuffer>;

export const PIECE_TYPE = 'application/offset+octet-stream';

export interface TusRequest {
  /** Default: the admin's. Null: none. */
  readonly token?: string | null;
  /** Beside `Tus-Resumable`; null takes a header away. */
  readonly headers?: Readonly<Record<string, string | null>>;
  readonly body?: BodyInit | null;
}

/** One request of the protocol. */
export function tus(method: string, url: string, { token, headers = {}, body }: TusRequest = {}): Promise<Response> {
  const sent = new Headers({ 'tus-resumable': '1.0.0' });
  for (const [name, value] of Object.entries(headers)) {
    if (value === null) sent.delete(name);
    else sent.set(name, value);
  }
  return ask(url, { method, headers: sent, body, ...(token !== undefined && { token }) });
}

/** The value of `Upload-Metadata`. */
export function metadata(values: Readonly<Record<string, string | Uint8Array>>): string {
  const pair = ([key, value]: [string, string | Uint8Array]) =>
    `${key} ${base64(typeof value === 'string' ? utf8(value) : value)}`;
  return Object.entries(values).map(pair).join(',');
}

export interface Upload {
  readonly url: string;
  readonly id: string;
  readonly jobId: string;
  readonly secret: string;
}

export interface Creation extends TusRequest {
  /** Null: deferred. */
  readonly length: number | null;
  /** Beside `filename`, which is "site.tar" unless it stands here. */
  readonly metadata?: Readonly<Record<string, string | Uint8Array>>;
  /** Where to create it, if not at /tus. */
  readonly at?: string;
}

/** The request that creates an upload. */
export function creating({ length, metadata: more, at = '/tus', ...rest }: Creation): Promise<Response> {
  const headers = {
    ...(length === null ? { 'upload-defer-length': '1' } : { 'upload-length': String(length) }),
    'upload-metadata': metadata({ filename: 'site.tar', ...more }),
    ...rest.headers,
  };
  return tus('POST', at, { ...rest, headers });
}

/** Creates an upload, and expects that. */
export async function create(creation: Creation): Promise<Upload> {
  return uploadIn(await creating(creation));
}

export async function uploadIn(response: Response): Promise<Upload> {
  expect(response.status, await response.clone().text()).toBe(201);
  const url = response.headers.get('location') ?? '';
  return {
    url,
    id: /^\/tus\/([^/?]+)/.exec(url)?.[1] ?? '',
    jobId: response.headers.get('coldstream-job-id') ?? '',
    secret: response.headers.get('coldstream-upload-secret') ?? '',
  };
}

/** A PATCH, whatever it is answered. */
export function patch({ url }: Upload, offset: number, body: BodyInit | null, more: TusRequest = {}) {
  const headers = { 'content-type': PIECE_TYPE, 'upload-offset': String(offset), ...more.headers };
  return tus('PATCH', url, { ...more, headers, body });
}

/** Sends pieces one after the other, from `offset` on; each is expected to count as a whole. Gives the last answer. */
export async function send(upload: Upload, pieces: readonly Bytes[], offset = 0): Promise<Response> {
  let at = offset;
  let last = new Response();
  for (const piece of pieces) {
    last = await patch(upload, at, piece);
    expect(last.status, await last.clone().text()).toBe(204);
    at += piece.length;
    expect(last.headers.get('upload-offset')).toBe(String(at));
  }
  return last;
}

/** Cuts content into pieces of these sizes; what is left is the last. */
export function cut(content: Bytes, sizes: readonly number[]): Bytes[] {
  const pieces: Bytes[] = [];
  let at = 0;
  for (const size of sizes) {
    pieces.push(content.subarray(at, at + size));
    at += size;
  }
  return at < content.length ? [...pieces, content.subarray(at)] : pieces;
}

export interface Standing {
  readonly offset: number;
  readonly length: number | null;
  readonly phase: string | null;
}

/** What HEAD says. */
export async function standing({ url }: Upload, request: TusRequest = {}): Promise<Standing> {
  const response = await tus('HEAD', url, request);
  expect(response.status).toBe(200);
  const number = (name: string) => {
    const value = response.headers.get(name);
    return value === null ? null : Number(value);
  };
  const phase = response.headers.get('coldstream-phase');
  return { offset: number('upload-offset') ?? Number.NaN, length: number('upload-length'), phase };
}

export interface UploadShown {
  readonly upload_id: string;
  readonly backup_id: string;
  readonly job_id: string;
  readonly name: string;
  readonly filename: string;
  readonly offset: number;
  readonly length: number | null;
  readonly phase: string;
  readonly expires_at: string;
  readonly receipt: (Receipt & { readonly archive: unknown }) | null;
}

/** What GET says. */
export async function shown({ url }: Upload): Promise<UploadShown> {
  const response = await ask(url);
  expect(response.status, await response.clone().text()).toBe(200);
  return response.json();
}

/** The receipt, as soon as the upload is done. */
export async function receiptOf(upload: Upload): Promise<Receipt & { readonly archive: unknown }> {
  const { receipt } = await eventually(
    () => shown(upload),
    ({ phase }) => phase === 'done',
  );
  if (!receipt) throw new Error('an upload is done and has no receipt');
  return receipt;
}

/** Uploads content in these pieces, and gives the receipt. */
export async function uploaded(pieces: readonly Bytes[], creation: Partial<Creation> = {}) {
  const upload = await create({ length: pieces.reduce((sum, { length }) => sum + length, 0), ...creation });
  await send(upload, pieces);
  return receiptOf(upload);
}

/** Asks again until the answer is as wanted; then gives it. */
export async function eventually<T>(question: () => Promise<T>, wanted: (answer: T) => boolean): Promise<T> {
  const deadline = Date.now() + 20_000;
  while (true) {
    const answer = await question();
    if (wanted(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`still ${JSON.stringify(answer)}`);
    await scheduler.wait(20);
  }
}

/** The Durable Object of an upload. */
export function sessionOf({ id }: Upload): DurableObjectStub {
  return env.UPLOADS.get(env.UPLOADS.idFromName(id));
}

export interface JobShown {
  readonly phase: string;
  readonly current: number;
  readonly total: number;
  readonly percentage: number;
  readonly backup_id?: string;
  readonly code?: string;
}

export async function jobOf({ jobId }: Pick<Upload, 'jobId'>): Promise<JobShown> {
  return (await ask(`/jobs/${jobId}`)).json();
}

export interface HandFed {
  readonly body: ReadableStream<Uint8Array>;
  /** Resolves once somebody has read the bytes. */
  give(bytes: Uint8Array): Promise<void>;
  end(): Promise<void>;
  /** The connection breaks. Within the runtime only a body of a known length shows that it was cut. */
  cut(): Promise<void>;
}

/** A body that a test sends by hand: bytes when it says so, then its end, or a cut. `length` is its Content-Length. */
export function handFed(length?: number): HandFed {
  const { readable, writable } = length === undefined ? new IdentityTransformStream() : new FixedLengthStream(length);
  const writer = writable.getWriter();
  return {
    body: readable,
    give: (bytes) => writer.write(bytes),
    end: () => writer.close(),
    cut: () => writer.abort(new Error('the connection broke')),
  };
}

/** A PATCH whose first bytes have arrived, and which now waits for its sender. */
export async function waiting(
  upload: Upload,
  offset: number,
  first: Bytes,
  more: TusRequest = {},
): Promise<{ sending: HandFed; answer: Promise<Response> }> {
  const sending = handFed();
  const answer = patch(upload, offset, sending.body, more);
  answer.catch(() => undefined);
  await sending.give(first);
  await eventually(
    () => standing(upload),
    (now) => now.offset === offset + first.length,
  );
  return { sending, answer };
}

/** The upload comes to its end, and its backup holds this content. */
export async function expectContent(upload: Upload, content: Bytes): Promise<void> {
  const { checksum, download_url } = await receiptOf(upload);
  expect(checksum).toBe(await sha256Hex(content));
  expect(await sha256Hex(new Uint8Array(await (await ask(download_url)).bytes()))).toBe(checksum);
}

/** Bytes that zstd makes no smaller, the same for a seed. */
export function noise(bytes: number, seed = 1): Bytes {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = seed | 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, bytes);
}

/** The rows of backups that list. */
export async function rows(): Promise<number> {
  return (await env.CATALOGUE.prepare('SELECT count(*) AS n FROM backups').first<number>('n')) ?? -1;
}

/** For a file of tests: expects that a creation was refused, and that all is as it was before the test. */
export function creationsRefused(): (answer: Response, status: number, code: string) => Promise<void> {
  let before: string[];
  let listed: number;
  beforeEach(async () => {
    before = await storedKeys();
    listed = await rows();
  });
  return async (answer, status, code) => {
    expect(answer.headers.get('location')).toBeNull();
    expect(answer.headers.get('coldstream-upload-secret')).toBeNull();
    await expectProblem(answer, status, code);
    expect(await storedKeys()).toEqual(before);
    expect(await rows()).toBe(listed);
  };
}
