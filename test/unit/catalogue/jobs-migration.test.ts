import { applyD1Migrations, env } from 'cloudflare:test';
import { describe, expect, it } from 'vitest';
import { JOB_COLUMNS, recordJob } from '../../../src/catalogue/jobs.ts';

/** A database that nobody else uses in this file, as a vault's catalogue that is some migrations behind. */
const db = env.DATABASE_SAMPLE;
const BEFORE = env.MIGRATIONS.findIndex(({ name }) => name.includes('jobs_without_backup'));

describe('the migration that lets jobs be without a backup', () => {
  it('keeps every job, and the order of runs', async () => {
    expect(BEFORE).toBeGreaterThan(0);
    await applyD1Migrations(db, env.MIGRATIONS.slice(0, BEFORE), 'catalogue_migrations');
    const columns = JOB_COLUMNS.split(', ');
    const rows = [
      ['nightly', 'B1', 'done', 'site.tar', 'Stored site.tar', null, '2026-11-01', '2026-11-02', 'B1'],
      ['verify-B1', 'B1', 'failed', 'site.tar', 'damaged', 'stored-data-corrupt', '2026-11-02', '2026-11-03', 'R2'],
      ['running', 'B3', 'receiving', null, '', null, '2026-11-03', null, 'B3'],
    ];
    for (const row of rows) {
      await db
        .prepare(`INSERT INTO jobs (${JOB_COLUMNS}) VALUES (${row.map(() => '?').join()})`)
        .bind(...row)
        .run();
    }
    await applyD1Migrations(db, env.MIGRATIONS, 'catalogue_migrations');
    const all = () => db.prepare(`SELECT ${JOB_COLUMNS} FROM jobs ORDER BY started_at`).all();
    const kept = rows.map((row) => Object.fromEntries(columns.map((column, i) => [column, row[i]])));
    expect((await all()).results).toEqual(kept);
    const imported = {
      job_id: 'rows',
      run_id: 'R4',
      backup_id: null,
      phase: 'done',
      filename: null,
      message: 'Imported',
      code: null,
      started_at: '2026-11-04',
      ended_at: '2026-11-04',
    };
    await recordJob(db, imported);
    await recordJob(db, { ...imported, run_id: 'R3', message: 'of a run before' });
    expect((await all()).results).toEqual([...kept, imported]);
    const indexes = await db.prepare(`SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'jobs'`).all();
    expect(indexes.results).toContainEqual({ name: 'jobs_ended' });
  });
});
