import { applyD1Migrations, env } from 'cloudflare:test';
import { describe, expect, it } from 'vitest';
import { listRuns } from '../../../src/catalogue/jobs.ts';

/** A database that nobody else uses in this file, as a vault's catalogue that is some migrations behind. */
const db = env.DATABASE_SAMPLE;
const BEFORE = env.MIGRATIONS.findIndex(({ name }) => name.includes('jobs_without_backup'));

/** Of the table before. */
const COLUMNS = ['job_id', 'backup_id', 'phase', 'filename', 'message', 'code', 'started_at', 'ended_at', 'run_id'];

describe('the migrations of jobs', () => {
  it('keep every run, and know its task', async () => {
    expect(BEFORE).toBeGreaterThan(0);
    await applyD1Migrations(db, env.MIGRATIONS.slice(0, BEFORE), 'catalogue_migrations');
    const rows = [
      ['nightly', 'B1', 'done', 'site.tar', 'Stored site.tar', null, '2026-11-01', '2026-11-02', 'B1'],
      ['running', 'B3', 'receiving', null, '', null, '2026-11-03', null, 'B3'],
      ['verify-B1', 'B1', 'failed', 'site.tar', 'damaged', 'stored-data-corrupt', '2026-11-02', '2026-11-03', 'R2'],
    ];
    for (const row of rows) {
      await db
        .prepare(`INSERT INTO jobs (${COLUMNS}) VALUES (${row.map(() => '?').join()})`)
        .bind(...row)
        .run();
    }
    await applyD1Migrations(db, env.MIGRATIONS, 'catalogue_migrations');
    const kept = rows.map((row) => ({
      ...Object.fromEntries(COLUMNS.map((column, i) => [column, row[i]])),
      task: row.at(-1) === row[1] ? 'upload' : 'verify',
      token_id: null,
      expires_at: null,
    }));
    expect((await listRuns(db, { limit: 10 })).rows).toEqual(kept.toReversed());
    const indexes = await db.prepare(`SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'jobs'`).all();
    expect(indexes.results).toEqual([{ name: 'jobs_ended' }, { name: 'jobs_open_uploads' }]);
  });
});
