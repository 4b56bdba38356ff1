import { env } from 'cloudflare:workers';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { beforeEach, describe, expect, it } from 'vitest';
import type { JobMessage } from '../../src/progress/messages.ts';
import { utf8 } from '../../src/shared/bytes.ts';
import { ask, expectProblem, put } from '../support/vault.ts';

const db = env.DATABASE_SAMPLE;
const OF_ITEMS = '/export/stream?database=sample&table=items';

interface Imported {
  job_id: string;
  read: number;
  written: number;
  refused: { index: number; reason: string }[];
}

beforeEach(async () => {
  await db.prepare('DELETE FROM items').run();
});

function restoring(backupId: string, query = '', headers: Record<string, string> = {}): Promise<Response> {
  return ask(`/backup/${backupId}/restore?database=sample&table=items${query}`, { method: 'POST', headers });
}

async function restored(backupId: string, query = '', headers: Record<string, string> = {}): Promise<Imported> {
  const response = await restoring(backupId, query, headers);
  expect(response.status, await response.clone().text()).toBe(200);
  return response.json();
}

async function exported(format: string): Promise<string> {
  return (await ask(`${OF_ITEMS}&format=${format}`)).text();
}

async function fill(count: number): Promise<void> {
  await db
    .prepare(
      `INSERT INTO items WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        SELECT i * 10000000000001, 'Zeile ' || i || ' 😀', i / 3.0, randomblob(i % 7) FROM n`,
    )
    .bind(count)
    .run();
}

describe('POST /backup/{id}/restore', () => {
  it.each([
    ['export.json', '?compression=zstd'],
    ['export.ndjson', '?compression=zstd'],
    ['export.ndjson', '?compression=none'],
    ['Export.JSON', ''],
  ])('brings an export that was stored as %s%s back, type by type', async (name, query) => {
    await fill(1234);
    const format = name.endsWith('ndjson') ? 'ndjson' : 'json';
    const before = await exported(format);
    const { backup_id } = await put(name, before, query);
    await db.prepare('DELETE FROM items').run();
    expect(await restored(backup_id)).toMatchObject({ read: 1234, written: 1234, refused: [] });
    expect(await exported(format)).toBe(before);
  });

  it.each<[string, (bytes: Uint8Array) => Uint8Array]>([
    ['export.ndjson.gz', gzipSync],
    ['export.json.gz', gzipSync],
    ['export.jsonl.zst', zstdCompressSync],
    ['export.json.zst', zstdCompressSync],
  ])('takes one that came compressed, as %s', async (name, compress) => {
    await fill(500);
    const before = await exported('ndjson');
    const document = name.includes('.json.') ? await exported('json') : before;
    const { backup_id, compression } = await put(name, new Uint8Array(compress(utf8(document))));
    expect(compression.codec).toBe('none');
    await db.prepare('DELETE FROM items').run();
    expect(await restored(backup_id)).toMatchObject({ read: 500, written: 500 });
    expect(await exported('ndjson')).toBe(before);
  });

  it('has a job that knows the backup', async () => {
    const document = '{"id":1}\n{"id":2,"none":1}\n';
    const { backup_id } = await put('two.ndjson', document);
    const { job_id, refused } = await restored(backup_id, '&job_id=restore-two');
    expect(refused).toMatchObject([{ index: 1 }]);
    const job: JobMessage = await (await ask(`/jobs/${job_id}`)).json();
    const bytes = utf8(document).length;
    expect(job).toMatchObject({ phase: 'done', backup_id, current: bytes, total: bytes });
    expect(job.message).toBe('Imported into sample.items from two.ndjson: 2 read, 1 written, 1 refused');
    const jobs = await (await ask('/export/stream?table=jobs')).json<object[]>();
    expect(jobs).toContainEqual(expect.objectContaining({ job_id, backup_id, filename: 'two.ndjson', phase: 'done' }));
  });

  it('has the options of an import', async () => {
    const { backup_id } = await put('options.json', '[{"id":1,"name":"a"},{"id":1,"name":"b"},3]');
    expect(await restored(backup_id, '&dry_run=1')).toMatchObject({ read: 3, written: 1 });
    expect(await exported('ndjson')).toBe('');
    await expectProblem(await restoring(backup_id, '&max_errors=0'), 422, 'too-many-errors');
    await expectProblem(await restoring(backup_id, '&format=ndjson&max_errors=0'), 422, 'too-many-errors');
    expect(await restored(backup_id, '&mode=upsert&max_errors=1')).toMatchObject({ written: 2 });
    expect(await exported('ndjson')).toBe('{"id":1,"name":"b","value":null,"data":null}\n');
    await expectProblem(await restoring(backup_id, '&mode=none'), 400, 'invalid-option');
  });

  it('tells where a document is malformed, and keeps what stood before', async () => {
    const { backup_id } = await put('cut.json', '[{"id":1},{"id":2}');
    const response = await restoring(backup_id);
    await expectProblem(response.clone(), 400, 'malformed-json');
    expect(await response.json()).toMatchObject({ offset: 18, read: 2, written: 2 });
  });

  it.each([
    ['empty.ndjson', '?allow_empty=1&compression=zstd'],
    ['empty.ndjson', '?allow_empty=1&compression=none'],
    ['empty.jsonl', '?allow_empty=1'],
  ])('of nothing, as %s%s, has no rows', async (name, query) => {
    const { backup_id } = await put(name, '', query);
    expect(await restored(backup_id)).toMatchObject({ read: 0, written: 0, refused: [] });
    await expectProblem(await restoring(backup_id, '&format=json'), 400, 'malformed-json');
  });

  it('of nothing, as empty.json, is malformed', async () => {
    const { backup_id } = await put('empty.json', '', '?allow_empty=1');
    await expectProblem(await restoring(backup_id), 400, 'malformed-json');
    await expectProblem(await restoring(backup_id, '&format=auto'), 400, 'malformed-json');
  });

  it.each([
    ['site.tar', '[]'],
    ['rows.csv', 'id\n1\n'],
    ['dump.sql.gz', '[]'],
  ])('refuses %s, which is no document', async (name, content) => {
    const { backup_id } = await put(name, content);
    await expectProblem(await restoring(backup_id), 409, 'not-a-document');
  });

  it('says that compressed data is broken', async () => {
    const broken = new Uint8Array(gzipSync(utf8('{"id":1}\n'.repeat(1000)))).slice(0, 40);
    const { backup_id } = await put('broken.ndjson.gz', broken);
    await expectProblem(await restoring(backup_id), 400, 'malformed-gzip');
  });

  it('says that what is stored is damaged, or gone', async () => {
    const { backup_id } = await put('damaged.ndjson', '{"id":1}\n'.repeat(2000), '?compression=zstd');
    const key = `data/${backup_id}`;
    const stored = new Uint8Array((await (await env.VAULT.get(key))?.arrayBuffer()) ?? new ArrayBuffer());
    const flipped = stored.slice();
    flipped[20] = (flipped[20] ?? 0) ^ 0xff;
    await env.VAULT.put(key, flipped);
    await expectProblem(await restoring(backup_id), 422, 'stored-data-corrupt');
    await env.VAULT.delete(key);
    await expectProblem(await restoring(backup_id), 410, 'stored-data-lost');
    expect(await exported('ndjson')).toBe('');
  });

  it.each(['vault', 'sender'])('opens what the %s encrypted, for who sends the identity', async (by) => {
    const identity = await generateX25519Identity();
    const recipient = await identityToRecipient(identity);
    await fill(300);
    const before = await exported('ndjson');
    await db.prepare('DELETE FROM items').run();
    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const { backup_id } =
      by === 'vault'
        ? await put('secret.ndjson', before, `?recipient=${recipient}`)
        : await put('secret.ndjson.age', new Uint8Array(await encrypter.encrypt(before)));
    await expectProblem(await restoring(backup_id), 409, 'backup-encrypted');
    const wrong = await restoring(backup_id, '', { 'x-age-identity': await generateX25519Identity() });
    await expectProblem(wrong, 403, 'wrong-identity');
    expect(await exported('ndjson')).toBe('');
    expect(await restored(backup_id, '', { 'x-age-identity': identity })).toMatchObject({ read: 300, written: 300 });
    expect(await exported('ndjson')).toBe(before);
  });

  it('is for admins, of a backup and a table that are there', async () => {
    const { backup_id } = await put('mine.ndjson', '{"id":1}\n');
    const made = await ask('/tokens', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'reader', scopes: ['read', 'write'] }),
    });
    const { token } = await made.json<{ token: string }>();
    const path = `/backup/${backup_id}/restore`;
    const query = '?database=sample&table=items';
    await expectProblem(await ask(path + query, { method: 'POST', token }), 403, 'forbidden');
    await expectProblem(await ask(path + query, { method: 'POST', token: null }), 401, 'unauthorized');
    await expectProblem(await restoring('01JC8Z5V3M9QK2T7W4X6Y8B0CD'), 404, 'not-found');
    await expectProblem(await ask(path, { method: 'POST' }), 400, 'invalid-option');
    await expectProblem(await ask(`${path}?database=sample&table=none`, { method: 'POST' }), 404, 'not-found');
    expect(await exported('ndjson')).toBe('');
  });
});
