/** Uploads in pieces by people without a token, and from pages of other origins. */
import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { createApp } from '../../src/http/app.ts';
import {
  create,
  creating,
  metadata,
  PIECE_TYPE,
  patch,
  receiptOf,
  rows,
  standing,
  tus,
  uploadIn,
} from '../support/tus.ts';
import { ask, expectProblem, sample, sha256Hex, storedKeys } from '../support/vault.ts';

const content = sample(10_000);

interface UploadLink {
  readonly url: string;
  readonly tus_url: string;
  readonly job_id: string;
}

async function makeLink(order: object = {}): Promise<UploadLink> {
  const response = await ask('/backup/upload-links', {
    method: 'POST',
    body: JSON.stringify({ filename: 'gift ü.tar', ...order }),
    headers: { 'content-type': 'application/json' },
  });
  expect(response.status, await response.clone().text()).toBe(200);
  return response.json();
}

/** The creation by a link: no token, and no metadata unless some is given. */
function byLink({ tus_url }: UploadLink, length: number | null, headers: Record<string, string | null> = {}) {
  return creating({ length, at: tus_url, token: null, headers: { 'upload-metadata': null, ...headers } });
}

describe('an upload link', () => {
  it('creates one upload, whose address is its credential and relative', async () => {
    const link = await makeLink({ job_id: 'gift' });
    const made = await byLink(link, content.length);
    expect(made.headers.get('location')).toMatch(/^\/tus\/[0-9A-Z]{26}\?upload_key=csu_[A-Za-z0-9_-]{43}$/);
    const upload = await uploadIn(made);
    await expectProblem(await ask(`/tus/${upload.id}`, { token: null }), 401, 'unauthorized');
    const { headers } = await tus('HEAD', upload.url, { token: null });
    expect(headers.get('coldstream-job-id')).toBe('gift');
    for (const [at, piece] of [
      [0, content.subarray(0, 5000)],
      [5000, content.subarray(5000)],
    ] as const) {
      expect((await patch(upload, at, piece, { token: null })).status).toBe(204);
    }
    const shown = await (await ask(upload.url, { token: null })).json();
    expect(shown).toMatchObject({ job_id: 'gift', filename: 'gift ü.tar', phase: 'done' });
    expect(await receiptOf(upload)).toMatchObject({ checksum: await sha256Hex(content), filename: 'gift ü.tar' });
  });

  it('is one upload by either way: a second use is refused, the other way too', async () => {
    const link = await makeLink();
    const upload = await uploadIn(await byLink(link, content.length));
    await expectProblem(await byLink(link, content.length), 409, 'link-used');
    const inOne = () => ask(link.url, { method: 'PUT', body: content, token: null });
    await expectProblem(await inOne(), 409, 'link-used');
    await patch(upload, 0, content, { token: null });
    await receiptOf(upload);
    await expectProblem(await byLink(link, content.length), 409, 'link-used');
    const other = await makeLink();
    expect((await ask(other.url, { method: 'PUT', body: content, token: null })).status).toBe(201);
    await expectProblem(await byLink(other, content.length), 409, 'link-used');
  });

  it('is good again when its upload came to nothing', async () => {
    const link = await makeLink({ max_bytes: 20_000 });
    const first = await uploadIn(await byLink(link, content.length));
    expect((await tus('DELETE', first.url, { token: null })).status).toBe(204);
    await expectProblem(await byLink(link, 20_001), 413, 'file-too-large');
    const tooMuch = sample(20_001);
    const refused = await creating({
      length: null,
      at: link.tus_url,
      token: null,
      headers: { 'upload-metadata': null, 'content-type': PIECE_TYPE },
      body: tooMuch,
    });
    await expectProblem(refused, 413, 'file-too-large');
    const last = await uploadIn(await byLink(link, content.length));
    await patch(last, 0, content, { token: null });
    expect((await receiptOf(last)).file_size).toBe(content.length);
  });

  it('holds to its own cap, told before or not', async () => {
    const link = await makeLink({ max_bytes: 1000 });
    await expectProblem(await byLink(link, 1001), 413, 'file-too-large');
    const upload = await uploadIn(await byLink(link, null));
    await expectProblem(await patch(upload, 0, sample(1001), { token: null }), 413, 'file-too-large');
    const tooLong = { token: null, headers: { 'upload-length': '1001' } };
    await expectProblem(await patch(upload, 0, sample(1), tooLong), 413, 'file-too-large');
    await patch(upload, 0, sample(600), { token: null });
    await expectProblem(
      await patch(upload, 600, new Blob([sample(401)]).stream(), { token: null }),
      413,
      'file-too-large',
    );
    expect((await standing(upload)).offset).toBe(600);
    const last = await patch(upload, 600, sample(400), { token: null, headers: { 'upload-length': '1000' } });
    expect(last.status).toBe(204);
    expect((await receiptOf(upload)).file_size).toBe(1000);
  });

  it('takes no option that it did not fix, by tus metadata or in its URL', async () => {
    const recipient = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';
    const options = { level: '22', compression: 'none', allow_empty: 'true', sha256: 'a'.repeat(64), recipient };
    const link = await makeLink();
    for (const [name, value] of Object.entries(options)) {
      const made = await byLink(link, content.length, { 'upload-metadata': metadata({ [name]: value }) });
      await expectProblem(made, 400, 'option-not-applicable');
      const sent = await ask(`${link.url}&${name}=${value}`, { method: 'PUT', token: null, body: content });
      await expectProblem(sent, 403, 'bad-signature');
    }
    expect((await byLink(link, content.length)).status, 'the refusals did not use it up').toBe(201);
  });

  it('fixes level, compression, checksum and recipients for PUT and tus, and its holder may repeat them', async () => {
    const fixed = { level: 5, compression: 'zstd', sha256: await sha256Hex(content) };
    const put = await ask((await makeLink(fixed)).url, { method: 'PUT', token: null, body: content });
    expect(await put.json()).toMatchObject({ compression: { codec: 'zstd', level: 5 } });
    const wrong = await makeLink({ ...fixed, sha256: 'a'.repeat(64) });
    await expectProblem(await ask(wrong.url, { method: 'PUT', token: null, body: content }), 422, 'checksum-mismatch');
    const again = { 'upload-metadata': metadata({ level: '5' }) };
    const upload = await uploadIn(await byLink(await makeLink(fixed), content.length, again));
    await patch(upload, 0, content, { token: null });
    expect(await receiptOf(upload)).toMatchObject({ compression: { codec: 'zstd', level: 5 } });
    const other = { 'upload-metadata': metadata({ level: '6' }) };
    await expectProblem(await byLink(await makeLink(fixed), content.length, other), 400, 'invalid-option');
  });

  it.each([
    ['level', 23, 'invalid-request'],
    ['recipient', 'age1nobody', 'invalid-recipient'],
    ['sha256', 'short', 'invalid-request'],
  ])('is not made with %s = %s', async (name, value, code) => {
    const body = JSON.stringify({ filename: 'a.tar', [name]: value });
    const headers = { 'content-type': 'application/json' };
    await expectProblem(await ask('/backup/upload-links', { method: 'POST', body, headers }), 400, code);
  });

  it('fixes name and job: metadata may have the name of the local file, but no other job', async () => {
    const link = await makeLink({ job_id: 'fixed' });
    const other = metadata({ filename: 'other.tar', job_id: 'other' });
    await expectProblem(await byLink(link, content.length, { 'upload-metadata': other }), 400, 'invalid-option');
    const given = metadata({ filename: 'other.tar', job_id: 'fixed', note: 'mine' });
    const made = await byLink(link, content.length, { 'upload-metadata': given });
    expect(made.headers.get('coldstream-job-id')).toBe('fixed');
    const upload = await uploadIn(made);
    await patch(upload, 0, content, { token: null });
    expect(await receiptOf(upload)).toMatchObject({ filename: 'gift ü.tar', job_id: 'fixed' });
  });

  it('is refused when anything of it was altered, after its time, and for anything but creating', async () => {
    const before = await storedKeys();
    const listed = await rows();
    const { tus_url, url } = await makeLink({ max_bytes: 10, job_id: 'altered' });
    for (const altered of [
      tus_url.replace('max_bytes=10', 'max_bytes=11'),
      tus_url.replace('gift', 'theft'),
      tus_url.replace('job_id=altered', 'job_id=other'),
      tus_url.replace(/link_id=./, 'link_id=X'),
      tus_url.replace(/expires=\d+/, 'expires=99999999999'),
      `${tus_url}&level=9`,
      `${tus_url}&upload_key=csu_${'A'.repeat(43)}`,
      url.replace(/^(https:\/\/[^/]+)[^?]*/, '$1/tus'),
    ]) {
      await expectProblem(await byLink({ url, tus_url: altered, job_id: '' }, 5), 403, 'bad-signature');
    }
    const short = await makeLink({ expires_in: 1 });
    await scheduler.wait(2100);
    await expectProblem(await byLink(short, 5), 403, 'link-expired');
    const query = new URL(tus_url).search;
    const upload = await create({ length: 10 });
    const there = { ...upload, url: `${upload.url}${query}` };
    for (const answer of [
      await ask(there.url, { token: null }),
      await patch(there, 0, sample(1), { token: null }),
      await tus('DELETE', there.url, { token: null }),
    ]) {
      await expectProblem(answer, 401, 'unauthorized');
    }
    expect(await storedKeys()).toEqual(before);
    expect(await rows()).toBe(listed);
  });

  it('outlives its own time in the upload that it began', async () => {
    const link = await makeLink({ expires_in: 2 });
    const upload = await uploadIn(await byLink(link, content.length));
    await scheduler.wait(3100);
    await expectProblem(await byLink(link, 5), 403, 'link-expired');
    expect((await patch(upload, 0, content, { token: null })).status).toBe(204);
    expect((await receiptOf(upload)).file_size).toBe(content.length);
  });
});

describe('a page of another origin', () => {
  const app = createApp();

  async function from(
    origin: string,
    method: string,
    path: string,
    headers: Record<string, string> = {},
    body?: BodyInit,
  ) {
    const context = createExecutionContext();
    const request = new Request(`https://vault.test${path}`, {
      method,
      body,
      headers: { origin, 'tus-resumable': '1.0.0', authorization: `Bearer ${env.ADMIN_TOKEN}`, ...headers },
    });
    const answer = await app.fetch(request, { ...env, ALLOWED_ORIGINS: 'https://app.test' }, context);
    await waitOnExecutionContext(context);
    return answer;
  }

  const words = (answer: Response, name: string) =>
    (answer.headers.get(name) ?? '').split(',').map((word) => word.trim().toLowerCase());

  it('that is configured may send what tus sends', async () => {
    for (const [method, path] of [
      ['POST', '/tus'],
      ['PATCH', '/tus/01JC8Z5V3M9QK2T7W4X6Y8B0CD'],
      ['HEAD', '/tus/01JC8Z5V3M9QK2T7W4X6Y8B0CD'],
      ['DELETE', '/tus/01JC8Z5V3M9QK2T7W4X6Y8B0CD'],
    ] as const) {
      const preflight = await from('https://app.test', 'OPTIONS', path, {
        'access-control-request-method': method,
        'access-control-request-headers': 'tus-resumable,upload-length,upload-metadata',
      });
      expect([200, 204]).toContain(preflight.status);
      expect(preflight.headers.get('access-control-allow-origin')).toBe('https://app.test');
      expect(words(preflight, 'access-control-allow-methods')).toContain(method.toLowerCase());
      expect(words(preflight, 'access-control-allow-headers')).toEqual(
        expect.arrayContaining([
          'authorization',
          'content-type',
          'tus-resumable',
          'upload-offset',
          'upload-length',
          'upload-defer-length',
          'upload-metadata',
          'upload-checksum',
          'x-http-method-override',
          'x-requested-with',
          'x-request-id',
        ]),
      );
      expect(preflight.headers.get('tus-version')).toBe('1.0.0');
    }
  });

  it('that is configured may read what tus answers, refusals too', async () => {
    const headers = { 'upload-length': '10000', 'upload-metadata': metadata({ filename: 'site.tar' }) };
    const made = await from('https://app.test', 'POST', '/tus', headers);
    const url = made.headers.get('location') ?? '';
    const piece = { 'content-type': PIECE_TYPE, 'upload-offset': '0' };
    const answers = [
      made,
      await from('https://app.test', 'HEAD', url),
      await from('https://app.test', 'PATCH', url, { ...piece, 'upload-offset': '7' }, content),
      await from('https://app.test', 'PATCH', url, piece, content),
      await from('https://app.test', 'DELETE', url),
      await from('https://app.test', 'HEAD', url),
    ];
    expect(answers.map(({ status }) => status)).toEqual([201, 200, 409, 204, 204, 410]);
    for (const answer of answers) {
      expect(answer.headers.get('access-control-allow-origin')).toBe('https://app.test');
      expect(words(answer, 'access-control-expose-headers')).toEqual(
        expect.arrayContaining([
          'location',
          'tus-resumable',
          'tus-version',
          'tus-extension',
          'tus-max-size',
          'tus-checksum-algorithm',
          'upload-offset',
          'upload-length',
          'upload-defer-length',
          'upload-metadata',
          'upload-expires',
          'coldstream-backup-id',
          'coldstream-job-id',
          'coldstream-phase',
          'coldstream-upload-secret',
        ]),
      );
      await answer.body?.cancel();
    }
  });

  it('that is not configured may do neither', async () => {
    const preflight = await from('https://evil.test', 'OPTIONS', '/tus', { 'access-control-request-method': 'POST' });
    expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
    const { url } = await create({ length: 10 });
    expect((await from('https://evil.test', 'HEAD', url)).headers.get('access-control-allow-origin')).toBeNull();
  });
});
