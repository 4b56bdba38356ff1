import { env } from 'cloudflare:test';
import { describe, expect, it } from 'vitest';
import { type Backup, upsertBackups } from '../../../src/catalogue/backups.ts';
import { exportPage } from '../../../src/catalogue/export-page.ts';
import { JOB_COLUMNS, type JobRecord, purgeJobs, recordJob } from '../../../src/catalogue/jobs.ts';
import { deleteToken, findToken, insertToken, listTokens } from '../../../src/catalogue/tokens.ts';
import { claimLink, purgeLinks, releaseLink, releaseLinksOf } from '../../../src/catalogue/upload-links.ts';

const db = env.CATALOGUE;

function job(over: Partial<JobRecord> = {}): JobRecord {
  return {
    job_id: 'nightly',
    backup_id: 'B1',
    phase: 'done',
    filename: 'site.tar',
    message: 'Stored site.tar',
    code: null,
    started_at: '2026-11-23T07:30:00.000Z',
    ended_at: '2026-11-23T07:31:00.000Z',
    run_id: over.backup_id ?? 'B1',
    ...over,
  };
}

function getJob(db: D1Database, jobId: string): Promise<JobRecord | null> {
  return db.prepare(`SELECT ${JOB_COLUMNS} FROM jobs WHERE job_id = ?1`).bind(jobId).first<JobRecord>();
}

describe('jobs', () => {
  it('keep a verification that came after a later backup took the same name', async () => {
    const verified = job({ job_id: 'mixed', backup_id: 'B1', run_id: 'B9', message: 'Verified site.tar' });
    await recordJob(db, job({ job_id: 'mixed', backup_id: 'B5' }));
    await recordJob(db, verified);
    await recordJob(db, job({ job_id: 'mixed', backup_id: 'B7' }));
    expect(await getJob(db, 'mixed')).toEqual(verified);
  });

  it('keep the last run, whichever record comes last', async () => {
    const later = job({
      backup_id: 'B2',
      phase: 'failed',
      code: 'file-too-large',
      started_at: '2026-11-23T08:00:00.000Z',
    });
    await recordJob(db, job({ phase: 'receiving', ended_at: null }));
    await recordJob(db, job());
    expect(await getJob(db, 'nightly')).toEqual(job());
    await recordJob(db, later);
    await recordJob(db, job({ message: 'from a run that was overtaken', started_at: '2026-11-24T00:00:00.000Z' }));
    expect(await getJob(db, 'nightly')).toEqual(later);
  });

  it('are forgotten by the time they ended; running ones stay', async () => {
    await recordJob(db, job({ job_id: 'a', ended_at: '2026-11-01T00:00:00.000Z' }));
    await recordJob(db, job({ job_id: 'b', ended_at: '2026-11-02T00:00:00.000Z' }));
    await recordJob(db, job({ job_id: 'c', ended_at: null }));
    expect(await purgeJobs(db, '2026-11-02T00:00:00.000Z')).toBe(1);
    expect(await getJob(db, 'a')).toBeNull();
    expect(await getJob(db, 'b')).not.toBeNull();
    expect(await getJob(db, 'c')).not.toBeNull();
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
    const listed = await listTokens(db);
    expect(listed.map((token) => token.token_id)).toEqual(['T1', 'T0']);
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
      seen.push(...page.rows);
      after = page.after;
    } while (after !== null);
    expect(seen).toEqual(backups);
  });

  it('give jobs by name', async () => {
    await db.prepare('DELETE FROM jobs').run();
    const jobs = ['a', 'b', 'c'].map((job_id) => job({ job_id }));
    for (const each of jobs) await recordJob(db, each);
    expect(await exportPage(db, 'jobs', null, 2)).toEqual({ rows: jobs.slice(0, 2), after: 'b' });
    expect(await exportPage(db, 'jobs', 'b', 2)).toEqual({ rows: jobs.slice(2), after: null });
  });
});
