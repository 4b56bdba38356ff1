import { env } from 'cloudflare:test';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Backup, upsertBackups } from '../../../src/catalogue/backups.ts';
import { exportPage } from '../../../src/catalogue/export-page.ts';
import { listOpenUploads, listRuns, purgeJobs, type RunRecord, recordRun } from '../../../src/catalogue/jobs.ts';
import { InvalidCursor } from '../../../src/catalogue/pages.ts';
import { deleteToken, findToken, insertToken, listTokens } from '../../../src/catalogue/tokens.ts';
import { claimLink, purgeLinks, releaseLink, releaseLinksOf } from '../../../src/catalogue/upload-links.ts';

const db = env.CATALOGUE;

function run(over: Partial<RunRecord> = {}): RunRecord {
  return {
    run_id: '01JC0000000000000000000001',
    job_id: 'nightly',
    task: 'upload',
    phase: 'done',
    backup_id: '01JC0000000000000000000001',
    filename: 'site.tar',
    message: 'Stored site.tar',
    code: null,
    token_id: 'admin',
    started_at: '2026-11-23T07:30:00.000Z',
    ended_at: '2026-11-23T07:31:00.000Z',
    expires_at: null,
    ...over,
  };
}

function idOf(n: number): string {
  return `01JC${String(n).padStart(22, '0')}`;
}

describe('runs', () => {
  beforeEach(async () => {
    await db.prepare('DELETE FROM jobs').run();
  });

  it('have one row each, which their end changes', async () => {
    await recordRun(db, run({ phase: 'receiving', ended_at: null, message: 'Receiving site.tar' }));
    await recordRun(db, run({ run_id: idOf(2), phase: 'failed', code: 'file-too-large' }));
    await recordRun(db, run());
    const { rows } = await listRuns(db, { limit: 10 });
    expect(rows).toEqual([run({ run_id: idOf(2), phase: 'failed', code: 'file-too-large' }), run()]);
  });

  it('are listed newest first by task and phase, a page at a time', async () => {
    for (let n = 0; n < 8; n++) {
      const task = n % 2 ? 'verify' : 'upload';
      await recordRun(db, run({ run_id: idOf(n), task, phase: n < 4 ? 'done' : 'failed' }));
    }
    const ids = async (query: Partial<Parameters<typeof listRuns>[1]>) => {
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await listRuns(db, { limit: 3, ...query, cursor });
        seen.push(...page.rows.map(({ run_id }) => run_id));
        cursor = page.cursor ?? undefined;
      } while (cursor !== undefined);
      return seen;
    };
    expect(await ids({})).toEqual([7, 6, 5, 4, 3, 2, 1, 0].map(idOf));
    expect(await ids({ task: 'verify' })).toEqual([7, 5, 3, 1].map(idOf));
    expect(await ids({ task: 'upload', phase: 'failed' })).toEqual([6, 4].map(idOf));
    await expect(listRuns(db, { cursor: 'not one of ours', limit: 1 })).rejects.toThrow(InvalidCursor);
  });

  it('that are open resumable uploads are listed by token', async () => {
    const open = { phase: 'receiving', ended_at: null, expires_at: '2026-11-29T00:00:00.000Z' };
    await recordRun(db, run({ run_id: idOf(1), ...open, token_id: 'T1' }));
    await recordRun(db, run({ run_id: idOf(2), ...open, token_id: null }));
    await recordRun(db, run({ run_id: idOf(3), ...open, expires_at: null, token_id: 'T1' }));
    await recordRun(db, run({ run_id: idOf(4), ...open, ended_at: '2026-11-24T00:00:00.000Z', token_id: 'T1' }));
    const ids = async (token_id: string | null) =>
      (await listOpenUploads(db, { token_id, limit: 10 })).rows.map(({ run_id }) => run_id);
    expect(await ids(null)).toEqual([2, 1].map(idOf));
    expect(await ids('T1')).toEqual([idOf(1)]);
    expect(await ids('T2')).toEqual([]);
    const { cursor } = await listOpenUploads(db, { token_id: null, limit: 1 });
    const next = await listOpenUploads(db, { token_id: null, cursor: cursor ?? '', limit: 1 });
    expect(next).toMatchObject({ rows: [{ run_id: idOf(1) }], cursor: null });
  });

  it('are forgotten by the time they ended; running ones stay', async () => {
    await recordRun(db, run({ run_id: 'a', ended_at: '2026-11-01T00:00:00.000Z' }));
    await recordRun(db, run({ run_id: 'b', ended_at: '2026-11-02T00:00:00.000Z' }));
    await recordRun(db, run({ run_id: 'c', ended_at: null }));
    expect(await purgeJobs(db, '2026-11-02T00:00:00.000Z')).toBe(1);
    expect((await listRuns(db, { limit: 10 })).rows.map(({ run_id }) => run_id)).toEqual(['c', 'b']);
  });
});

describe('tokens', () => {
  it('are found by id with their hash, listed without it, and deleted once', async () => {
    const first = {
      token_id: 'T1',
      name: 'laptop "é"',
      scopes: ['read', 'write'],
      hash: 'ab'.repeat(32),
      created_at: '2026-11-23T07:30:00.000Z',
      expires_at: null,
    };
    const second = {
      ...first,
      token_id: 'T0',
      created_at: '2026-11-23T08:00:00.000Z',
      expires_at: '2026-12-01T00:00:00.000Z',
    };
    await insertToken(db, second);
    await insertToken(db, first);
    expect(await findToken(db, 'T1')).toEqual(first);
    expect(await findToken(db, 't1')).toBeNull();
    const listed = await listTokens(db, { limit: 2 });
    expect(listed.rows.map((token) => token.token_id)).toEqual(['T1', 'T0']);
    expect(listed.cursor).toBeNull();
    expect(JSON.stringify(listed)).not.toContain('hash');
    await expect(insertToken(db, first)).rejects.toThrow();
    expect(await deleteToken(db, 'T1')).toBe(true);
    expect(await deleteToken(db, 'T1')).toBe(false);
  });
});

describe('upload links', () => {
  const claim = { link_id: 'L1', backup_id: 'B1', expires_at: '2026-11-23T09:00:00.000Z' };

  it('go to exactly one of many that ask at once', async () => {
    const asked = Array.from({ length: 8 }, (_, n) => claimLink(db, { ...claim, link_id: 'race', backup_id: `B${n}` }));
    const got = await Promise.all(asked);
    expect(got.filter((mine) => mine)).toHaveLength(1);
  });

  it('stay with who has them, who may ask again; after a release anybody may', async () => {
    expect(await claimLink(db, claim)).toBe(true);
    expect(await claimLink(db, claim)).toBe(true);
    expect(await claimLink(db, { ...claim, backup_id: 'B2' })).toBe(false);
    await releaseLink(db, 'L1');
    expect(await claimLink(db, { ...claim, backup_id: 'B2' })).toBe(true);
    await releaseLinksOf(db, 'B1');
    expect(await claimLink(db, claim)).toBe(false);
    await releaseLinksOf(db, 'B2');
    expect(await claimLink(db, claim)).toBe(true);
  });

  it('are forgotten after they have expired', async () => {
    await claimLink(db, { ...claim, link_id: 'old', expires_at: '2026-01-01T00:00:00.000Z' });
    expect(await purgeLinks(db, '2026-01-01T00:00:00.000Z')).toBe(0);
    expect(await purgeLinks(db, '2026-01-01T00:00:00.001Z')).toBe(1);
  });
});

describe('pages for export', () => {
  const backups = Array.from(
    { length: 7 },
    (_, n): Backup => ({
      backup_id: `01JC000000000000000000000${n}`,
      job_id: `job-${n}`,
      name: `web${n}/${n}.tar`,
      filename: `${n}.tar`,
      content_type: 'application/x-tar',
      file_size: n,
      checksum: 'ab'.repeat(32),
      stored_size: n,
      stored_checksum: 'cd'.repeat(32),
      compression: n % 2 ? { codec: 'none' } : { codec: 'zstd', level: 3, engine: 'wasm', frames: 1 },
      encryption: n % 2 ? null : { format: 'age', by: 'vault', recipients: ['age1x'] },
      archive: n % 3 ? null : { format: 'tar', members: n, stopped: null },
      created_at: '2026-11-23T07:30:00.000Z',
      created_by: n % 2 ? null : 'admin',
      expires_at: n % 2 ? null : '2999-01-01T00:00:00.000Z',
      verified_at: null,
      damage: null,
    }),
  );

  it.each([1, 2, 3, 6, 7, 8])('give every backup once, in order, %i at a time', async (limit) => {
    await upsertBackups(db, backups);
    const seen: unknown[] = [];
    let after: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof exportPage>> = await exportPage(db, 'backups', after, limit);
      seen.push(...page.rows.map(({ record }) => record));
      after = page.after;
    } while (after !== null);
    expect(seen).toEqual(backups);
  });

  it('leave out backups that have expired', async () => {
    const [first, second] = backups.map((backup) => ({ ...backup, expires_at: '2026-01-01T00:00:00.000Z' }));
    if (!first || !second) throw new Error('there are seven');
    await upsertBackups(db, [first, { ...second, expires_at: null }]);
    const { rows } = await exportPage(db, 'backups', null, 2);
    expect(rows.map(({ key }) => key)).toEqual([second.backup_id, backups[2]?.backup_id]);
  });

  it('give runs by their ids', async () => {
    await db.prepare('DELETE FROM jobs').run();
    const runs = ['a', 'b', 'c'].map((run_id) => run({ run_id }));
    for (const each of runs) await recordRun(db, each);
    const rows = runs.map((record) => ({ key: record.run_id, record }));
    expect(await exportPage(db, 'jobs', null, 2)).toEqual({ rows: rows.slice(0, 2), after: 'b' });
    expect(await exportPage(db, 'jobs', 'b', 2)).toEqual({ rows: rows.slice(2), after: null });
  });
});
