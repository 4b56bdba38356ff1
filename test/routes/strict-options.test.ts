import { beforeAll, describe, expect, it } from 'vitest';
import { tarOf } from '../support/archives.ts';
import { ask, expectProblem, put, sample } from '../support/vault.ts';

interface Schema {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, unknown>>;
}
interface Operation {
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: {
    readonly content: Readonly<Record<string, { readonly schema: Schema; readonly example?: object }>>;
  };
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

/** Parameters of signed URLs are rejected without a signature, so a slip of them is no test of its own. */
const OF_LINKS = ['expires', 'key_id', 'signature', 'link_id', 'max_bytes'];
/** Mail and chat programs add parameters of their own to the addresses of pages. */
const PAGES = ['/', '/docs'];

const OF_TUS = { 'tus-resumable': '1.0.0', 'upload-length': '1', 'x-http-method-override': 'PATCH' };
const ID = '01JC8Z5V3M9QK2T7W4X6Y8B0CD';

let document: Document;
let operations: { method: string; path: string; operation: Operation }[];

beforeAll(async () => {
  document = await (await ask('/openapi.json')).json();
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([method]) => method !== 'options' && !PAGES.includes(path))
      .map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
});

function send(method: string, path: string, query: string, body?: object): Promise<Response> {
  const address = path.replace(/\{(\w+)\}/g, (_, name) => (name === 'job_id' ? 'job' : ID));
  const json = body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
  return ask(`${address}?${query}`, { method, headers: OF_TUS, ...json });
}

/** A HEAD has no body to say more in. */
async function expectCode(response: Response, method: string, code: string, words: string): Promise<void> {
  if (method === 'HEAD') return expect(response.status).toBe(400);
  const text = await response.clone().text();
  await expectProblem(response, 400, code);
  expect(JSON.parse(text).detail).toContain(words);
}

describe('every operation of the OpenAPI document', () => {
  it('rejects an unknown query parameter', async () => {
    expect(operations.length).toBeGreaterThan(30);
    for (const { method, path } of operations) {
      const response = await send(method, path, 'qqqqqqqq=1');
      await expectCode(response, method, 'unknown-option', 'Unknown option "qqqqqqqq".').catch((cause: unknown) => {
        throw new Error(`${method} ${path}`, { cause });
      });
    }
  });

  it('names the option that a misspelt one is near', async () => {
    let slips = 0;
    for (const { method, path, operation } of operations) {
      for (const { name, in: place } of operation.parameters ?? []) {
        if (place !== 'query' || OF_LINKS.includes(name)) continue;
        for (const slip of [`${name}x`, name.slice(1), name.toUpperCase(), name.replaceAll('_', '-')]) {
          if (slip === name) continue;
          slips++;
          const response = await send(method, path, `${encodeURIComponent(slip)}=1`);
          await expectCode(response, method, 'unknown-option', `Did you mean "${name}"?`);
        }
      }
    }
    expect(slips).toBeGreaterThan(100);
  });

  it('rejects an unknown field of a JSON body, and names the one it is near', async () => {
    let bodies = 0;
    for (const { method, path, operation } of operations) {
      const { schema, example } = operation.requestBody?.content['application/json'] ?? {};
      const fields = Object.keys(
        document.components.schemas[schema?.$ref?.split('/').at(-1) ?? '']?.properties ?? schema?.properties ?? {},
      );
      if (fields.length === 0) continue;
      bodies++;
      await expectProblem(await send(method, path, '', { ...example, qqqqqqqq: 1 }), 400, 'unknown-option');
      for (const field of fields) {
        const response = await send(method, path, '', { ...example, [`${field}x`]: 1 });
        await expectCode(response, method, 'unknown-option', `Did you mean "${field}"?`);
      }
    }
    expect(bodies).toBeGreaterThan(3);
  });

  it('rejects an option that comes twice with different values, and takes one that comes twice the same', async () => {
    for (const { method, path, operation } of operations) {
      for (const { name, in: place } of operation.parameters ?? []) {
        if (place !== 'query' || ['recipient', 'upload_key'].includes(name) || OF_LINKS.includes(name)) continue;
        const response = await send(method, path, `${name}=1&${name}=2`);
        await expectCode(response, method, 'invalid-option', `${name}: it is given twice, with different values.`);
      }
    }
    expect((await ask('/backup?limit=1&limit=1')).status).toBe(200);
    expect((await put('twice.bin', sample(5), '?level=1&level=1')).compression).toMatchObject({ level: 1 });
  });
});

describe('options that were ignored before', () => {
  it.each([
    ['PUT', '/backup/upload/a.bin?recipent=age1x', undefined, 'Did you mean "recipient"?'],
    ['POST', '/import/stream?database=sample&table=items&dryrun=true', [], 'Did you mean "dry_run"?'],
    ['POST', '/tokens', { name: 'n', scopes: ['read'], expires: 60 }, 'Did you mean "expires_in"?'],
    ['POST', `/backup/${ID}/links`, { password: 'secret' }, 'This request takes "expires_in", "format",'],
    ['GET', '/backup?since=2026-01-01', undefined, 'This request takes "name", "prefix", "delimiter", "before",'],
    ['GET', `/backup/${ID}?x=1`, undefined, 'This request takes no such options.'],
  ])('%s %s is rejected', async (method, path, body, words) => {
    const json = body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
    await expectCode(await ask(path, { method, ...json }), method, 'unknown-option', words);
  });
});

describe('an option without an effect', () => {
  it.each([
    ['of another route', 'GET', '/jobs?delimiter=/'],
    ['a prefix with the whole name', 'GET', '/backup?name=a&prefix=a'],
    ['a delimiter with the whole name', 'GET', '/backup?name=a&delimiter=/'],
    ['a name beside that of the path', 'PUT', '/backup/upload/a.bin?name=b.bin'],
    ['level with compression=none', 'PUT', '/backup/upload/a.bin?compression=none&level=9'],
    ['the cap of an upload link without its signature', 'PUT', '/backup/upload/a.bin?max_bytes=10'],
    ['the time of a signed URL without its signature', 'GET', `/backup/${ID}/download?expires=10`],
  ])('is rejected: %s', async (_what, method, path) => {
    await expectProblem(
      await ask(path, { method, body: method === 'PUT' ? 'x' : undefined }),
      400,
      'option-not-applicable',
    );
  });

  it('is rejected on members and listings of an archive', async () => {
    const { backup_id } = await put(
      'strict.tar',
      tarOf([
        { path: 'dir', type: 'directory' },
        { path: 'dir/a', content: 'a' },
      ]),
    );
    const files = `/backup/${backup_id}/files`;
    for (const path of [
      '/dir/a?limit=5',
      '/dir/a?cursor=x',
      '/dir/?filename=b',
      '/dir/?format=tar&limit=5',
      '/dir?filename=b',
    ]) {
      await expectProblem(await ask(`${files}${path}`), 400, 'option-not-applicable');
    }
    const links = { method: 'POST', headers: { 'content-type': 'application/json' } };
    for (const body of [
      { path: 'dir/a', format: 'zst' },
      { path: 'dir', filename: 'b' },
    ]) {
      const response = await ask(`/backup/${backup_id}/links`, { ...links, body: JSON.stringify(body) });
      await expectProblem(response, 400, 'option-not-applicable');
    }
  });
});

describe('durations and sizes of JSON bodies', () => {
  it('have the grammar of variables', async () => {
    const post = (path: string, body: object) =>
      ask(path, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });
    const made = await post('/tokens', { name: 'n', scopes: ['read'], expires_in: '90s' });
    const { created_at, expires_at } = await made.json<{ created_at: string; expires_at: string }>();
    expect(Date.parse(expires_at) - Date.parse(created_at)).toBe(90_000);
    expect(
      (await post('/backup/upload-links', { filename: 'a.bin', max_bytes: '1.5MiB', expires_in: '7d' })).status,
    ).toBe(200);
    for (const expires_in of [0, -5, '0s', 'soon', 1e300, 8.64e12, true, null, []]) {
      await expectProblem(await post('/tokens', { name: 'n', scopes: ['read'], expires_in }), 400, 'invalid-request');
    }
  });
});

describe('GET /tokens', () => {
  it('pages through all tokens, newest first', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 5; n++) {
      const made = await ask('/tokens', {
        method: 'POST',
        body: JSON.stringify({ name: `page ${n}`, scopes: ['read'] }),
        headers: { 'content-type': 'application/json' },
      });
      ids.unshift((await made.json<{ id: string }>()).id);
    }
    const seen: string[] = [];
    let cursor: string | null = '';
    for (let page = 0; cursor !== null && page < 50; page++) {
      const response = await ask(`/tokens?limit=2${cursor && `&cursor=${cursor}`}`);
      const body: { tokens: { id: string }[]; cursor: string | null } = await response.json();
      expect(body.tokens.length).toBeLessThanOrEqual(2);
      seen.push(...body.tokens.map(({ id }) => id));
      cursor = body.cursor;
    }
    expect(seen.filter((id) => ids.includes(id))).toEqual(ids);
    expect(new Set(seen).size).toBe(seen.length);
    await expectProblem(await ask('/tokens?cursor=x'), 400, 'invalid-cursor');
    for (const limit of [0, 1001, 'all'])
      await expectProblem(await ask(`/tokens?limit=${limit}`), 400, 'invalid-option');
  });
});

describe('a slash at the end of a path', () => {
  it('is forgiven where it means nothing', async () => {
    expect((await ask('/backup/')).status).toBe(200);
    expect((await ask('/docs/', { token: null })).status).toBe(200);
    expect((await ask('/capabilities/', { token: null })).status).toBe(200);
    expect((await ask('/tokens/')).status).toBe(200);
    const headers = {
      'tus-resumable': '1.0.0',
      'upload-length': '5',
      'upload-metadata': `filename ${btoa('slash.bin')}`,
    };
    const created = await ask('/tus/', { method: 'POST', headers });
    expect(created.status).toBe(201);
    const location = created.headers.get('location') ?? '';
    expect((await ask(`${location}/`, { method: 'HEAD', headers })).status).toBe(200);
    expect((await ask(`${location}/`, { method: 'DELETE', headers })).status).toBe(204);
    const form = new FormData();
    form.append('file', new Blob(['form']), 'slash.txt');
    expect((await ask('/backup/upload/', { method: 'POST', body: form })).status).toBe(201);
    const { backup_id } = await put('slash.tar', tarOf([{ path: 'dir', type: 'directory' }]));
    expect((await ask(`/backup/${backup_id}/`)).status).toBe(200);
    expect(await (await ask(`/backup/${backup_id}/download/`)).arrayBuffer()).toHaveProperty('byteLength');
    expect(await (await ask(`/backup/${backup_id}/files/`)).json()).toHaveProperty('prefixes');
  });

  it('is asked for by PUT /backup/upload, which has no name', async () => {
    for (const path of ['/backup/upload', '/backup/upload/']) {
      const response = await ask(path, { method: 'PUT', body: 'x' });
      expect(await response.clone().text()).toContain('Add a slash');
      await expectProblem(response, 400, 'invalid-name');
    }
  });
});

describe('a signed link that a shell cut at its first "&"', () => {
  it('is answered with the names of what is missing', async () => {
    const { backup_id } = await put('cut.bin', sample(10));
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ filename: 'other.bin' });
    const made = await ask(`/backup/${backup_id}/links`, { method: 'POST', headers, body });
    const { url } = await made.json<{ url: string }>();
    expect((await ask(url, { token: null })).status).toBe(200);
    const cut = await ask(url.slice(0, url.indexOf('&')), { token: null });
    const text = await cut.clone().text();
    await expectProblem(cut, 403, 'bad-signature');
    expect(JSON.parse(text).detail).toContain('"key_id" and "signature" are missing. Put the link in quotes');
  });
});

describe('keys of Upload-Metadata', () => {
  const create = (key: string) => {
    const metadata = `filename ${btoa('keys.bin')},${key} ${btoa('9')}`;
    return ask('/tus', { method: 'POST', headers: { ...OF_TUS, 'upload-metadata': metadata } });
  };

  it.each([
    ['Level', 'level'],
    ['levle', 'level'],
    ['job-id', 'job_id'],
    ['recpient', 'recipient'],
    ['fileTyp', 'filetype'],
  ])('are rejected where they are a near miss: "%s"', async (key, meant) => {
    await expectCode(await create(key), 'POST', 'unknown-option', `Did you mean "${meant}"?`);
  });

  it.each(['note', 'type', 'relativePath', 'lastModified', 'label', 'sha512', 'size'])(
    'are the client\'s own otherwise: "%s"',
    async (key) => {
      expect((await create(key)).status).toBe(201);
    },
  );
});

describe('fields of a form', () => {
  const send = (...fields: [string, string | Blob][]) => {
    const form = new FormData();
    for (const [name, value] of fields) form.append(name, value);
    return ask('/backup/upload', { method: 'POST', body: form });
  };
  const file: [string, Blob] = ['file', new File(['x'], 'form.txt')];

  it('are rejected where they are not known, before and after the file', async () => {
    await expectCode(await send(['recipent', 'x'], file), 'POST', 'unknown-option', 'Did you mean "recipient"?');
    await expectCode(await send(file, ['level', '9']), 'POST', 'invalid-option', 'put it before the file');
    await expectCode(await send(['level', '1'], ['level', '2'], file), 'POST', 'invalid-option', 'given twice');
    await expectCode(await send(['upload', new File(['x'], 'a.txt')]), 'POST', 'no-file', '"upload"');
  });

  it('are rejected where the query gives the option another value', async () => {
    const form = new FormData();
    form.append('level', '2');
    form.append('file', new File(['x'], 'form.txt'));
    await expectProblem(await ask('/backup/upload?level=1', { method: 'POST', body: form }), 400, 'invalid-option');
  });
});
