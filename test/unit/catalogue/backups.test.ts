import { env } from 'cloudflare:test';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type Backup,
  getBackup,
  getLatest,
  insertBackup,
  listExpired,
  listedAmong,
  recordVerification,
  upsertBackups,
} from '../../../src/catalogue/backups.ts';
import { deleteBackups, deleteUnlisted, purgeDeleted } from '../../../src/catalogue/deleted-backups.ts';
import { listBackups } from '../../../src/catalogue/list-backups.ts';

const db = env.CATALOGUE;

/** A ULID that sorts as its number. */
function id(n: number): string {
  return `01JC${String(n).padStart(22, '0')}`;
}

function backup(n: number, over: Partial<Backup> = {}): Backup {
  return {
    backup_id: id(n),
    job_id: 'nightly',
    name: `web1/site-${n}.tar`,
    filename: `site-${n}.tar`,
    content_type: 'application/x-tar',
    file_size: 10 * 1024 ** 3,
    checksum: 'ab'.repeat(32),
    stored_size: 4_700_000_001,
    stored_checksum: 'cd'.repeat(32),
    compression: { codec: 'zstd', level: 3, engine: 'native', frames: 2560 },
    encryption: null,
    archive: null,
    created_at: '2026-11-23T07:30:00.000Z',
    created_by: 'admin',
    expires_at: null,
    verified_at: null,
    damage: null,
    ...over,
  };
}

afterEach(async () => {
  await db.batch([db.prepare('DELETE FROM backups'), db.prepare('DELETE FROM deleted_backups')]);
});

describe('one backup', () => {
  it('comes back as it was put in, stored either way', async () => {
    const compressed = backup(1, { filename: 'été "%_" 雪 🧊.tar' });
    const raw = backup(2, { compression: { codec: 'none' }, file_size: 0, stored_size: 0 });
    await insertBackup(db, compressed);
    await insertBackup(db, raw);
    expect(await getBackup(db, id(1))).toEqual(compressed);
    expect(await getBackup(db, id(2))).toEqual(raw);
    expect(await getBackup(db, id(3))).toBeNull();
  });

  it.each<[string, Partial<Backup>]>([
    ['an archive', { archive: { format: 'tar', members: 1_000_000, stopped: null } }],
    ['an archive read in part', { archive: { format: 'tar', members: 0, stopped: { offset: 512, reason: 'a "🧊"' } } }],
    ['a verification', { verified_at: '2026-11-24T00:00:00.000Z' }],
    ['damage', { damage: { found_at: '2026-11-24T00:00:00.000Z', reason: 'it’s "gone"', frame: 0, offset: 0 } }],
    ['damage without a place', { damage: { found_at: '2026-11-24', reason: 'gone', frame: null, offset: null } }],
  ])('comes back with %s', async (_, over) => {
    await insertBackup(db, backup(1, over));
    expect(await getBackup(db, id(1))).toEqual(backup(1, over));
    expect((await listBackups(db, { limit: 1 })).backups).toEqual([backup(1, over)]);
  });

  it('takes the result of each verification in place of the one before', async () => {
    await insertBackup(db, backup(1));
    const whole = { verified_at: '2026-11-24T00:00:00.000Z', damage: null };
    const broken = { verified_at: null, damage: { found_at: '2026-11-25', reason: 'x', frame: 3, offset: 77 } };
    for (const found of [whole, broken, whole]) {
      expect(await recordVerification(db, id(1), found)).toBe(true);
      expect(await getBackup(db, id(1))).toEqual(backup(1, found));
    }
    expect(await recordVerification(db, id(2), whole)).toBe(false);
    expect(await getBackup(db, id(2))).toBeNull();
  });

  it('keeps what verifications found when it is rebuilt from its receipt', async () => {
    const broken = { verified_at: null, damage: { found_at: '2026-11-25', reason: 'x', frame: 3, offset: 77 } };
    const archive = { format: 'tar', members: 9, stopped: null } as const;
    await insertBackup(db, backup(1));
    await recordVerification(db, id(1), broken);
    await upsertBackups(db, [backup(1, { filename: 'rebuilt.tar', archive })]);
    expect(await getBackup(db, id(1))).toEqual(backup(1, { filename: 'rebuilt.tar', archive, ...broken }));
  });

  it('reads a row that was written before the columns came', async () => {
    await db
      .prepare(
        `INSERT INTO backups (backup_id, job_id, filename, content_type, file_size, checksum, stored_size,
           stored_checksum, codec, created_at) VALUES (?1, 'j', 'f', 't', 1, 'c', 1, 's', 'none', 'then')`,
      )
      .bind(id(1))
      .run();
    expect(await getBackup(db, id(1))).toMatchObject({
      name: 'f',
      created_by: null,
      expires_at: null,
      encryption: null,
      archive: null,
      verified_at: null,
      damage: null,
    });
  });

  it('may be inserted again after a lost answer, and stays one row', async () => {
    await insertBackup(db, backup(1));
    await insertBackup(db, backup(1));
    expect((await listBackups(db, { limit: 10 })).backups).toHaveLength(1);
  });

  it('is never listed again once its id was deleted, by no statement that writes rows', async () => {
    await insertBackup(db, backup(1));
    await deleteBackups(db, [id(1), id(2)], '2026-11-23T07:30:00.000Z');
    expect(await insertBackup(db, backup(1))).toBe(false);
    expect(await insertBackup(db, backup(2))).toBe(false);
    expect(await upsertBackups(db, [backup(1), backup(2), backup(3)])).toBe(1);
    expect((await listBackups(db, { limit: 10 })).backups).toEqual([backup(3)]);
    await deleteBackups(db, [id(1)], '2026-11-24T07:30:00.000Z');
    expect(await purgeDeleted(db, '2026-11-23T07:30:00.001Z'), 'an id deleted again keeps its time').toBe(2);
    expect(await insertBackup(db, backup(1))).toBe(true);
  });

  it('has one decision between its commit and its rollback: the first one wins, and all get the same answer', async () => {
    await insertBackup(db, backup(1));
    expect(await deleteUnlisted(db, id(1), 'now')).toBe('listed');
    expect(await insertBackup(db, backup(1))).toBe(true);
    expect(await deleteUnlisted(db, id(2), 'now')).toBe('deleted');
    expect(await insertBackup(db, backup(2))).toBe(false);
    expect(await deleteUnlisted(db, id(2), 'now')).toBe('deleted');
    expect(await listedAmong(db, [id(1), id(2), id(3)])).toEqual(new Set([id(1)]));
  });
});

describe('many backups at once', () => {
  it('are written and replaced, over more than one statement', async () => {
    const many = Array.from({ length: 1203 }, (_, n) => backup(n));
    await upsertBackups(db, many);
    await upsertBackups(db, [backup(7, { filename: 'new.tar', compression: { codec: 'none' } })]);
    const count = await db.prepare('SELECT count(*) AS n FROM backups').first<number>('n');
    expect(count).toBe(1203);
    expect(await getBackup(db, id(7))).toEqual(backup(7, { filename: 'new.tar', compression: { codec: 'none' } }));
    expect(await getBackup(db, id(1202))).toEqual(many[1202]);
  });

  it('may be none', async () => {
    await upsertBackups(db, []);
    expect((await listBackups(db, { limit: 1 })).backups).toEqual([]);
  });
});

describe('a backup that expires', () => {
  const expires_at = '2026-11-24T07:30:00.000Z';
  const before = Date.parse(expires_at) - 1;

  it('is there until then and not afterwards, and is deleted only afterwards', async () => {
    await upsertBackups(db, [backup(1, { expires_at }), backup(2)]);
    expect(await getBackup(db, id(1), before)).toEqual(backup(1, { expires_at }));
    expect(await getBackup(db, id(1), before + 1)).toBeNull();
    expect(await listExpired(db, before, 10)).toEqual([]);
    expect(await listExpired(db, before + 1, 10)).toEqual([id(1)]);
    expect(await listedAmong(db, [id(1), id(2)])).toEqual(new Set([id(1), id(2)]));
  });

  it('is listed for deletion in the order of expiry', async () => {
    const day = (n: number) => `2026-11-0${n}T00:00:00.000Z`;
    await upsertBackups(
      db,
      [3, 1, 2].map((n) => backup(n, { expires_at: day(4 - n) })),
    );
    expect(await listExpired(db, before, 2)).toEqual([id(3), id(2)]);
  });
});

describe('the latest version of a name', () => {
  const found_at = '2026-11-24T07:30:00.000Z';
  const damage = { found_at, reason: 'x', frame: null, offset: null };

  it('is the newest that is neither damaged nor expired', async () => {
    const name = 'web1/etc.tar';
    await upsertBackups(
      db,
      [1, 2, 3, 4].map((n) => backup(n, { name, expires_at: n === 3 ? found_at : null })),
    );
    await insertBackup(db, backup(9, { name: 'web1/etc.tar.gz' }));
    await recordVerification(db, id(4), { verified_at: null, damage });
    const expired = Date.parse(found_at);
    expect((await getLatest(db, name, expired - 1))?.backup_id).toBe(id(3));
    expect((await getLatest(db, name, expired))?.backup_id).toBe(id(2));
    await recordVerification(db, id(4), { verified_at: found_at, damage: null });
    expect((await getLatest(db, name, expired))?.backup_id).toBe(id(4));
    expect(await getLatest(db, 'etc.tar', expired)).toBeNull();
  });
});
