/** Creation and metadata: extensions of tus 1.0.0; names begin with the section. */
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { KIB } from '../../src/shared/limits.ts';
import {
  create,
  creating,
  creationsRefused,
  jobOf,
  metadata,
  receiptOf,
  send,
  shown,
  standing,
  tus,
  uploadIn,
} from '../support/tus.ts';
import { ask, expectProblem, put, sample, sha256Hex } from '../support/vault.ts';

const content = sample(10_000);

const expectNothingMade = creationsRefused();

describe('POST (creation)', () => {
  it('answers 201 with a relative Location, and what the upload needs from then on', async () => {
    const answer = await creating({ length: 10_000, metadata: { job_id: 'created' } });
    expect(answer.status).toBe(201);
    const { headers } = answer;
    const id = headers.get('coldstream-backup-id') ?? '';
    expect(id).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
    expect(headers.get('location')).toBe(`/tus/${id}`);
    expect(headers.get('coldstream-job-id')).toBe('created');
    expect(headers.get('coldstream-upload-secret')).toMatch(/^csu_[A-Za-z0-9_-]{43}$/);
    expect(headers.get('upload-offset')).toBe('0');
    expect(await answer.text()).toBe('');
    expect(await jobOf({ jobId: 'created' })).toMatchObject({ current: 0, total: 10_000, percentage: 0 });
  });

  it('names a job after the backup where nobody names it', async () => {
    const upload = await create({ length: 10 });
    expect(upload.jobId).toBe(upload.id);
  });

  it.each([
    ['neither length nor deferral', { 'upload-length': null }],
    ['both', { 'upload-defer-length': '1' }],
    ['a deferral of 0', { 'upload-length': null, 'upload-defer-length': '0' }],
    ['a deferral of 2', { 'upload-length': null, 'upload-defer-length': '2' }],
    ['a deferral of "true"', { 'upload-length': null, 'upload-defer-length': 'true' }],
  ])('has one of Upload-Length and Upload-Defer-Length: %s is refused', async (_, headers) => {
    await expectNothingMade(await creating({ length: 10, headers }), 400, 'invalid-upload-header');
  });

  it('of more than Tus-Max-Size is refused', async () => {
    const most = Number((await tus('OPTIONS', '/tus')).headers.get('tus-max-size'));
    await expectNothingMade(await creating({ length: most + 1 }), 413, 'file-too-large');
    const whole = await create({ length: most });
    expect((await standing(whole)).length).toBe(most);
  });

  it.each(['..', '', undefined])('takes the names that an upload in one takes: not %j', async (filename) => {
    const given = { 'upload-metadata': filename === undefined ? null : metadata({ filename }) };
    await expectNothingMade(await creating({ length: 10, headers: given }), 400, 'invalid-name');
  });

  it.each([
    ['level', '0', 'invalid-option'],
    ['level', '23', 'invalid-option'],
    ['level', 'three', 'invalid-option'],
    ['compression', 'lzma', 'invalid-option'],
    ['sha256', 'abc', 'invalid-option'],
    ['job_id', 'a b', 'invalid-option'],
  ])('takes the options that an upload in one takes: not %s "%s"', async (option, value, code) => {
    await expectNothingMade(await creating({ length: 10, metadata: { [option]: value } }), 400, code);
  });

  it('takes no level above what the engine holds', async () => {
    const { highest_level } = await (await ask('/capabilities')).json<{ highest_level: number }>();
    if (highest_level < 22) {
      await expectNothingMade(await creating({ length: 10, metadata: { level: '22' } }), 400, 'level-unsupported');
    }
    const upload = await create({ length: 10_000, metadata: { level: String(highest_level) } });
    await send(upload, [content]);
    expect((await receiptOf(upload)).compression.level).toBe(highest_level);
  });

  it('is told of a job that runs; one that ended, however it did, is free', async () => {
    const running = await create({ length: 10_000, metadata: { job_id: 'one-at-a-time' } });
    const second = () => creating({ length: 10, metadata: { job_id: 'one-at-a-time' } });
    await expectNothingMade(await second(), 409, 'job-running');
    const inOne = await ask('/backup/upload/a.tar?job_id=one-at-a-time', { method: 'PUT', body: sample(10) });
    await expectProblem(inOne, 409, 'job-running');
    await send(running, [content]);
    await receiptOf(running);
    const next = await uploadIn(await second());
    await tus('DELETE', next.url);
    await put('a.tar', sample(10), '?job_id=one-at-a-time');
  });

  it('of an empty file is complete at once', async () => {
    const upload = await create({ length: 0, metadata: { filename: 'empty.sql', allow_empty: 'true' } });
    const receipt = await receiptOf(upload);
    expect(receipt).toMatchObject({ file_size: 0, checksum: await sha256Hex(new Uint8Array()) });
    expect(await standing(upload)).toEqual({ offset: 0, length: 0, phase: 'done' });
    expect((await (await ask(receipt.download_url)).bytes()).length).toBe(0);
  });
});

describe('Upload-Metadata (creation)', () => {
  const sent = [
    metadata({ filename: 'Größe – 測試 😀.tar', filetype: 'application/x-tar', relativePath: 'a/b' }),
    'is_confidential',
    `blob ${'/+8A'.repeat(20)}`,
    'empty ',
  ].join(',');

  it('is given back by HEAD as it was sent, keys that nobody knows included', async () => {
    const upload = await create({ length: 10_000, headers: { 'upload-metadata': sent } });
    const told = async () => (await tus('HEAD', upload.url)).headers.get('upload-metadata');
    expect(await told()).toBe(sent.trimEnd());
    await send(upload, [content]);
    expect(await told()).toBe(sent.trimEnd());
    expect(await receiptOf(upload)).toMatchObject({
      filename: 'Größe – 測試 😀.tar',
      content_type: 'application/x-tar',
    });
  });

  it('names the file in any script, in NFC, by a path', async () => {
    for (const [given, name, filename] of [
      ['Cafe\u0301 ☕.tar', 'Caf\u00e9 ☕.tar', 'Caf\u00e9 ☕.tar'],
      ['web1/etc.tar', 'web1/etc.tar', 'etc.tar'],
      ['DUMP.SQL.GZ', 'DUMP.SQL.GZ', 'DUMP.SQL.GZ'],
      ['%2e%2e/a.tar', '%2e%2e/a.tar', 'a.tar'],
    ] as const) {
      const upload = await create({ length: 10_000, metadata: { filename: given } });
      expect(await shown(upload)).toMatchObject({ name, filename });
      await send(upload, [content]);
      expect(await receiptOf(upload)).toMatchObject({ name, filename });
    }
  });

  it('counts "name" where the client sends the filename of the local file too', async () => {
    const upload = await create({ length: 10_000, metadata: { filename: 'local.tar', name: 'web1/etc.tar' } });
    expect(await shown(upload)).toMatchObject({ name: 'web1/etc.tar', filename: 'etc.tar' });
  });

  it.each([
    ['a control character', 'a\u0000b.tar'],
    ['a line break', 'a\r\nx-evil: 1.tar'],
    ['too many bytes', `${'x'.repeat(252)}.tar`],
  ])('cannot name a file with %s', async (_, filename) => {
    await expectNothingMade(await creating({ length: 10, metadata: { filename } }), 400, 'invalid-name');
  });

  it.each(['filename', 'level', 'job_id'])('is UTF-8 where the vault has to read it: %s', async (key) => {
    const latin1 = { [key]: new Uint8Array([0xfc, 0x2e, 0x74, 0x61, 0x72]) };
    await expectNothingMade(await creating({ length: 10, metadata: latin1 }), 400, 'invalid-upload-header');
  });

  it.each([
    ['a value that is no base64', 'filename c2l0ZS50YXI=,x !!!'],
    ['a value of base64 that is cut', 'filename c2l0ZS50YXI=,x abcde'],
    ['a third word', 'filename c2l0ZS50YXI= more'],
    ['an empty pair', 'filename c2l0ZS50YXI=,,x eA=='],
    ['a key twice', 'filename c2l0ZS50YXI=,x eA==,x eA=='],
    ['two filenames', 'filename c2l0ZS50YXI=,filename b3RoZXIudGFy'],
  ])('that is malformed is refused: %s', async (_, header) => {
    const refused = await creating({ length: 10, headers: { 'upload-metadata': header } });
    await expectNothingMade(refused, 400, 'invalid-upload-header');
  });

  it('smuggles no header: a media type that is none is not used', async () => {
    const upload = await create({
      length: 10_000,
      metadata: { filename: 'a.bin', filetype: 'text/plain\r\nx-evil: 1' },
    });
    await send(upload, [content]);
    const { content_type, download_url } = await receiptOf(upload);
    expect(content_type).toBe('application/octet-stream');
    expect((await ask(download_url)).headers.get('x-evil')).toBeNull();
  });

  it('may be long, but not without end', async () => {
    const upload = await create({ length: 10, metadata: { note: 'x'.repeat(2 * KIB) } });
    expect((await tus('HEAD', upload.url)).headers.get('upload-metadata')).toContain('note ');
  });

  it('carries the options of an upload', async () => {
    const options = { job_id: 'optioned', level: '1', compression: 'zstd', sha256: await sha256Hex(content) };
    const upload = await create({ length: 10_000, metadata: options });
    await send(upload, [content]);
    expect(await receiptOf(upload)).toMatchObject({
      job_id: 'optioned',
      compression: { codec: 'zstd', level: 1, engine: env.ZSTD_ENGINE },
    });
  });
});
