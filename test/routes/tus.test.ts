/** The core protocol of tus 1.0.0 (https://tus.io/protocols/resumable-upload), MUST by MUST; names begin with the section. */
import { beforeEach, describe, expect, it } from 'vitest';
import { MIB } from '../../src/shared/limits.ts';
import {
  create,
  creating,
  cut,
  PIECE_TYPE,
  patch,
  receiptOf,
  rows,
  send,
  standing,
  tus,
  type Upload,
} from '../support/tus.ts';
import { ask, expectProblem, sample, sha256Hex, storedKeys } from '../support/vault.ts';

const content = sample(100_000);

/** A refused piece has changed nothing: the whole content still goes in behind what was there. */
async function expectUntouched(upload: Upload, offset: number): Promise<void> {
  expect(await standing(upload)).toEqual({ offset, length: content.length, phase: 'receiving' });
  await send(upload, [content.subarray(offset)], offset);
  expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
}

describe('Upload-Offset (core)', () => {
  it('is 0 at first, and then the number of bytes that have come', async () => {
    const upload = await create({ length: content.length });
    expect((await standing(upload)).offset).toBe(0);
    for (const [at, piece] of [
      [1, content.subarray(0, 1)],
      [99_999, content.subarray(1, 99_999)],
      [100_000, content.subarray(99_999)],
    ] as const) {
      const answer = await patch(upload, at - piece.length, piece);
      expect(answer.status).toBe(204);
      expect(answer.headers.get('upload-offset')).toBe(String(at));
      expect((await standing(upload)).offset).toBe(at);
    }
  });

  it.each([null, '', '-1', '1.5', '0x0', '1e0', 'zero', ' ', '0, 0', '9'.repeat(40)])(
    'must be a non-negative integer: %j in a PATCH is refused',
    async (offset) => {
      const upload = await create({ length: content.length });
      const answer = await patch(upload, 0, content, { headers: { 'upload-offset': offset } });
      await expectProblem(answer, 400, 'invalid-upload-header');
      await expectUntouched(upload, 0);
    },
  );
});

describe('Upload-Length (core)', () => {
  it.each(['', '-1', '1.5', '0x10', '1e3', 'many', '10, 10', '+5'])(
    'must be a non-negative integer: %j in a POST is refused',
    async (length) => {
      const refused = await creating({ length: 1, headers: { 'upload-length': length } });
      await expectProblem(refused, 400, 'invalid-upload-header');
    },
  );
});

describe('Tus-Version, Tus-Extension, Tus-Max-Size (core)', () => {
  it.each(['/tus', '/tus/01JC8Z5V3M9QK2T7W4X6Y8B0CD'])('are told by OPTIONS %s, without a credential', async (path) => {
    const answer = await ask(path, { method: 'OPTIONS', token: null });
    expect(answer.status).toBe(204);
    const { max_file_size } = await (await ask('/capabilities')).json<{ max_file_size: number }>();
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'tus-resumable': '1.0.0',
      'tus-version': '1.0.0',
      'tus-max-size': String(max_file_size),
      'tus-extension': 'creation,creation-with-upload,creation-defer-length,expiration,checksum,termination',
      'tus-checksum-algorithm': 'sha1,sha256',
    });
  });
});

describe('Tus-Resumable (core)', () => {
  it('is in every answer, also in those that refuse', async () => {
    const upload = await create({ length: content.length });
    const answers: [number, Response][] = [
      [400, await creating({ length: -1 })],
      [400, await patch(upload, 0, content, { headers: { 'upload-offset': 'x' } })],
      [401, await tus('HEAD', upload.url, { token: null })],
      [404, await tus('HEAD', '/tus/01JC8Z5V3M9QK2T7W4X6Y8B0CD')],
      [405, await tus('PUT', upload.url)],
      [409, await patch(upload, 5, content)],
      [412, await tus('HEAD', upload.url, { headers: { 'tus-resumable': '0.2.2' } })],
      [413, await patch(upload, 0, sample(content.length + 1))],
      [415, await patch(upload, 0, content, { headers: { 'content-type': 'text/plain' } })],
      [200, await tus('HEAD', upload.url)],
      [200, await ask(upload.url)],
      [204, await patch(upload, 0, content.subarray(0, 10))],
      [204, await tus('DELETE', upload.url)],
      [410, await tus('HEAD', upload.url)],
    ];
    for (const [status, answer] of answers) {
      expect([answer.status, answer.headers.get('tus-resumable')]).toEqual([status, '1.0.0']);
    }
  });

  describe.each([null, '', '0.2.2', '1.0.1', '2.0.0', '1.0.0, 0.2.2'])('of another version, %j', (version) => {
    const headers = { 'tus-resumable': version };

    it('makes no upload, and the answer says which versions there are', async () => {
      const before = await storedKeys();
      const answer = await creating({ length: 0, metadata: { job_id: 'other-version' }, headers });
      expect(answer.headers.get('tus-version')).toBe('1.0.0');
      expect(answer.headers.get('location')).toBeNull();
      await expectProblem(answer, 412, 'tus-version-unsupported');
      expect(await storedKeys()).toEqual(before);
      expect(await (await ask('/jobs/other-version')).json()).toMatchObject({ phase: 'waiting' });
    });

    it('is not processed on an upload that is there', async () => {
      const upload = await create({ length: content.length });
      for (const refused of [
        await patch(upload, 0, content, { headers }),
        await tus('DELETE', upload.url, { headers }),
      ]) {
        expect(refused.headers.get('tus-version')).toBe('1.0.0');
        await expectProblem(refused, 412, 'tus-version-unsupported');
      }
      const head = await tus('HEAD', upload.url, { headers });
      expect([head.status, head.headers.get('tus-version')]).toEqual([412, '1.0.0']);
      expect(head.headers.get('upload-offset')).toBeNull();
      await expectUntouched(upload, 0);
    });
  });

  it('is ignored in OPTIONS', async () => {
    const answer = await tus('OPTIONS', '/tus', { token: null, headers: { 'tus-resumable': '0.0.1' } });
    expect([answer.status, answer.headers.get('tus-version')]).toEqual([204, '1.0.0']);
  });
});

describe('X-HTTP-Method-Override (core)', () => {
  const as = (method: string) => ({ 'x-http-method-override': method });

  it('is the method of a POST: PATCH, HEAD and DELETE', async () => {
    const upload = await create({ length: content.length });
    const headers = { ...as('PATCH'), 'content-type': PIECE_TYPE, 'upload-offset': '0' };
    const patched = await tus('POST', upload.url, { headers, body: content.subarray(0, 40_000) });
    expect([patched.status, patched.headers.get('upload-offset')]).toEqual([204, '40000']);
    const head = await tus('POST', upload.url, { headers: as('HEAD') });
    expect([head.status, head.headers.get('upload-offset')]).toEqual([200, '40000']);
    expect(head.headers.get('cache-control')).toBe('no-store');
    expect((await tus('POST', upload.url, { headers: as('DELETE') })).status).toBe(204);
    await expectProblem(await ask(upload.url), 410, 'upload-gone');
  });

  it('takes the rules of that method along', async () => {
    const upload = await create({ length: content.length });
    const unnamed = await tus('POST', upload.url, {
      headers: { ...as('PATCH'), 'upload-offset': '0', 'content-type': 'text/plain' },
      body: content,
    });
    await expectProblem(unnamed, 415, 'unsupported-media-type');
    const elsewhere = await tus('POST', upload.url, {
      headers: { ...as('PATCH'), 'upload-offset': '7', 'content-type': PIECE_TYPE },
      body: content,
    });
    expect(elsewhere.headers.get('upload-offset')).toBe('0');
    await expectProblem(elsewhere, 409, 'offset-mismatch');
    await expectProblem(await tus('POST', upload.url, { token: null, headers: as('DELETE') }), 401, 'unauthorized');
    await expectUntouched(upload, 0);
  });

  it('is needed: a POST to an upload is nothing by itself', async () => {
    const upload = await create({ length: content.length });
    const answer = await tus('POST', upload.url, { headers: { 'content-type': PIECE_TYPE, 'upload-offset': '0' } });
    expect(answer.headers.get('allow')).toContain('PATCH');
    await expectProblem(answer, 405, 'method-not-allowed');
  });
});

describe('HEAD (core)', () => {
  it('has Upload-Offset and Upload-Length, 0 too, and keeps every cache away', async () => {
    const upload = await create({ length: content.length, metadata: { job_id: 'headed' } });
    const head = await tus('HEAD', upload.url);
    expect(head.status).toBe(200);
    expect(Object.fromEntries(head.headers)).toMatchObject({
      'upload-offset': '0',
      'upload-length': '100000',
      'cache-control': 'no-store',
      'coldstream-backup-id': upload.id,
      'coldstream-job-id': 'headed',
      'coldstream-phase': 'receiving',
    });
    expect(head.headers.get('upload-defer-length')).toBeNull();
    expect(await head.text()).toBe('');
  });

  it('has them of a finished upload too', async () => {
    const upload = await create({ length: content.length });
    await send(upload, [content]);
    await receiptOf(upload);
    const head = await tus('HEAD', upload.url);
    expect(Object.fromEntries(head.headers)).toMatchObject({
      'upload-offset': '100000',
      'upload-length': '100000',
      'cache-control': 'no-store',
      'coldstream-backup-id': upload.id,
      'coldstream-phase': 'done',
    });
    expect(head.headers.get('upload-expires')).toBeNull();
  });

  it.each(['01JC8Z5V3M9QK2T7W4X6Y8B0CD', 'nothing', '../tus/x', '%00', 'a'.repeat(2000)])(
    'of an upload that never was has no Upload-Offset: %j',
    async (id) => {
      const head = await tus('HEAD', `/tus/${id}`);
      expect([head.status, head.headers.get('upload-offset')]).toEqual([404, null]);
      await expectProblem(await ask(`/tus/${id}`), 404, 'not-found');
    },
  );
});

describe('GET', () => {
  it('shows the upload, and its receipt once there is one; it needs no Tus-Resumable', async () => {
    const upload = await create({ length: content.length, metadata: { job_id: 'got' } });
    await send(upload, [content.subarray(0, 30)]);
    const before = await ask(upload.url);
    expect(before.headers.get('cache-control')).toBe('no-store');
    expect(await before.json()).toEqual({
      upload_id: upload.id,
      backup_id: upload.id,
      job_id: 'got',
      name: 'site.tar',
      filename: 'site.tar',
      offset: 30,
      length: 100_000,
      phase: 'receiving',
      expires_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      receipt: null,
    });
    await send(upload, [content.subarray(30)], 30);
    const receipt = await receiptOf(upload);
    expect(receipt).toMatchObject({ backup_id: upload.id, job_id: 'got', file_size: 100_000 });
    expect(await (await ask(receipt.download_url)).bytes()).toEqual(content);
  });
});

describe('PATCH (core)', () => {
  let upload: Upload;
  let before: string[];
  let listed: number;
  beforeEach(async () => {
    before = await storedKeys();
    listed = await rows();
    upload = await create({ length: content.length });
    await send(upload, [content.subarray(0, 50_000)]);
  });

  it('applies the bytes at the offset, and answers 204 with the new one', async () => {
    const answer = await patch(upload, 50_000, content.subarray(50_000, 60_000));
    expect([answer.status, answer.headers.get('upload-offset')]).toEqual([204, '60000']);
    expect(answer.headers.get('coldstream-backup-id')).toBe(upload.id);
    expect(await answer.text()).toBe('');
    await expectUntouched(upload, 60_000);
  });

  it('of no bytes is a PATCH too', async () => {
    for (const body of [new Uint8Array(), null]) {
      const answer = await patch(upload, 50_000, body);
      expect([answer.status, answer.headers.get('upload-offset')]).toEqual([204, '50000']);
    }
    await expectUntouched(upload, 50_000);
  });

  it('may come without a length of its own', async () => {
    const answer = await patch(upload, 50_000, new Blob([content.subarray(50_000)]).stream());
    expect([answer.status, answer.headers.get('upload-offset')]).toEqual([204, '100000']);
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });

  it.each([0, 49_999, 50_001, 100_000, 100_001, Number.MAX_SAFE_INTEGER])(
    'at another offset, %i, is a conflict that changes nothing and says where to go on',
    async (offset) => {
      const answer = await patch(upload, offset, content.subarray(50_000));
      expect(answer.headers.get('upload-offset')).toBe('50000');
      await expectProblem(answer, 409, 'offset-mismatch');
      await expectUntouched(upload, 50_000);
    },
  );

  it.each([null, '', 'application/octet-stream', 'text/plain', 'application/offset+octet-streams'])(
    'has the one content type: %j is refused',
    async (type) => {
      // A stream, since a body of bytes would get a type from the runtime.
      const body = new Blob([content.subarray(50_000)]).stream();
      await expectProblem(
        await patch(upload, 50_000, body, { headers: { 'content-type': type } }),
        415,
        'unsupported-media-type',
      );
      await expectUntouched(upload, 50_000);
    },
  );

  it('with more bytes than the upload has room for is refused, and nothing of it counts', async () => {
    await expectProblem(await patch(upload, 50_000, sample(50_001)), 413, 'file-too-large');
    await expectUntouched(upload, 50_000);
  });

  it('never ends an upload with bytes of a piece that was too long, though its length came to light late', async () => {
    const body = new Blob([sample(2 * MIB, 9)]).stream();
    await expectProblem(await patch(upload, 50_000, body), 413, 'file-too-large');
    const { offset, phase } = await standing(upload);
    expect(phase).toBe('receiving');
    expect(offset).toBeLessThan(content.length);
    expect(await rows()).toBe(listed);
  });

  it('leaves neither object nor row until the last byte is there', async () => {
    expect(await storedKeys()).toEqual(before);
    expect(await rows()).toBe(listed);
    await send(upload, cut(content.subarray(50_000), [49_999]), 50_000);
    await receiptOf(upload);
    expect((await storedKeys()).filter((key) => !before.includes(key))).toEqual([
      `data/${upload.id}`,
      `receipt/${upload.id}`,
    ]);
    expect(await rows()).toBe(listed + 1);
  });

  it('against what is not there is 404', async () => {
    const nowhere = { ...upload, url: '/tus/01JC8Z5V3M9QK2T7W4X6Y8B0CD' };
    await expectProblem(await patch(nowhere, 0, content), 404, 'not-found');
  });

  it('behind the end: an empty one asks again and is told, one with bytes has no room', async () => {
    await send(upload, [content.subarray(50_000)], 50_000);
    await receiptOf(upload);
    const again = await patch(upload, 100_000, new Uint8Array());
    expect([again.status, again.headers.get('upload-offset')]).toEqual([204, '100000']);
    expect(again.headers.get('coldstream-backup-id')).toBe(upload.id);
    await expectProblem(await patch(upload, 100_000, sample(1)), 413, 'file-too-large');
    // The one whose answer was lost, once more.
    const repeated = await patch(upload, 50_000, content.subarray(50_000));
    expect(repeated.headers.get('upload-offset')).toBe('100000');
    await expectProblem(repeated, 409, 'offset-mismatch');
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });
});
