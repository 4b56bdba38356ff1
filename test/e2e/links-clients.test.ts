import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import {
  api,
  bearer,
  curl,
  curlTo,
  jobOf,
  listed,
  MIB,
  put,
  type Receipt,
  receiptIn,
  run,
  runs,
  type Scratch,
  same,
  scratch,
} from './clients.ts';

let vault: LocalVault;
let files: Scratch;
let tar: string;
let receipt: Receipt;

beforeAll(async () => {
  files = await scratch();
  tar = await files.mixed('site.tar', 9 * MIB);
  vault = await startLocalVault();
  receipt = await put(vault, tar, 'site.tar');
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

interface Link {
  readonly url: string;
  readonly expires_at: string;
}

interface UploadLink extends Link {
  readonly watch_url: string;
  readonly job_id: string;
}

async function made<T extends Link>(path: string, body: unknown): Promise<T> {
  const answer = await api<T>(vault, 'POST', path, body);
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return answer.body;
}

/** The code of the problem that GET on the address is answered with. */
async function problemAt(url: string): Promise<{ status: number; code: string }> {
  const { status, body } = await curl([url]);
  return { status, code: (JSON.parse(body) as { code: string }).code };
}

describe('the latest version of a name', () => {
  it('is what curl -T stored last in a folder, for curl, for wget with a token, and for anyone with the link', async () => {
    const older = await files.mixed('etc.tar', MIB);
    const upload = (file: string) => curl(['-T', file, ...bearer(vault), `${vault.url}/backup/upload/web1/`]);
    expect(receiptIn(await upload(older)).name).toBe('web1/etc.tar');
    const { url } = await made<Link>('/latest/web1/etc.tar/links', {});
    const newer = await files.mixed('etc.tar', 2 * MIB);
    expect(receiptIn(await upload(newer)).name).toBe('web1/etc.tar');
    const back = files.path('latest.back');
    const latest = `${vault.url}/latest/web1/etc.tar`;
    expect((await curlTo(back, ['-L', ...bearer(vault), latest])).status).toBe(200);
    await same(newer, back);
    await runs('wget', ['-q', '-O', back, '--auth-no-challenge', '--user=me', `--password=${vault.token}`, latest]);
    await same(newer, back);
    await runs('wget', ['-q', '-O', back, url]);
    await same(newer, back);
    await runs('curl', ['-sfL', '-o', back, url]);
    await same(newer, back);
  });
});

describe('a signed download link', () => {
  it('is all that wget needs', async () => {
    const { url } = await made<Link>(`/backup/${receipt.backup_id}/links`, { expires_in: 60 });
    const back = files.path('wget.back');
    await runs('wget', ['-q', '-O', back, url]);
    await same(tar, back);
  });

  it('carries a format and a name, under which wget saves it', async () => {
    const link = { format: 'zst', filename: 'für dich.tar.zst' };
    const { url } = await made<Link>(`/backup/${receipt.backup_id}/links`, link);
    const { headers } = await curlTo('/dev/null', [url]);
    expect(headers.get('content-disposition')).toContain(`filename*=UTF-8''${encodeURIComponent('für dich.tar.zst')}`);
    await runs('wget', [
      '-q',
      '--content-disposition',
      '--restrict-file-names=nocontrol',
      '-P',
      files.path('saved'),
      url,
    ]);
    await runs('bash', ['-c', 'zstd -dc "$DIR"/* | cmp - "$FILE"'], { env: { DIR: files.path('saved'), FILE: tar } });
  });

  it('covers HEAD, and nothing but its own path', async () => {
    const { url } = await made<Link>(`/backup/${receipt.backup_id}/links`, {});
    const head = await runs('curl', ['-sS', '-I', url]);
    expect(head.stdout.toString()).toMatch(/^HTTP\/1\.1 200/);
    const other = await put(vault, tar, 'other.tar');
    expect(await problemAt(url.replace(receipt.backup_id, other.backup_id))).toEqual({
      status: 403,
      code: 'bad-signature',
    });
    const receiptOnly = url.replace('/download?', '?');
    expect((await curl([receiptOnly])).status).toBe(401);
    expect((await curl(['-X', 'DELETE', receiptOnly])).status).toBe(401);
  });

  it('is refused when anything of it was altered', async () => {
    const { url } = await made<Link>(`/backup/${receipt.backup_id}/links`, { filename: 'a.tar', expires_in: 60 });
    const altered = new URL(url);
    const expires = Number(altered.searchParams.get('expires'));
    const signature = altered.searchParams.get('signature') ?? '';
    const alterations: [string, string][] = [
      ['expires', String(expires + 1)],
      ['filename', 'b.tar'],
      ['format', 'zst'],
      ['key_id', 'unknown'],
      ['signature', (signature.startsWith('A') ? 'B' : 'A') + signature.slice(1)],
      ['signature', ''],
      ['anything', 'more'],
    ];
    for (const [name, value] of alterations) {
      const one = new URL(url);
      one.searchParams.set(name, value);
      expect(await problemAt(one.href), `${name}=${value}`).toEqual({ status: 403, code: 'bad-signature' });
    }
    const wget = await run('wget', ['-q', '-S', '-O', '/dev/null', `${url}&x=1`]);
    expect(wget.code, 'wget: the server answered with an error').toBe(8);
  });

  it('runs out, and its signature is judged before its time', async () => {
    const { url, expires_at } = await made<Link>(`/backup/${receipt.backup_id}/links`, { expires_in: 1 });
    await new Promise((resolve) => setTimeout(resolve, Date.parse(expires_at) - Date.now() + 1_100));
    expect(await problemAt(url)).toEqual({ status: 403, code: 'link-expired' });
    expect(await problemAt(`${url}&x=1`)).toEqual({ status: 403, code: 'bad-signature' });
  });
});

describe('an upload link', () => {
  it('takes one upload by curl -T without a token, and no second', async () => {
    const link = await made<UploadLink>('/backup/upload-links', { filename: 'from a friend.tar' });
    const first = receiptIn(await curl(['-T', tar, link.url]));
    expect(first).toMatchObject({ filename: 'from a friend.tar', job_id: link.job_id, checksum: receipt.checksum });
    expect(await jobOf(vault, link.job_id)).toMatchObject({ phase: 'done', backup_id: first.backup_id });
    const second = await curl(['-T', tar, link.url]);
    expect(second).toMatchObject({ code: 0, status: 409, contentType: 'application/problem+json' });
    expect(JSON.parse(second.body)).toMatchObject({ code: 'link-used' });
    expect((await listed(vault)).filter((name) => name === 'from a friend.tar')).toHaveLength(1);
    expect(await jobOf(vault, link.job_id)).toMatchObject({ phase: 'done', backup_id: first.backup_id });
  });

  it('can be used again when the upload failed, and holds to its own cap', async () => {
    const link = await made<UploadLink>('/backup/upload-links', { filename: 'capped.tar', max_bytes: 1000 });
    const over = await curl(['-T', tar, link.url]);
    expect(over.status).toBe(413);
    expect(JSON.parse(over.body)).toMatchObject({ code: 'file-too-large' });
    const small = files.path('small.tar');
    await runs('bash', ['-c', 'head -c 1000 "$FROM" > "$TO"'], { env: { FROM: tar, TO: small } });
    expect(receiptIn(await curl(['-T', small, link.url])).file_size).toBe(1000);
  });

  it('of two uploads at once lets one through', async () => {
    const link = await made<UploadLink>('/backup/upload-links', { filename: 'race.tar' });
    const answers = await Promise.all([1, 2, 3].map(() => curl(['-T', tar, link.url])));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409]);
    expect((await listed(vault)).filter((name) => name === 'race.tar')).toHaveLength(1);
  });

  it('opens nothing else: no other name, no other job, no download', async () => {
    const link = await made<UploadLink>('/backup/upload-links', { filename: 'mine.tar' });
    for (const url of [
      link.url.replace('mine.tar', 'yours.tar'),
      link.url.replace(link.job_id, 'other'),
      `${link.url}&level=19`,
    ]) {
      const answer = await curl(['-T', tar, url]);
      expect(answer.status, url).toBe(403);
      expect(JSON.parse(answer.body)).toMatchObject({ code: 'bad-signature' });
    }
    expect((await curl([link.url])).status).toBeGreaterThanOrEqual(400);
  });

  it('comes with a link to watch it', async () => {
    const link = await made<UploadLink>('/backup/upload-links', { filename: 'watched.tar', job_id: 'watched' });
    expect(link.job_id).toBe('watched');
    const socket = new WebSocket(link.watch_url);
    const last = new Promise<{ phase: string }>((resolve, reject) => {
      socket.addEventListener('error', () => reject(new Error('the WebSocket failed')));
      socket.addEventListener('message', ({ data }) => {
        const message = JSON.parse(String(data)) as { phase: string };
        if (message.phase === 'done') resolve(message);
      });
    });
    last.catch(() => undefined);
    receiptIn(await curl(['-T', tar, link.url]));
    expect(await last).toMatchObject({ phase: 'done', job_id: 'watched' });
  });
});

describe('the log', () => {
  it('has one JSON line for a request, and never a token or a signature', async () => {
    const { url } = await made<Link>(`/backup/${receipt.backup_id}/links`, {});
    await curlTo('/dev/null', [url]);
    const signature = new URL(url).searchParams.get('signature') ?? 'none';
    const lines = vault.logs().split('\n');
    const requests = lines.flatMap((line) =>
      line.startsWith('{') ? [JSON.parse(line) as Record<string, unknown>] : [],
    );
    expect(requests.filter(({ route }) => String(route).includes('/download')).length).toBeGreaterThan(0);
    expect(vault.logs()).not.toContain(vault.token);
    expect(vault.logs()).not.toContain(signature);
  });
});

// Kept last: what the links left behind is what the list shows.
it('what was downloaded by a link is what was uploaded', async () => {
  const { url } = await made<Link>(`/backup/${receipt.backup_id}/links`, { format: 'gz' });
  const back = files.path('gz.back');
  await runs('bash', ['-o', 'pipefail', '-c', 'wget -q -O - "$URL" | gunzip > "$FILE"'], {
    env: { URL: url, FILE: back },
  });
  expect((await readFile(back)).equals(await readFile(tar))).toBe(true);
});
