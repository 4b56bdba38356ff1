import { describe, expect, it } from 'vitest';
import {
  append,
  asker,
  create,
  created,
  cut,
  digestField,
  expectInconsistent,
  expectReceipt,
  fields,
  head,
  here,
  limits,
  offsetOf,
} from '../support/resumable-draft.ts';
import { ask, chunked, expectProblem, sample, sha256Hex, storedKeys } from '../support/vault.ts';

const content = sample(100_000);

describe('without RESUMABLE_DRAFT=1', () => {
  it.each(['POST', 'HEAD', 'GET', 'PATCH', 'DELETE', 'OPTIONS', 'PUT'])('%s is 404 as anywhere', async (method) => {
    const sent = { method, headers: { 'upload-complete': '?1' } };
    const [response, anywhere] = await Promise.all([ask('/uploads/dump.sql', sent), ask('/nowhere/dump.sql', sent)]);
    expect(response.status).toBe(404);
    const names = (answer: Response) => [...answer.headers.keys()].sort();
    expect(names(response)).toEqual(names(anywhere));
    if (method !== 'HEAD') {
      const { request_id, ...problem } = await response.json<Record<string, unknown>>();
      expect(await anywhere.json()).toMatchObject(problem);
      expect(request_id).toBe(response.headers.get('x-request-id'));
    }
  });
});

describe('Upload Resource, State', () => {
  it('Offset: is what was appended, and does not decrease', async () => {
    const location = await created();
    expect(await offsetOf(location)).toBe(0);
    const response = await append(location, content.slice(0, 1_000), { complete: false, offset: 0 });
    expect(response.headers.get('upload-offset')).toBe('1000');
    await append(location, content.slice(0, 10), { complete: false, offset: 5 });
    expect(await offsetOf(location)).toBe(1_000);
  });

  it.each(['-1', '1.0', '"0"', '0, 0', 'zero', ''])('Offset: %j counts as missing', async (offset) => {
    const location = await created();
    await expectProblem(await append(location, 'x', { complete: false, offset }), 400, 'invalid-upload-header');
    expect(await offsetOf(location)).toBe(0);
  });

  it('Offset: an Item may have parameters, which mean nothing here', async () => {
    const response = await append(await created(), 'x', { complete: '?0;a="b;c"', offset: '0;d=1' });
    expect(response.status).toBe(204);
  });

  it.each(['1', 'true', '?2', '?1, ?1'])('Completeness: %j counts as missing', async (complete) => {
    await expectProblem(await create('x', { complete }), 400, 'invalid-upload-header');
  });

  it.each(['-5', 'five', '5.0'])('Length: %j counts as missing', async (given) => {
    const location = await created({ headers: { 'upload-length': given } });
    expect((await head(location)).headers.has('upload-length')).toBe(false);
  });

  it('Length: both ways of one request must match', async () => {
    await expectInconsistent(await create(content, { complete: true, length: content.length + 1 }));
    const location = await created();
    await expectInconsistent(await append(location, 'abc', { complete: true, offset: 0, length: 4 }));
  });

  it('Length: what several requests say must match', async () => {
    const location = await created({ length: 10 });
    await expectInconsistent(await append(location, 'abc', { complete: false, offset: 0, length: 11 }));
    await expectInconsistent(await append(location, 'abc', { complete: true, offset: 0 }));
    expect(await offsetOf(location)).toBe(0);
  });

  it('Length: content without a length of its own that ends too early does not complete', async () => {
    const location = await created({ length: content.length });
    const early = chunked(content.slice(0, 60_000), 7_000);
    await expectInconsistent(await append(location, early, { complete: true, offset: 0 }));
    const state = await head(location);
    expect(state.headers.get('upload-complete')).toBe('?0');
    expect(state.headers.get('upload-offset')).toBe('60000');
    await expectReceipt(await append(location, content.slice(60_000), { complete: true, offset: 60_000 }), content);
  });

  it('Limits: OPTIONS tells them, and the media type of an append, without a credential', async () => {
    const response = await here('/uploads/dump.sql', { method: 'OPTIONS', token: null });
    expect(response.status).toBe(204);
    expect(limits(response)).toEqual({ 'max-size': 10 * 1024 ** 3, 'max-age': 6 * 24 * 3600 });
    expect(response.headers.get('accept-patch')).toBe('application/partial-upload');
    expect(response.headers.get('upload-draft-interop-version')).toBe('8');
  });

  it('Limits: are those of the deployment', async () => {
    const tight = asker({ MAX_FILE_SIZE: '64KiB', MAX_REQUEST_BYTES: '16KiB', UPLOAD_TTL: '2h' });
    const general = limits(await tight('/uploads/x', { method: 'OPTIONS' }));
    expect(general).toEqual({ 'max-size': 65_536, 'max-append-size': 16_384, 'max-age': 7_200 });
    const sent = { method: 'POST', headers: fields({ complete: false }) };
    const one = await tight('/uploads/dump.sql', sent);
    expect(limits(one)).toMatchObject({ 'max-size': 65_536, 'max-append-size': 16_384 });
    expect(limits(one)['max-age']).toBeGreaterThan(7_100);
    expect(limits(one)['max-age']).toBeLessThanOrEqual(7_200);
  });

  it('Limits: a 413 tells them too, and the upload can go on below them', async () => {
    const tight = asker({ MAX_FILE_SIZE: '64KiB' });
    const headers = { 'content-type': 'application/partial-upload' };
    const known = await tight('/uploads/dump.sql', {
      method: 'POST',
      headers: fields({ complete: false, length: 65_537 }),
    });
    expect(limits(known)).toEqual({ 'max-size': 65_536 });
    await expectProblem(known, 413, 'file-too-large');
    const sent = { method: 'POST', headers: fields({ complete: false }) };
    const location = (await tight('/uploads/dump.sql', sent)).headers.get('location') ?? '';
    const large = await tight(location, {
      method: 'PATCH',
      headers: { ...headers, ...fields({ complete: true, offset: 0 }) },
      body: content,
    });
    expect(limits(large)).toEqual({ 'max-size': 65_536 });
    await expectProblem(large, 413, 'file-too-large');
    const small = content.slice(0, 1_000);
    const last = { ...headers, ...fields({ complete: true, offset: 0 }) };
    await expectReceipt(await tight(location, { method: 'PATCH', headers: last, body: small }), small);
  });
});

describe('Upload Creation', () => {
  it('with all content is answered with the receipt', async () => {
    const response = await create(content, { complete: true, length: content.length });
    expect(response.headers.get('coldstream-phase')).toBe('done');
    const receipt = await expectReceipt(response, content);
    expect(response.headers.get('coldstream-backup-id')).toBe(receipt.backup_id);
  });

  it('with all content whose length is not known before', async () => {
    await expectReceipt(await create(chunked(content, 9_000), { complete: true }), content);
  });

  it('of an empty representation', async () => {
    const path = '/uploads/dump.sql?allow_empty=true';
    await expectReceipt(await create(null, { complete: true }, path), new Uint8Array());
  });

  it('with a part of the content has Location and Upload-Limit, and goes on there', async () => {
    const response = await create(content.slice(0, 40_000), { complete: false, length: content.length });
    expect(response.status).toBe(201);
    const location = response.headers.get('location') ?? '';
    expect(location).toMatch(/^\/uploads\/[0-9A-Z]{26}$/);
    expect(limits(response)).toMatchObject({ 'max-size': 10 * 1024 ** 3 });
    expect(response.headers.get('upload-complete')).toBe('?0');
    expect(response.headers.get('upload-offset')).toBe('40000');
    await expectReceipt(await append(location, content.slice(40_000), { complete: true, offset: 40_000 }), content);
  });

  it('records the length of either way', async () => {
    const said = await created({ length: 123 });
    expect((await head(said)).headers.get('upload-length')).toBe('123');
    const implied = await created();
    const headers = { 'content-length': '100' };
    await append(implied, cut(content.slice(0, 30)), { complete: true, offset: 0, headers });
    const state = await head(implied);
    expect(state.headers.get('upload-complete')).toBe('?0');
    expect(state.headers.get('upload-length')).toBe('100');
  });

  it('takes options in the query and the media type of the representation', async () => {
    const response = await create(
      content,
      { complete: true, headers: { 'content-type': 'application/sql' } },
      '/uploads/d%C3%A9p%C3%B4t.sql?job_id=draft-options&level=2&compression=zstd',
    );
    expect(await response.json()).toMatchObject({
      filename: 'dépôt.sql',
      job_id: 'draft-options',
      content_type: 'application/sql',
      compression: { codec: 'zstd', level: 2 },
    });
  });

  it.each([
    ['/uploads/a%00b.sql', 'invalid-name'],
    ['/uploads/dump.sql?level=99', 'invalid-option'],
  ])('%s is refused as elsewhere', async (path, code) => {
    await expectProblem(await create(null, { complete: false }, path), 400, code);
  });

  it('needs a token', async () => {
    await expectProblem(await create(content, { complete: true, token: null }), 401, 'unauthorized');
  });

  it('a cut one is not complete, and leaves nothing: its sender does not know the upload', async () => {
    const stored = await storedKeys();
    const path = '/uploads/dump.sql?job_id=draft-cut';
    const response = await create(cut(content.slice(0, 50_000)), { complete: true }, path);
    expect(response.headers.get('upload-complete')).toBe('?0');
    expect(response.headers.has('location')).toBe(false);
    await expectProblem(response, 499, 'upload-interrupted');
    expect(await storedKeys()).toEqual(stored);
    await expectReceipt(await create(content, { complete: true }, path), content);
  });

  it('of more than was announced leaves nothing', async () => {
    const path = '/uploads/dump.sql?job_id=draft-long';
    await expectInconsistent(await create(content, { complete: false, length: 10 }, path));
    await expectReceipt(await create(content, { complete: true }, path), content);
  });
});

describe('Offset Retrieval', () => {
  it.each([
    ['HEAD', 204],
    ['GET', 200],
  ])('%s tells offset, completeness, length and limits, and is not cached', async (method, status) => {
    const location = await created({ length: 10 });
    await append(location, 'abc', { complete: false, offset: 0 });
    const response = await head(location, method);
    expect(response.status).toBe(status);
    expect(response.headers.get('upload-offset')).toBe('3');
    expect(response.headers.get('upload-complete')).toBe('?0');
    expect(response.headers.get('upload-length')).toBe('10');
    expect(limits(response)['max-age']).toBeGreaterThan(0);
    expect(response.headers.get('cache-control')).toBe('no-store');
  });

  it('tells no length that was not said', async () => {
    expect((await head(await created())).headers.has('upload-length')).toBe(false);
  });

  it('of a complete upload says so, and GET has the receipt', async () => {
    const location = await created();
    const receipt = await expectReceipt(await append(location, content, { complete: true, offset: 0 }), content);
    const response = await head(location, 'GET');
    expect(response.headers.get('upload-complete')).toBe('?1');
    expect(response.headers.get('upload-length')).toBe(String(content.length));
    const { backup_id, job_id } = receipt;
    const status = { upload_id: backup_id, job_id, phase: 'done', offset: content.length, receipt };
    expect(await response.json()).toMatchObject(status);
  });
});

describe('Integrity Digests', () => {
  it('Content-Digest: content that is other than it says is not appended', async () => {
    const location = await created();
    const headers = { 'content-digest': digestField(await sha256Hex(content)) };
    const damaged = content.slice();
    damaged[77] = 0;
    const response = await append(location, damaged, { complete: true, offset: 0, headers });
    expect(response.headers.get('upload-complete')).toBe('?0');
    await expectProblem(response, 460, 'chunk-checksum-mismatch');
    expect(await offsetOf(location)).toBe(0);
    await expectReceipt(await append(location, content, { complete: true, offset: 0, headers }), content);
  });

  it('Repr-Digest: an upload that is other than it says failed, which no resuming mends', async () => {
    const headers = { 'repr-digest': `unixsum=:AAAA:, ${digestField(await sha256Hex(content))}` };
    const location = await created({ headers });
    const response = await append(location, sample(1_000, 9), { complete: true, offset: 0 });
    expect(response.headers.get('upload-complete')).toBe('?1');
    await expectProblem(response, 422, 'checksum-mismatch');
    await expectProblem(await head(location, 'GET'), 410, 'upload-failed');
    await expectReceipt(await create(content, { complete: true, headers }), content);
  });

  it('Repr-Digest: of an empty representation too', async () => {
    const headers = { 'repr-digest': digestField(await sha256Hex(content)) };
    const path = '/uploads/dump.sql?allow_empty=1';
    await expectProblem(await create(null, { complete: true, headers }, path), 422, 'checksum-mismatch');
  });
});

describe('pages of other origins', () => {
  it('may send what the draft needs, and read what it answers', async () => {
    const cross = asker({ ALLOWED_ORIGINS: 'https://app.example' });
    const origin = 'https://app.example';
    const asked = { 'access-control-request-method': 'PATCH', 'access-control-request-headers': 'upload-complete' };
    const preflight = await cross('/uploads/x', { method: 'OPTIONS', headers: { origin, ...asked }, token: null });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toMatch(/Upload-Complete/i);
    const response = await cross('/uploads/dump.sql', {
      method: 'POST',
      headers: { origin, ...fields({ complete: false }) },
    });
    const exposed = response.headers.get('access-control-expose-headers') ?? '';
    for (const name of ['Upload-Complete', 'Upload-Offset', 'Upload-Limit', 'Location'])
      expect(exposed).toContain(name);
  });
});
