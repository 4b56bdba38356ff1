import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import { type Answer, bearer, bucketBytes, curl, jobOf, listed, MIB, type Scratch, scratch } from './clients.ts';

/** A refusal that is sent while the client still sends is lost unless the rest is read: ten of ten must arrive. */
const TRIES = 10;
const CAP = 8 * MIB;

let vault: LocalVault;
let files: Scratch;
let big: string;

beforeAll(async () => {
  files = await scratch();
  big = await files.random('big.tar', 30 * MIB);
  vault = await startLocalVault({ vars: { MAX_FILE_SIZE: '8MiB' } });
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

// Without Expect, so that curl does not wait for leave to send.
const AT_ONCE = ['-H', 'Expect:'];
const CHUNKED = [...AT_ONCE, '-H', 'Transfer-Encoding: chunked'];

async function alwaysRefused(status: number, code: string, send: (attempt: number) => Promise<Answer>): Promise<void> {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const answer = await send(attempt);
    expect(answer, `try ${attempt}: ${answer.stderr}`).toMatchObject({
      code: 0,
      status,
      contentType: 'application/problem+json',
    });
    expect(JSON.parse(answer.body)).toMatchObject({ code, status });
  }
}

describe('a refusal reaches a curl that is still sending, ten times of ten', () => {
  it('413 by Content-Length', async () => {
    const url = `${vault.url}/backup/upload/big.tar?job_id=known`;
    await alwaysRefused(413, 'file-too-large', () => curl([...bearer(vault), ...AT_ONCE, '-T', big, url]));
    expect(await jobOf(vault, 'known')).toMatchObject({ phase: 'failed', code: 'file-too-large' });
  });

  it('413 in the middle of a chunked body', async () => {
    const url = `${vault.url}/backup/upload/big.tar?job_id=chunked`;
    await alwaysRefused(413, 'file-too-large', () =>
      curl([...bearer(vault), ...CHUNKED, '-T', '-', url], { stdin: big }),
    );
    expect(await jobOf(vault, 'chunked')).toMatchObject({ phase: 'failed', code: 'file-too-large' });
  });

  it('413 in the middle of a form', async () => {
    const url = `${vault.url}/backup/upload`;
    await alwaysRefused(413, 'file-too-large', () => curl([...bearer(vault), ...AT_ONCE, '-F', `file=@${big}`, url]));
  });

  it('400 for a form whose file has a name that cannot be kept, or whose option is none', async () => {
    const url = `${vault.url}/backup/upload`;
    await alwaysRefused(400, 'invalid-name', () =>
      curl([...bearer(vault), ...AT_ONCE, '-F', `file=@${big};filename=..`, url]),
    );
    await alwaysRefused(400, 'invalid-option', () =>
      curl([...bearer(vault), ...AT_ONCE, '-F', 'level=99', '-F', `file=@${big}`, url]),
    );
  });

  it('400 for a file under another name than "file", and 401 for a form', async () => {
    const url = `${vault.url}/backup/upload`;
    await alwaysRefused(400, 'no-file', () => curl([...bearer(vault), ...AT_ONCE, '-F', `other=@${big}`, url]));
    await alwaysRefused(401, 'unauthorized', () => curl([...AT_ONCE, '-F', `file=@${big}`, url]));
  });

  it('401 without a token, and with a wrong one', async () => {
    const url = `${vault.url}/backup/upload/big.tar`;
    await alwaysRefused(401, 'unauthorized', (attempt) =>
      curl([...(attempt % 2 ? ['-H', 'Authorization: Bearer wrong'] : []), ...AT_ONCE, '-T', big, url]),
    );
  });

  it('400 for a part of a file', async () => {
    const url = `${vault.url}/backup/upload/big.tar`;
    await alwaysRefused(400, 'partial-upload', () =>
      curl([...bearer(vault), ...AT_ONCE, '-C', '60000', '-T', big, url]),
    );
  });

  it('and nothing is left of any of them', async () => {
    expect(await listed(vault)).toEqual([]);
    expect(await bucketBytes(vault.stateDir)).toBe(0);
  });
});

describe('the cap', () => {
  it('counts the bytes of the file, not the envelope of a form', async () => {
    const exact = await files.random('exact.tar', CAP);
    const form = await curl([...bearer(vault), '-F', `file=@${exact}`, `${vault.url}/backup/upload`]);
    expect(form.status, form.body).toBe(201);
    const raw = await curl([...bearer(vault), '-T', exact, `${vault.url}/backup/upload/`]);
    expect(raw.status, raw.body).toBe(201);
    const over = await files.random('over.tar', CAP + 1);
    const refused = await curl([...bearer(vault), '-F', `file=@${over}`, `${vault.url}/backup/upload`]);
    expect(refused.status).toBe(413);
  });

  it('does not keep a client that asked first (Expect: 100-continue) from its answer', async () => {
    const answer = await curl([
      ...bearer(vault),
      '-H',
      'Expect: 100-continue',
      '-T',
      big,
      `${vault.url}/backup/upload/`,
    ]);
    expect(answer).toMatchObject({ code: 0, status: 413 });
  });
});

describe('a sender that stops without closing its connection', () => {
  const IDLE_S = 2;
  let impatient: LocalVault;

  beforeAll(async () => {
    impatient = await startLocalVault({ vars: { UPLOAD_IDLE: `${IDLE_S}s`, RESUMABLE_DRAFT: '1' } });
  });
  afterAll(() => impatient?.stop());

  const metadata = (filename: string, job: string) =>
    `filename ${Buffer.from(filename).toString('base64')},job_id ${Buffer.from(job).toString('base64')}`;
  const TUS = { 'Tus-Resumable': '1.0.0' };
  const OFFSET = { ...TUS, 'Content-Type': 'application/offset+octet-stream' };
  const form = { 'Content-Type': 'multipart/form-data; boundary=b' };
  const formHead = '--b\r\nContent-Disposition: form-data; name="file"; filename="form.bin"\r\n\r\nbytes';

  /** Requests that stop after the first bytes of a body of 100. */
  const ways: Record<
    string,
    () => Promise<{ target: string; method?: string; headers: Record<string, string>; body?: string }>
  > = {
    'a form': async () => ({ target: '/backup/upload?job_id=form', method: 'POST', headers: form, body: formHead }),
    'a form that stops before its file': async () => ({
      target: '/backup/upload?job_id=early-form',
      method: 'POST',
      headers: form,
      body: '--b\r\nContent-Dis',
    }),
    'a PUT': async () => ({ target: '/backup/upload/put.bin?job_id=put', headers: {} }),
    'a PUT that sends no byte at all': async () => ({
      target: '/backup/upload/none.bin?job_id=none',
      headers: {},
      body: '',
    }),
    'an upload link': async () => {
      const order = JSON.stringify({ filename: 'link.bin', job_id: 'link' });
      const { url } = await created('/backup/upload-links', { 'Content-Type': 'application/json' }, order);
      return { target: url.slice(impatient.url.length), headers: { Authorization: 'none' } };
    },
    'a tus PATCH': async () => ({ ...(await tusUpload('patch')), method: 'PATCH' }),
    'a tus POST with a body': async () => ({
      target: '/tus',
      method: 'POST',
      headers: { ...OFFSET, 'Upload-Length': '100', 'Upload-Metadata': metadata('post.bin', 'post') },
    }),
    'an append of the draft': async () => ({
      target: '/uploads/draft.bin?job_id=draft',
      method: 'POST',
      headers: { 'Upload-Complete': '?1' },
    }),
    'an import': async () => ({
      target: '/import/stream?database=sample&table=items&job_id=import',
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '[{"id":1},',
    }),
    'a JSON body': async () => ({
      target: '/tokens',
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{"name":',
    }),
  };

  async function created(path: string, headers: Record<string, string>, body?: string): Promise<{ url: string }> {
    const sent = { method: 'POST', headers: { Authorization: `Bearer ${impatient.token}`, ...headers } };
    const response = await fetch(impatient.url + path, body === undefined ? sent : { ...sent, body });
    expect(response.ok, `${response.status}`).toBe(true);
    return body === undefined
      ? { url: response.headers.get('location') ?? '' }
      : ((await response.json()) as { url: string });
  }

  async function tusUpload(job: string) {
    const headers = { ...TUS, 'Upload-Length': '100', 'Upload-Metadata': metadata('tus.bin', job) };
    const { url } = await created('/tus', headers);
    return { target: url, headers: { ...OFFSET, 'Upload-Offset': '0' } };
  }

  /** The answer to a request that goes silent, and after how many seconds it came. */
  function silent(head: string, body: string): Promise<{ answer: string; seconds: number }> {
    const { hostname, port } = new URL(impatient.url);
    return new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname);
      let answer = '';
      let since = 0;
      socket.setTimeout(30_000, () => socket.destroy(new Error('no answer')));
      socket.on('error', reject);
      socket.on('data', (bytes) => {
        answer += bytes.toString();
        if (!answer.includes('"request_id"')) return;
        socket.destroy();
        resolve({ answer, seconds: (performance.now() - since) / 1000 });
      });
      socket.write(`${head}\r\n\r\n${body}`, () => {
        since = performance.now();
      });
    });
  }

  it.each(Object.entries(ways))('is answered 408 upload-stalled (%s)', async (_way, make) => {
    const { target, method = 'PUT', headers, body = 'first bytes' } = await make();
    const all = { Host: 'x', Authorization: `Bearer ${impatient.token}`, 'Content-Length': '100', ...headers };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
    const { answer, seconds } = await silent([`${method} ${target} HTTP/1.1`, ...lines].join('\r\n'), body);
    expect(answer).toContain('HTTP/1.1 408');
    expect(answer).toContain('"code":"upload-stalled"');
    expect(seconds).toBeGreaterThan(IDLE_S - 0.5);
    expect(seconds).toBeLessThan(IDLE_S + 10);
  });

  it('leaves a failed job, and a tus upload at the byte that had come', async () => {
    for (const job of ['form', 'early-form', 'put', 'none', 'link', 'import']) {
      expect(await jobOf(impatient, job), job).toMatchObject({ phase: 'failed', code: 'upload-stalled' });
    }
    const upload = await tusUpload('again');
    const head = [`PATCH ${upload.target} HTTP/1.1`, 'Host: x', `Authorization: Bearer ${impatient.token}`];
    const lines = Object.entries({ ...upload.headers, 'Content-Length': '100' }).map(
      ([name, value]) => `${name}: ${value}`,
    );
    await silent([...head, ...lines].join('\r\n'), 'eleven here');
    const now = await fetch(impatient.url + upload.target, {
      method: 'HEAD',
      headers: { ...TUS, Authorization: `Bearer ${impatient.token}` },
    });
    expect(now.headers.get('upload-offset')).toBe('11');
    expect(await listed(impatient)).toEqual([]);
  });
});
