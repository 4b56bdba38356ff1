import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import {
  bearer,
  bucketBytes,
  curl,
  curlTo,
  eventually,
  fileSize,
  jobOf,
  listed,
  MIB,
  put,
  receiptIn,
  type Scratch,
  same,
  scratch,
  sha256Of,
  startCurl,
} from './clients.ts';

let vault: LocalVault;
let files: Scratch;
let tar: string;

beforeAll(async () => {
  files = await scratch();
  tar = await files.mixed('site.tar', 21 * MIB + 5);
  vault = await startLocalVault();
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

/** Sends a small form whose file part has exactly this filename, the way curl writes it. */
async function sendNamed(filename: string, ...more: string[]) {
  const quoted = filename.replace(/[\\"]/g, '\\$&');
  const small = files.path('small.tar');
  await writeFile(small, 'a small one');
  return curl([...bearer(vault), ...more, '-F', `file=@${small};filename="${quoted}"`, `${vault.url}/backup/upload`]);
}

describe('curl -F', () => {
  it('uploads a file, and what comes back is the same file', async () => {
    const receipt = receiptIn(await curl([...bearer(vault), '-F', `file=@${tar}`, `${vault.url}/backup/upload`]));
    expect(receipt).toMatchObject({
      message: 'Upload successful',
      filename: 'site.tar',
      file_size: fileSize(tar),
      checksum: await sha256Of(tar),
      compression: { codec: 'zstd', level: 3, frames: 6 },
    });
    const back = files.path('form.back');
    const { status, headers } = await curlTo(back, [...bearer(vault), vault.url + receipt.download_url]);
    expect(status).toBe(200);
    expect(headers.get('content-length')).toBe(String(fileSize(tar)));
    await same(tar, back);
  });

  it('sends options as fields before the file, and the checksum also after it', async () => {
    const sha256 = await sha256Of(tar);
    const before = ['-F', 'job_id=form_job', '-F', 'level=1', '-F', 'compression=zstd'];
    const form = [...before, '-F', `file=@${tar}`, '-F', `sha256=${sha256}`];
    const receipt = receiptIn(await curl([...bearer(vault), ...form, `${vault.url}/backup/upload`]));
    expect(receipt).toMatchObject({ job_id: 'form_job', compression: { codec: 'zstd', level: 1 }, checksum: sha256 });
    expect(await jobOf(vault, 'form_job')).toMatchObject({
      phase: 'done',
      percentage: 100,
      backup_id: receipt.backup_id,
    });
  });

  it('is told 422 when the checksum in a field after the file is another one, and nothing is kept', async () => {
    const form = [
      '-F',
      'job_id=wrong_sum',
      '-F',
      `file=@${tar};filename=wrong-sum.tar`,
      '-F',
      `sha256=${'0'.repeat(64)}`,
    ];
    const answer = await curl([...bearer(vault), ...form, `${vault.url}/backup/upload`]);
    expect(answer).toMatchObject({ code: 0, status: 422, contentType: 'application/problem+json' });
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'checksum-mismatch', status: 422 });
    expect(await listed(vault)).not.toContain('wrong-sum.tar');
    expect(await jobOf(vault, 'wrong_sum')).toMatchObject({ phase: 'failed', code: 'checksum-mismatch' });
  });

  it('is told no-file when the form has none', async () => {
    const answer = await curl([...bearer(vault), '-F', 'level=3', `${vault.url}/backup/upload`]);
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'no-file' });
  });

  it.each([
    ['Übung – 測試 😀.tar', 'Übung – 測試 😀.tar'],
    ['e\u0301te\u0301.tar', '\u00e9t\u00e9.tar'],
    ['../../etc/passwd.tar', 'passwd.tar'],
    ['C:\\Users\\me\\site.tar', 'site.tar'],
    ['semi;colon=, "quoted".tar', 'semi;colon=, "quoted".tar'],
    ['<script>alert(1)</script>.tar', 'script>.tar'],
    ['100% %2e%2e.tar', '100% %2e%2e.tar'],
    ['.tar', '.tar'],
  ])('keeps %j as %j, and gives that name back', async (sent, kept) => {
    for (const quoting of [[], ['--form-escape']]) {
      const receipt = receiptIn(await sendNamed(sent, ...quoting));
      expect(receipt.filename).toBe(kept);
      const { headers } = await curlTo('/dev/null', [...bearer(vault), vault.url + receipt.download_url]);
      const disposition = headers.get('content-disposition') ?? '';
      const [, extended] = /filename\*=UTF-8''([^;]*)/i.exec(disposition) ?? [];
      const [, quoted] = /filename="((?:[^"\\]|\\.)*)"/.exec(disposition) ?? [];
      expect(extended ? decodeURIComponent(extended) : quoted?.replace(/\\(.)/g, '$1'), disposition).toBe(kept);
    }
  });

  it.each([
    ['line\nbreak.tar', 'invalid-name'],
    [`${'x'.repeat(252)}.tar`, 'invalid-name'],
  ])('is refused with the name %j', async (sent, code) => {
    const answer = await sendNamed(sent);
    expect(answer).toMatchObject({ status: 400, contentType: 'application/problem+json' });
    expect(JSON.parse(answer.body)).toMatchObject({ code });
  });
});

describe('a form that is broken', () => {
  const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="broken.tar"\r\n\r\n';

  it.each([
    ['is cut before its closing boundary', `${head}some bytes`],
    ['is cut within its headers', '--b\r\nContent-Disposition: form-data; na'],
    ['has a second file', `${head}one\r\n${head}two\r\n--b--\r\n`],
    ['never shows its boundary', 'nothing of the kind'],
  ])('is refused and leaves nothing: one that %s', async (_, form) => {
    const body = files.path('broken.form');
    await writeFile(body, form);
    const args = [...bearer(vault), '-H', 'Content-Type: multipart/form-data; boundary=b', '--data-binary', `@${body}`];
    const answer = await curl([...args, `${vault.url}/backup/upload?job_id=broken`]);
    expect(answer).toMatchObject({ code: 0, status: 400, contentType: 'application/problem+json' });
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'malformed-multipart' });
    expect(await jobOf(vault, 'broken')).toMatchObject({ phase: 'failed', code: 'malformed-multipart' });
    expect(await listed(vault)).not.toContain('broken.tar');
  });
});

describe('curl -T', () => {
  it('takes the name of the file from curl, and the length', async () => {
    const answer = await curl([...bearer(vault), '-T', tar, `${vault.url}/backup/upload/`]);
    expect(receiptIn(answer)).toMatchObject({
      filename: 'site.tar',
      file_size: fileSize(tar),
      checksum: await sha256Of(tar),
    });
  });

  it('sends a pipe in chunks, of which nobody knows the length', async () => {
    const chunked = ['-H', 'Transfer-Encoding: chunked', '-T', '-'];
    const url = `${vault.url}/backup/upload/piped.tar?job_id=piped`;
    const receipt = receiptIn(await curl([...bearer(vault), ...chunked, url], { stdin: tar }));
    expect(receipt).toMatchObject({ file_size: fileSize(tar), checksum: await sha256Of(tar) });
    const back = files.path('piped.back');
    await curlTo(back, [...bearer(vault), vault.url + receipt.download_url]);
    await same(tar, back);
  });

  it('stores as they came the bytes that are compressed already', async () => {
    const packed = files.path('packed.tar.gz');
    await writeFile(packed, Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), Buffer.alloc(100_000, 7)]));
    const receipt = await put(vault, packed, 'packed.tar.gz');
    expect(receipt).toMatchObject({ compression: { codec: 'none' }, stored_size: 100_004 });
  });

  it('takes an empty file both ways where that is meant', async () => {
    const empty = files.path('empty.tar');
    await writeFile(empty, '');
    const known = await put(vault, empty, 'empty.tar', '?allow_empty=true');
    const url = `${vault.url}/backup/upload/empty-piped.tar?allow_empty=true`;
    const piped = receiptIn(
      await curl([...bearer(vault), '-H', 'Transfer-Encoding: chunked', '-T', '-', url], { stdin: empty }),
    );
    for (const receipt of [known, piped]) {
      expect(receipt.file_size).toBe(0);
      const back = files.path('empty.back');
      const { headers } = await curlTo(back, [
        ...bearer(vault),
        '-H',
        'Accept-Encoding: identity',
        vault.url + receipt.download_url,
      ]);
      expect(headers.get('content-length')).toBe('0');
      expect(fileSize(back)).toBe(0);
    }
  });
});

describe('eight curls at once', () => {
  it('are all served, though only some fit into the isolate together', async () => {
    const sha256 = await sha256Of(tar);
    const form = (name: string) => ['-F', `file=@${tar};filename=${name}`, `${vault.url}/backup/upload`];
    const raw = (name: string) => ['-T', tar, `${vault.url}/backup/upload/${name}`];
    const sent = Array.from({ length: 8 }, (_, n) =>
      curl([...bearer(vault), ...(n % 2 ? form : raw)(`at-once-${n}.tar`)]),
    );
    for (const answer of await Promise.all(sent)) expect(receiptIn(answer).checksum).toBe(sha256);
  });

  it('of which one job takes one, and tells the others that it runs', async () => {
    const url = `${vault.url}/backup/upload/same-job.tar?job_id=same`;
    const { answer } = startCurl([...bearer(vault), '--limit-rate', '10M', '-T', tar, url]);
    await eventually(
      10_000,
      () => jobOf(vault, 'same'),
      ({ current }) => current > 0,
    );
    const second = await curl([...bearer(vault), '-T', tar, url]);
    expect(second).toMatchObject({ code: 0, status: 409 });
    expect(JSON.parse(second.body)).toMatchObject({ code: 'job-running' });
    const { backup_id } = receiptIn(await answer);
    expect(await jobOf(vault, 'same')).toMatchObject({ phase: 'done', backup_id });
  });
});

describe('a curl that is cut off midway', () => {
  const ways = ['known length', 'chunked', 'form'] as const;

  it.each(ways)('leaves no listed row, no object, and a job that failed (%s)', async (way) => {
    const big = await files.random('big.tar', 48 * MIB);
    const before = await bucketBytes(vault.stateDir);
    const job = `cut_${way.replace(' ', '_')}`;
    const name = `${job}.tar`;
    const slow = [...bearer(vault), '--limit-rate', '12M'];
    const url = `${vault.url}/backup/upload/${name}?job_id=${job}`;
    const { child, answer } = {
      'known length': () => startCurl([...slow, '-T', big, url]),
      chunked: () => startCurl([...slow, '-H', 'Transfer-Encoding: chunked', '-T', '-', url], { stdin: big }),
      form: () =>
        startCurl([...slow, '-F', `file=@${big};filename=${name}`, `${vault.url}/backup/upload?job_id=${job}`]),
    }[way]();
    // Two parts and more: a multipart upload is open by then.
    await eventually(
      20_000,
      () => jobOf(vault, job),
      ({ stored = 0 }) => stored > 18 * MIB,
    );
    expect(await bucketBytes(vault.stateDir)).toBeGreaterThan(before);
    child.kill('SIGKILL');
    await answer;
    const ended = await eventually(
      20_000,
      () => jobOf(vault, job),
      ({ phase }) => phase === 'failed',
    );
    expect(ended).toMatchObject({
      phase: 'failed',
      code: way === 'form' ? expect.stringMatching(/./) : 'upload-interrupted',
    });
    expect(await listed(vault)).not.toContain(name);
    await eventually(
      5_000,
      () => bucketBytes(vault.stateDir),
      (bytes) => bytes === before,
    );
    const again = await put(vault, big, name, `?job_id=${job}`);
    expect(await jobOf(vault, job)).toMatchObject({ phase: 'done', backup_id: again.backup_id });
  });
});
