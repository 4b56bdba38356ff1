import { env } from 'cloudflare:test';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type Backup,
  getBackup,
  insertBackup,
  listBackups,
  listedAmong,
  recordVerification,
  upsertBackups,
} from '../../../src/catalogue/backups.ts';
import { deleteBackups, deleteUnlisted, purgeDeleted } from '../../../src/catalogue/deleted-backups.ts';
import { InvalidCursor } from '../../../src/catalogue/pages.ts';

const db = env.CATALOGUE;

/** A ULID that sorts as its number. */
function id(n: number): string {
  return `01JC${String(n).padStart(22, '0')}`;
}

function backup(n: number, over: Partial<Backup> = {}): Backup {
  return {
    backup_id: id(n),
    job_id: 'nightly',
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

describe('the list', () => {
  it.each([1, 2, 3, 4, 6, 7, 8, 100])('gives all, newest first, each once, in pages of %i', async (limit) => {
    await upsertBackups(
      db,
      [3, 1, 7, 2, 6, 5, 4].map((n) => backup(n)),
    );
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof listBackups>> = await listBackups(db, { cursor, limit });
      expect(page.backups.length).toBeLessThanOrEqual(limit);
      expect(page.backups.length).toBeGreaterThan(0);
      seen.push(...page.backups.map((b) => b.backup_id));
      cursor = page.cursor;
    } while (cursor);
    expect(seen).toEqual([7, 6, 5, 4, 3, 2, 1].map(id));
  });

  it('goes on where it was when the row at the cursor has been deleted and newer ones have come', async () => {
    await upsertBackups(
      db,
      [1, 2, 3, 4].map((n) => backup(n)),
    );
    const { cursor } = await listBackups(db, { limit: 2 });
    await deleteBackups(db, [id(3)], 'now');
    await insertBackup(db, backup(5));
    const next = await listBackups(db, { limit: 2, cursor });
    expect(next.backups.map((b) => b.backup_id)).toEqual([id(2), id(1)]);
    expect(next.cursor).toBeNull();
  });

  it.each([
    ['site', ['site.tar', 'site_b.tar', 'siteXb.tar']],
    ['site_', ['site_b.tar']],
    ['SITE', ['SITE.tar']],
    ['%', ['%.tar']],
    ['*', []],
    ['[s]', []],
    ['ite', []],
    ['é', ['été.tar']],
    ['🧊', ['🧊.tar']],
    ['site.tar', ['site.tar']],
    ['site.tar.gz', []],
    ["'; DROP TABLE backups; --", []],
    ['site\0', []],
    ['', ['site.tar', 'site_b.tar', 'siteXb.tar', 'SITE.tar', '%.tar', 'été.tar', '🧊.tar']],
  ])('takes the prefix %j letter by letter', async (prefix, names) => {
    const all = ['site.tar', 'site_b.tar', 'siteXb.tar', 'SITE.tar', '%.tar', 'été.tar', '🧊.tar'];
    await upsertBackups(
      db,
      all.map((filename, n) => backup(100 - n, { filename })),
    );
    const { backups } = await listBackups(db, { prefix, limit: 100 });
    expect(backups.map((b) => b.filename)).toEqual(names);
  });

  it('pages within a prefix', async () => {
    await upsertBackups(
      db,
      [1, 2, 3, 4, 5].map((n) => backup(n, { filename: n % 2 ? `odd-${n}` : `even-${n}` })),
    );
    const first = await listBackups(db, { prefix: 'odd', limit: 2 });
    const second = await listBackups(db, { prefix: 'odd', limit: 2, cursor: first.cursor });
    expect([...first.backups, ...second.backups].map((b) => b.filename)).toEqual(['odd-5', 'odd-3', 'odd-1']);
    expect(second.cursor).toBeNull();
  });

  it.each(['x', '!', 'AAAA', btoa('01jc0000000000000000000000'), btoa(`${id(1)}0`), '_w', `${btoa(id(1))} `])(
    'refuses the cursor %j',
    async (cursor) => {
      await expect(listBackups(db, { cursor, limit: 1 })).rejects.toThrow(InvalidCursor);
    },
  );
});
