import { applyD1Migrations, env } from 'cloudflare:test';
import { describe, expect, it } from 'vitest';
import { getLatest } from '../../../src/catalogue/backups.ts';
import { listBackups } from '../../../src/catalogue/list-backups.ts';

/** A database that nobody else uses in this file, as a vault's catalogue that is some migrations behind. */
const db = env.DATABASE_SAMPLE;
const BEFORE = env.MIGRATIONS.findIndex(({ name }) => name.includes('names_and_expiry'));

function insert(id: string, filename: string) {
  return db
    .prepare(
      `INSERT INTO backups (backup_id, job_id, filename, content_type, file_size, checksum, stored_size, stored_checksum,
         codec, created_at) VALUES (?1, 'j', ?2, 't', 1, 'c', 1, 's', 'none', '2026-11-23T07:30:00.000Z')`,
    )
    .bind(id, filename)
    .run();
}

describe('the migration to names', () => {
  it('names every backup by its filename, also one that the Worker before stores after it', async () => {
    expect(BEFORE).toBeGreaterThan(0);
    await applyD1Migrations(db, env.MIGRATIONS.slice(0, BEFORE), 'catalogue_migrations');
    await insert('01JC0000000000000000000001', 'site.tar');
    await applyD1Migrations(db, env.MIGRATIONS, 'catalogue_migrations');
    await insert('01JC0000000000000000000002', 'site.tar');
    const { backups } = await listBackups(db, { name: 'site.tar', limit: 10 });
    const added = { name: 'site.tar', filename: 'site.tar', created_by: null, expires_at: null };
    expect(backups).toMatchObject([added, added]);
    expect((await getLatest(db, 'site.tar'))?.backup_id).toBe('01JC0000000000000000000002');
  });
});
