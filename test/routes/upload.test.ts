import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, it } from 'vitest';
import { services } from '../../src/services.ts';
import { MIB } from '../../src/shared/limits.ts';
import { ask, chunked, expectProblem, put, sample, sha256Hex, storedKeys } from '../support/vault.ts';

let before: string[];
beforeEach(async () => {
  before = await storedKeys();
});

async function expectNothingLeft(): Promise<void> {
  expect(await storedKeys()).toEqual(before);
}

async function rows(): Promise<number> {
  return (await env.CATALOGUE.prepare('SELECT count(*) AS n FROM backups').first<number>('n')) ?? -1;
}

function form(bytes: Uint8Array<ArrayBuffer>, name: string, fields: Record<string, string> = {}): FormData {
  const data = new FormData();
  for (const [field, value] of Object.entries(fields)) data.append(field, value);
  data.append('file', new Blob([bytes]), name);
  return data;
}

describe('PUT /backup/upload/{name}', () => {
  it('answers with the receipt of the contract', async () => {
    const bytes = sample(300_000);
    const response = await ask('/backup/upload/site.tar', { method: 'PUT', body: bytes });
    expect(response.status).toBe(201);
    const receipt: Record<string, unknown> = await response.json();
    expect(response.headers.get('location')).toBe(`/backup/${receipt.backup_id}`);
    expect(receipt).toMatchObject({
      message: 'Upload successful',
      job_id: receipt.backup_id,
      filename: 'site.tar',
      content_type: 'application/x-tar',
      file_size: 300_000,
      checksum: await sha256Hex(bytes),
      compression: { codec: 'zstd', level: 3, engine: env.ZSTD_ENGINE, frames: 1 },
      download_url: `/backup/${receipt.backup_id}/download`,
    });
    expect(receipt.backup_id).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
    expect(Object.keys(receipt).sort()).toEqual(
      [
        'message',
        'backup_id',
        'job_id',
        'name',
        'filename',
        'content_type',
        'file_size',
        'checksum',
        'stored_size',
        'compression',
        'encryption',
        'archive',
        'verified_at',
        'damage',
        'created_at',
        'created_by',
        'expires_at',
        'download_url',
      ].sort(),
    );
  });

  it('takes a body without a length', async () => {
    const bytes = sample(5 * MIB);
    const response = await ask('/backup/upload/dump.sql', { method: 'PUT', body: chunked(bytes, 70_001) });
    expect(response.status).toBe(201);
    expect(await response.json()).toMatchObject({ file_size: bytes.length, checksum: await sha256Hex(bytes) });
  });

  it('takes an empty file', async () => {
    const receipt = await put('empty.sql', new Uint8Array(0), '?allow_empty=true');
    expect(receipt.file_size).toBe(0);
    const back = await ask(receipt.download_url);
    expect((await back.bytes()).length).toBe(0);
  });

  it('stores in parts what does not fit into one, and gives it back', async () => {
    const bytes = new Uint8Array(20 * MIB);
    for (let at = 0; at < bytes.length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
    const receipt = await put('random.dump', bytes);
    expect(receipt.compression).toMatchObject({ codec: 'zstd', frames: 5 });
    const back = await (await ask(receipt.download_url)).bytes();
    expect(await sha256Hex(new Uint8Array(back))).toBe(receipt.checksum);
  });

  it('leaves alone what is compressed already, unless told otherwise', async () => {
    const gzip = new Uint8Array([0x1f, 0x8b, 8, 0, ...sample(2000)]);
    expect((await put('a.tar.gz', gzip)).compression).toEqual({ codec: 'none' });
    expect((await put('a.tar.gz', gzip, '?compression=zstd')).compression.codec).toBe('zstd');
    expect((await put('a.tar', sample(2000), '?compression=none')).compression).toEqual({ codec: 'none' });
  });

  it('keeps a Unicode name in NFC, and a path as a name', async () => {
    expect((await put('Cafe\u0301 ☕.tar', sample(10))).filename).toBe('Caf\u00e9 ☕.tar');
    expect(await put('etc/pass.tar', sample(10))).toMatchObject({ name: 'etc/pass.tar', filename: 'pass.tar' });
  });

  it('accepts any suffix by default, and those of ALLOWED_SUFFIXES alone, in any case, where there are some', async () => {
    expect((await put('program.exe', sample(10))).filename).toBe('program.exe');
    expect((await put('Makefile', sample(10))).filename).toBe('Makefile');
    const { config } = services(env);
    const { allowedSuffixes } = config;
    Object.defineProperty(config, 'allowedSuffixes', { value: ['.tar', '.sql.gz'], configurable: true });
    try {
      expect((await put('DUMP.SQL.GZ', sample(10))).filename).toBe('DUMP.SQL.GZ');
      for (const name of ['program.exe', 'tar', 'dump.gz']) {
        const response = await ask(`/backup/upload/${name}`, { method: 'PUT', body: sample(10) });
        await expectProblem(response, 400, 'invalid-file-type');
      }
    } finally {
      Object.defineProperty(config, 'allowedSuffixes', { value: allowedSuffixes, configurable: true });
    }
  });

  it.each([
    ['.tar/', '', 400, 'invalid-name'],
    ['a\u0000b.tar', '', 400, 'invalid-name'],
    [`${'x'.repeat(252)}.tar`, '', 400, 'invalid-name'],
    ['a.tar', '?level=0', 400, 'invalid-option'],
    ['a.tar', '?level=23', 400, 'invalid-option'],
    ['a.tar', '?level=three', 400, 'invalid-option'],
    ['a.tar', '?compression=lzma', 400, 'invalid-option'],
    ['a.tar', '?sha256=abc', 400, 'invalid-option'],
    ['a.tar', '?job_id=a%20b', 400, 'invalid-option'],
    ['a.tar', '?recipient=age1xyz', 400, 'invalid-recipient'],
    ['a.tar', `?sha256=${'0'.repeat(64)}`, 422, 'checksum-mismatch'],
  ])('refuses %j with %j', async (name, query, status, code) => {
    const listed = await rows();
    const response = await ask(`/backup/upload/${encodeURIComponent(name)}${query}`, {
      method: 'PUT',
      body: sample(5000),
    });
    await expectProblem(response, status, code);
    await expectNothingLeft();
    expect(await rows()).toBe(listed);
  });

  it('refuses a level above what the engine holds, before the first byte', async () => {
    const { highest_level } = await (await ask('/capabilities')).json<{ highest_level: number }>();
    if (highest_level < 22) {
      await expectProblem(
        await ask('/backup/upload/a.tar?level=22', { method: 'PUT', body: sample(10) }),
        400,
        'level-unsupported',
      );
    }
    const receipt = await put('a.tar', sample(9 * MIB), `?level=${highest_level}`);
    expect(receipt.compression.level).toBe(highest_level);
  });

  it('accepts the checksum that the bytes have, in either case', async () => {
    const bytes = sample(1234);
    await put('a.tar', bytes, `?sha256=${(await sha256Hex(bytes)).toUpperCase()}`);
  });

  it('tells the job of a refusal', async () => {
    await ask('/backup/upload/a%00b.tar?job_id=refused-1', { method: 'PUT', body: sample(10) });
    expect(await (await ask('/jobs/refused-1')).json()).toMatchObject({ phase: 'failed', code: 'invalid-name' });
  });
});

describe('POST /backup/upload', () => {
  it('takes a form with options before the file', async () => {
    const bytes = sample(6 * MIB);
    const response = await ask('/backup/upload', {
      method: 'POST',
      body: form(bytes, 'sïte.tar', { level: '1', job_id: 'from-a-form', compression: 'zstd' }),
    });
    expect(response.status, await response.clone().text()).toBe(201);
    expect(await response.json()).toMatchObject({
      job_id: 'from-a-form',
      filename: 'sïte.tar',
      file_size: bytes.length,
      checksum: await sha256Hex(bytes),
      compression: { level: 1 },
    });
  });

  it('reads a field after the file, and checks a checksum there', async () => {
    const bytes = sample(100);
    const good = form(bytes, 'a.tar');
    good.append('sha256', await sha256Hex(bytes));
    expect((await ask('/backup/upload', { method: 'POST', body: good })).status).toBe(201);
    const bad = form(bytes, 'a.tar');
    bad.append('sha256', '0'.repeat(64));
    await expectProblem(await ask('/backup/upload', { method: 'POST', body: bad }), 422, 'checksum-mismatch');
  });

  it('refuses an option that comes too late', async () => {
    const late = form(sample(100), 'a.tar');
    late.append('level', '9');
    await expectProblem(await ask('/backup/upload', { method: 'POST', body: late }), 400, 'invalid-option');
    await expectNothingLeft();
  });

  it.each([
    ['no part', new FormData(), 'it has no part'],
    ['a field that is called file', formOf('file', 'text'), 'it has the fields "file"'],
    ['fields only', formOf('backup', 'text'), 'it has the fields "backup"'],
    ['a file as another part', formOf('upload', new Blob(['x'])), 'it has a file as the part "upload"'],
  ])('refuses a form with %s, and names what came', async (_, body, detail) => {
    const response = await ask('/backup/upload', { method: 'POST', body });
    expect(await response.clone().text()).toContain(JSON.stringify(detail).slice(1, -1));
    await expectProblem(response, 400, 'no-file');
  });

  it('refuses what is no form', async () => {
    await expectProblem(await ask('/backup/upload', { method: 'POST', body: 'hello' }), 400, 'no-file');
  });

  it('refuses a form that is cut anywhere, and leaves nothing', async () => {
    const whole = await new Response(form(sample(400), 'a.tar')).bytes();
    const type = `multipart/form-data; boundary=${new TextDecoder().decode(whole.subarray(2, whole.indexOf(13)))}`;
    for (let cut = 3; cut < whole.length - 2; cut += 37) {
      const response = await ask('/backup/upload', {
        method: 'POST',
        body: whole.slice(0, cut),
        headers: { 'content-type': type },
      });
      expect(response.status, `cut at ${cut}`).toBe(400);
      await response.body?.cancel();
    }
    await expectNothingLeft();
  });

  it('refuses a second file', async () => {
    const two = form(sample(100), 'a.tar');
    two.append('file', new Blob([sample(10)]), 'b.tar');
    await expectProblem(await ask('/backup/upload', { method: 'POST', body: two }), 400, 'malformed-multipart');
    await expectNothingLeft();
  });
});

function formOf(name: string, value: string | Blob): FormData {
  const data = new FormData();
  if (typeof value === 'string') data.append(name, value);
  else data.append(name, value, 'a.tar');
  return data;
}

describe('a job', () => {
  it('is refused while it runs, and may be used again after', async () => {
    let go: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    let sent = false;
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        if (sent) {
          await held;
          return controller.close();
        }
        sent = true;
        controller.enqueue(sample(1000));
      },
    });
    const first = ask('/backup/upload/a.tar?job_id=nightly', { method: 'PUT', body });
    await scheduler.wait(300);
    await expectProblem(
      await ask('/backup/upload/b.tar?job_id=nightly', { method: 'PUT', body: sample(10) }),
      409,
      'job-running',
    );
    go();
    expect((await first).status).toBe(201);
    await put('c.tar', sample(10), '?job_id=nightly');
  });
});
