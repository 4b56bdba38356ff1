/** Every way in × the headers that change what a body means: each header is obeyed or rejected, never dropped. */
import { createHash } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { append, create as createDraft, created as createdDraft, here } from '../support/resumable-draft.ts';
import { create, patch, rows, tus } from '../support/tus.ts';
import { ask, expectProblem, sample, sha256Hex, storedKeys } from '../support/vault.ts';

type Headers = Readonly<Record<string, string>>;
type Body = Uint8Array<ArrayBuffer>;

/** A request that brings a whole file, and the bytes that it sends. */
interface Way {
  readonly name: string;
  /** The body of the request that carries `file`. */
  readonly body: (file: Body) => Promise<Body>;
  /** Sends it; `query` holds options of the upload. */
  readonly send: (body: Body, headers: Headers, query?: string) => Promise<Response>;
  /** Whether the request is one chunk of an upload, whose digests then are answered with 460. */
  readonly isChunk: boolean;
  /** Whether Repr-Digest is of the whole upload, although the request is a chunk. */
  readonly creates?: true;
}

const asItIs = async (file: Body) => file;
const BOUNDARY = 'boundary-of-the-form';

/** Removes an upload whose chunk was rejected, as its sender would. */
async function orDelete(url: string, answer: Response, send: typeof ask): Promise<Response> {
  if (answer.status >= 400) await send(url, { method: 'DELETE', headers: { 'tus-resumable': '1.0.0' } });
  return answer;
}

const WAYS: readonly Way[] = [
  {
    name: 'form',
    body: async (file) => {
      const head = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.tar"\r\n\r\n`;
      return new Uint8Array(await new Blob([head, file, `\r\n--${BOUNDARY}--\r\n`]).arrayBuffer());
    },
    send: (body, headers, query = '') =>
      ask(`/backup/upload?${query}`, {
        method: 'POST',
        body,
        headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}`, ...headers },
      }),
    isChunk: false,
  },
  {
    name: 'PUT',
    body: asItIs,
    send: (body, headers, query = '') => ask(`/backup/upload/a.tar?${query}`, { method: 'PUT', body, headers }),
    isChunk: false,
  },
  {
    name: 'upload link',
    body: asItIs,
    send: async (body, headers) => {
      const order = { method: 'POST', body: '{"filename":"a.tar"}', headers: { 'content-type': 'application/json' } };
      const { url } = await (await ask('/backup/upload-links', order)).json<{ url: string }>();
      return ask(url, { method: 'PUT', body, headers, token: null });
    },
    isChunk: false,
  },
  {
    name: 'tus creation',
    body: asItIs,
    send: (body, headers, query = '') =>
      tus('POST', `/tus?filename=a.tar&${query}`, {
        headers: {
          'upload-length': String(body.length),
          'content-type': 'application/offset+octet-stream',
          'content-length': String(body.length),
          ...headers,
        },
        body,
      }),
    isChunk: true,
    creates: true,
  },
  {
    name: 'tus PATCH',
    body: asItIs,
    send: async (body, headers) => {
      const upload = await create({ length: body.length });
      return orDelete(upload.url, await patch(upload, 0, body, { headers }), ask);
    },
    isChunk: true,
  },
  {
    name: 'draft creation',
    body: asItIs,
    send: (body, headers, query = '') => createDraft(body, { complete: true, headers }, `/uploads/dump.sql?${query}`),
    isChunk: true,
    creates: true,
  },
  {
    name: 'draft PATCH',
    body: asItIs,
    send: async (body, headers) => {
      const location = await createdDraft();
      return orDelete(location, await append(location, body, { complete: true, offset: 0, headers }), here);
    },
    isChunk: true,
  },
];

const file = sample(5_000);
const other = sample(5_000, 2);

function digest(algorithm: string, of: Body): string {
  return createHash(algorithm).update(of).digest('base64');
}

/** `bytes`: what the request sends. */
const DIGESTS: readonly (readonly [string, (bytes: Body) => Headers])[] = [
  ['Content-MD5', (bytes) => ({ 'content-md5': digest('md5', bytes) })],
  ['Content-Digest: sha-256', (bytes) => ({ 'content-digest': `sha-256=:${digest('sha256', bytes)}:` })],
  ['Content-Digest: sha-512', (bytes) => ({ 'content-digest': `sha-512=:${digest('sha512', bytes)}:` })],
  ['Content-Digest: md5', (bytes) => ({ 'content-digest': `unixsum=:AAAA:, md5=:${digest('md5', bytes)}:` })],
  ['Repr-Digest: sha-256', (bytes) => ({ 'repr-digest': `sha-256=:${digest('sha256', bytes)}:` })],
];

let before: string[];
let listed: number;
beforeEach(async () => {
  before = await storedKeys();
  listed = await rows();
});

async function expectRejected(answer: Response, status: number, code: string): Promise<void> {
  await expectProblem(answer, status, code);
  expect(await storedKeys()).toEqual(before);
  expect(await rows()).toBe(listed);
}

async function expectStored(answer: Response): Promise<void> {
  expect([201, 204], await answer.clone().text()).toContain(answer.status);
  const page = await (await ask('/backup?limit=1')).json<{ backups: { file_size: number; checksum: string }[] }>();
  expect(page.backups[0]).toMatchObject({ file_size: file.length, checksum: await sha256Hex(file) });
  expect(await rows()).toBe(listed + 1);
}

describe.each(WAYS.map((way) => [way.name, way] as const))('by %s', (_, way) => {
  const rejected: readonly (readonly [string, Headers, number, string])[] = [
    ['Content-Range', { 'content-range': 'bytes 60000-64999/65000' }, 400, 'partial-upload'],
    ['Content-Range of the whole', { 'content-range': 'bytes 0-4999/5000' }, 400, 'partial-upload'],
    ['Upload-Concat', { 'upload-concat': 'partial' }, 400, 'invalid-upload-header'],
    ['Content-Encoding: br', { 'content-encoding': 'br' }, 415, 'unsupported-encoding'],
    ['a Content-MD5 that is none', { 'content-md5': 'AAAA' }, 400, 'invalid-upload-header'],
    ['a Content-Digest that is none', { 'content-digest': 'sha-256=AAAA' }, 400, 'invalid-upload-header'],
    ['a Content-Digest of the wrong length', { 'content-digest': 'sha-256=:AAAA:' }, 400, 'invalid-upload-header'],
    ['a Content-Digest of unknown algorithms', { 'content-digest': 'crc32c=:AAAA:' }, 400, 'checksum-unsupported'],
    ['a Repr-Digest that is none', { 'repr-digest': '"' }, 400, 'invalid-upload-header'],
    ['a Repr-Digest of unknown algorithms', { 'repr-digest': 'id-sha-256=:AAAA:' }, 400, 'checksum-unsupported'],
  ];
  it.each(rejected)('rejects %s', async (_name, headers, status, code) => {
    await expectRejected(await way.send(await way.body(file), headers), status, code);
  });

  it.runIf(['form', 'tus creation', 'tus PATCH', 'draft PATCH'].includes(way.name))(
    'rejects Content-Encoding: gzip, which cannot be of the file here',
    async () => {
      const answer = await way.send(await way.body(file), { 'content-encoding': 'gzip' });
      await expectRejected(answer, 415, 'unsupported-encoding');
    },
  );

  it.each(DIGESTS)('rejects a %s that the bytes do not have, and accepts the one they have', async (name, headers) => {
    const wrong = headers(await way.body(other));
    const [status, code] =
      way.isChunk && !(way.creates && name.startsWith('Repr'))
        ? ([460, 'chunk-checksum-mismatch'] as const)
        : ([422, 'checksum-mismatch'] as const);
    const body = await way.body(file);
    await expectRejected(await way.send(body, wrong), status, code);
    await expectStored(await way.send(body, headers(body)));
  });

  it('compares every digest that it knows', async () => {
    const body = await way.body(file);
    const both = `sha-256=:${digest('sha256', body)}:, sha-512=:${digest('sha512', other)}:`;
    const answer = await way.send(body, { 'content-digest': both });
    expect(answer.status).toBe(way.isChunk ? 460 : 422);
    await answer.body?.cancel();
    expect(await rows()).toBe(listed);
  });

  it('accepts Content-Encoding: identity', async () => {
    await expectStored(await way.send(await way.body(file), { 'content-encoding': 'identity' }));
  });
});

describe('a form that is sent as a raw body', () => {
  const form = { 'content-type': 'Multipart/Form-Data; boundary=x' };

  it.each(WAYS.filter(({ name }) => ['PUT', 'upload link', 'draft creation'].includes(name)))(
    'is rejected by $name',
    async ({ send }) => {
      await expectRejected(await send(file, form), 415, 'form-not-accepted');
    },
  );

  it.each(['application/x-www-form-urlencoded', 'text/html', 'multipart/mixed; boundary=x'])(
    'is not what %s is: any other type is kept',
    async (type) => {
      const answer = await ask('/backup/upload/a.bin', {
        method: 'PUT',
        body: file,
        headers: { 'content-type': type },
      });
      expect(await answer.json()).toMatchObject({ content_type: type });
    },
  );
});

describe('an empty file', () => {
  const empty = new Uint8Array(0);

  it.each(WAYS.filter(({ name }) => name !== 'tus PATCH' && name !== 'draft PATCH'))(
    'is rejected by $name, and stored where allow_empty says that it is meant',
    async ({ name, body, send }) => {
      await expectRejected(await send(await body(empty), {}), 400, 'empty-upload');
      if (name === 'upload link') return;
      await expectRejected(await send(await body(empty), {}, 'allow_empty=false'), 400, 'empty-upload');
      expect((await send(await body(empty), {}, 'allow_empty=true')).status).toBe(201);
      expect(await rows()).toBe(listed + 1);
    },
  );

  it('is rejected where the body of a draft upload ends without a byte', async () => {
    const location = await createdDraft();
    const answer = await append(location, '', { complete: true, offset: 0 });
    await expectProblem(answer, 400, 'empty-upload');
    await here(location, { method: 'DELETE' });
  });

  it('is meant where a tus client says its length of 0 by a PATCH of its own', async () => {
    const upload = await create({ length: null });
    expect((await patch(upload, 0, '', { headers: { 'upload-length': '0' } })).status).toBe(204);
    expect(await rows()).toBe(listed + 1);
  });

  it('is none where a Content-Length promised bytes', async () => {
    const answer = await ask('/backup/upload/a.tar', {
      method: 'PUT',
      body: new Blob([]).stream(),
      headers: { 'content-length': '10' },
    });
    await expectRejected(answer, 499, 'upload-interrupted');
  });
});

it('rejects a digest that comes with a creation without content', async () => {
  const headers = { 'content-digest': `sha-256=:${digest('sha256', file)}:` };
  await expectRejected(
    await tus('POST', '/tus?filename=a.tar', { headers: { 'upload-length': '5', ...headers } }),
    400,
    'invalid-upload-header',
  );
  await expectRejected(await createDraft(null, { complete: false, headers }), 400, 'invalid-upload-header');
});
