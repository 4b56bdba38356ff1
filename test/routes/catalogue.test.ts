import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { ask, expectProblem, put, sample, storedKeys } from '../support/vault.ts';
import { END, rawMember } from '../unit/archive/tar-samples.ts';

interface Page {
  backups: { backup_id: string; filename: string }[];
  cursor: string | null;
}

describe('the catalogue', () => {
  it('lists newest first, in pages, by prefix', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push((await put(`list%_${i}.tar`, sample(10))).backup_id);
    await put('LIST-other.tar', sample(10));
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const query = new URLSearchParams({ prefix: 'list%_', limit: '2', ...(cursor ? { cursor } : {}) });
      const page: Page = await (await ask(`/backup?${query}`)).json();
      expect(page.backups.length).toBeLessThanOrEqual(2);
      seen.push(...page.backups.map((backup) => backup.backup_id));
      cursor = page.cursor;
    } while (cursor);
    expect(seen.sort()).toEqual(ids.sort());
    await expectProblem(await ask('/backup?limit=0'), 400, 'invalid-option');
    await expectProblem(await ask('/backup?limit=1001'), 400, 'invalid-option');
    await expectProblem(await ask('/backup?cursor=nonsense!'), 400, 'invalid-cursor');
  });

  it('gives the receipt again, without what is ours', async () => {
    const { message: _, ...receipt } = await put('again.tar', sample(10));
    expect(await (await ask(`/backup/${receipt.backup_id}`)).json()).toEqual(receipt);
  });

  it('deletes objects and row, and leaves the marker of the deletion', async () => {
    const { backup_id } = await put('gone.tar', sample(10));
    expect((await ask(`/backup/${backup_id}`, { method: 'DELETE' })).status).toBe(204);
    await expectProblem(await ask(`/backup/${backup_id}`), 404, 'not-found');
    await expectProblem(await ask(`/backup/${backup_id}`, { method: 'DELETE' }), 404, 'not-found');
    expect((await storedKeys()).filter((key) => key.includes(backup_id))).toEqual([`deleted/${backup_id}`]);
  });

  it('deletes the index of an archive too, and what was left of making it', async () => {
    const member = rawMember({ name: 'a.txt' }, 'content');
    const { backup_id } = await put('archive.tar', Uint8Array.from([...member, ...END]));
    await env.VAULT.put(`tmp/${backup_id}/index-run/0`, 'left behind');
    const own = async () => (await storedKeys()).filter((key) => key.includes(backup_id));
    expect(await own()).toEqual([
      `data/${backup_id}`,
      `index/${backup_id}`,
      `receipt/${backup_id}`,
      `tmp/${backup_id}/index-run/0`,
    ]);
    expect((await ask(`/backup/${backup_id}`, { method: 'DELETE' })).status).toBe(204);
    expect(await own()).toEqual([`deleted/${backup_id}`]);
  });

  it('rebuilds rows from the receipts, and refuses those that lie', async () => {
    const kept = await put('kept.tar', sample(10_000));
    const lying = await put('lying.tar', sample(10_000));
    await env.CATALOGUE.prepare('DELETE FROM backups').run();
    await env.VAULT.put(`data/${lying.backup_id}`, 'too short');
    const result = await (await ask('/reindex', { method: 'POST' })).json<{ indexed: number; refused: string[] }>();
    expect(result.indexed).toBeGreaterThan(0);
    expect(result.refused).toEqual([lying.backup_id]);
    const { message: _, ...receipt } = kept;
    expect(await (await ask(`/backup/${kept.backup_id}`)).json()).toEqual(receipt);
  });

  it('is never rebuilt with a deleted backup, and is told of objects that no backup has', async () => {
    const { backup_id } = await put('deleted.tar', sample(10));
    const receipt = await env.VAULT.get(`receipt/${backup_id}`).then((object) => object?.text());
    expect((await ask(`/backup/${backup_id}`, { method: 'DELETE' })).status).toBe(204);
    await env.VAULT.put(`receipt/${backup_id}`, receipt ?? '');
    await env.VAULT.put('data/01JC8Z5V3M9QK2T7W4X6Y8B0CD', 'orphan');
    for (const sweep of ['', '?sweep=false', '?sweep=true']) {
      const result = await (await ask(`/reindex${sweep}`, { method: 'POST' })).json();
      expect(result).toMatchObject({
        deletions_finished: sweep === '' ? 1 : 0,
        orphans: { data: 1, bytes: 6, keys: ['data/01JC8Z5V3M9QK2T7W4X6Y8B0CD'], swept: 0 },
      });
      await expectProblem(await ask(`/backup/${backup_id}`), 404, 'not-found');
    }
    await expectProblem(await ask('/reindex?sweep=maybe', { method: 'POST' }), 400, 'invalid-option');
  });
});

describe('a receipt in the bucket', () => {
  async function written(backupId: string): Promise<Record<string, unknown>> {
    const object = await env.VAULT.get(`receipt/${backupId}`);
    return (await object?.json()) ?? {};
  }

  it('says nothing of verifications, which come after it', async () => {
    const { backup_id } = await put('silent.tar', sample(10));
    const receipt = await written(backup_id);
    expect(receipt).toHaveProperty('archive');
    expect(receipt).not.toHaveProperty('verified_at');
    expect(receipt).not.toHaveProperty('damage');
  });

  it.each([
    ['nothing of archives, being old', undefined, null],
    ['that it is no archive', null, null],
    ['of an archive', { format: 'tar', members: 7, stopped: null }, { format: 'tar', members: 7, stopped: null }],
    [
      'of an archive that breaks off',
      { format: 'tar', members: 1, stopped: { offset: 512, reason: 'the header is cut' } },
      { format: 'tar', members: 1, stopped: { offset: 512, reason: 'the header is cut' } },
    ],
  ])('that tells %s becomes a row', async (_, archive, expected) => {
    const { backup_id } = await put('told.tar', sample(10));
    const { archive: __, ...rest } = await written(backup_id);
    await env.VAULT.put(`receipt/${backup_id}`, JSON.stringify(archive === undefined ? rest : { ...rest, archive }));
    const result = await (await ask('/reindex', { method: 'POST' })).json<{ refused: string[] }>();
    expect(result.refused).not.toContain(backup_id);
    const backup = await (await ask(`/backup/${backup_id}`)).json();
    expect(backup).toMatchObject({ archive: expected, verified_at: null, damage: null });
    const rows = await (await ask('/export/stream')).json<{ backup_id: string }[]>();
    expect(rows).toContainEqual(expect.objectContaining({ backup_id, archive: expected }));
  });

  it('with an archive that is none of ours is refused', async () => {
    const { backup_id } = await put('odd.tar', sample(10));
    const receipt = await written(backup_id);
    await env.VAULT.put(`receipt/${backup_id}`, JSON.stringify({ ...receipt, archive: { format: 'zip' } }));
    const result = await (await ask('/reindex', { method: 'POST' })).json<{ refused: string[] }>();
    expect(result.refused).toContain(backup_id);
  });
});

describe('GET /export/stream', () => {
  it('exports backups as JSON and as lines, over several pages', async () => {
    await env.CATALOGUE.prepare(
      `INSERT INTO backups (backup_id, job_id, filename, content_type, file_size, checksum, stored_size, stored_checksum, codec, created_at)
       WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1234)
       SELECT printf('01EXPORT%018d', i), 'job', 'emoji 🧊 ' || i, 'text/plain', i, 'c', i, 'c', 'none', '2026-01-01T00:00:00.000Z' FROM n`,
    ).run();
    const total = await env.CATALOGUE.prepare('SELECT count(*) AS n FROM backups').first('n');
    const response = await ask('/export/stream');
    expect(response.headers.get('content-disposition')).toBe('attachment; filename=export.json');
    const all = await response.json<{ filename: string }[]>();
    expect(all.length).toBe(total);
    const lines = (await (await ask('/export/stream?format=ndjson&table=backups')).text()).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual(all);
  });

  it('exports jobs, and nothing secret', async () => {
    await put('j.tar', sample(10), '?job_id=exported-job');
    const jobs = await (await ask('/export/stream?table=jobs')).json<{ job_id: string; phase: string }[]>();
    expect(jobs).toContainEqual(expect.objectContaining({ job_id: 'exported-job', phase: 'done' }));
    await expectProblem(await ask('/export/stream?table=tokens'), 400, 'invalid-option');
    await expectProblem(await ask('/export/stream?database=other'), 400, 'invalid-option');
  });

  it('breaks when a later page cannot be read', async () => {
    await env.CATALOGUE.prepare(
      `UPDATE backups SET codec = 'unknown' WHERE backup_id = '01EXPORT000000000000001200'`,
    ).run();
    const response = await ask('/export/stream');
    await expect(response.text()).rejects.toThrow();
    await env.CATALOGUE.prepare(`DELETE FROM backups WHERE backup_id LIKE '01EXPORT%'`).run();
  });
});
