import { env } from 'cloudflare:test';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Backup, insertBackup, recordVerification, upsertBackups } from '../../../src/catalogue/backups.ts';
import { deleteBackups } from '../../../src/catalogue/deleted-backups.ts';
import { type BackupPage, type BackupQuery, listBackups } from '../../../src/catalogue/list-backups.ts';
import { InvalidCursor } from '../../../src/catalogue/pages.ts';
import { LISTING_SORTED_ROWS, LISTING_WALK_ROWS } from '../../../src/shared/limits.ts';
import { recordingDatabase } from '../../support/recording-database.ts';
import { numbers as chanceOf } from '../shared/chance.ts';

const db = env.CATALOGUE;
const NOW = Date.parse('2026-11-24T00:00:00.000Z');
const DAMAGE = { found_at: '2026-11-24T00:00:00.000Z', reason: 'x', frame: null, offset: null };

/** A ULID that sorts as its number, and is of a millisecond in 2026. */
function id(n: number): string {
  return `01KB${String(n).padStart(22, '0')}`;
}

function backup(n: number, name: string, over: Partial<Backup> = {}): Backup {
  return {
    backup_id: id(n),
    job_id: 'nightly',
    name,
    filename: name.slice(name.lastIndexOf('/') + 1),
    content_type: 'application/x-tar',
    file_size: 1,
    checksum: 'ab'.repeat(32),
    stored_size: 1,
    stored_checksum: 'cd'.repeat(32),
    compression: { codec: 'none' },
    encryption: null,
    archive: null,
    created_at: '2026-11-23T07:30:00.000Z',
    created_by: null,
    expires_at: null,
    verified_at: null,
    damage: null,
    ...over,
  };
}

async function empty(): Promise<void> {
  await db.batch([db.prepare('DELETE FROM backups'), db.prepare('DELETE FROM deleted_backups')]);
}

function numbers({ backups }: Pick<BackupPage, 'backups'>): number[] {
  return backups.map(({ backup_id }) => Number(backup_id.slice(4)));
}

/** All pages one after the other: what they list, in their order. */
async function allPages(query: Omit<BackupQuery, 'limit'>, limit: number, now = NOW) {
  const all = { backups: [] as Backup[], prefixes: [] as string[], pages: 0 };
  let cursor: string | null = null;
  do {
    const page: BackupPage = await listBackups(db, { ...query, limit, cursor }, now);
    expect(page.backups.length + page.prefixes.length).toBeLessThanOrEqual(limit);
    all.backups.push(...page.backups);
    all.prefixes.push(...page.prefixes);
    all.pages += 1;
    cursor = page.cursor;
  } while (cursor);
  return all;
}

describe('backups in the order of their age', () => {
  afterEach(empty);

  it.each([1, 2, 3, 4, 6, 7, 8, 100])('are all listed, newest first, each once, in pages of %i', async (limit) => {
    await upsertBackups(
      db,
      [3, 1, 7, 2, 6, 5, 4].map((n) => backup(n, `${n % 3}/${n}`)),
    );
    const all = await allPages({}, limit);
    expect(numbers(all)).toEqual([7, 6, 5, 4, 3, 2, 1]);
    expect(all.pages).toBe(Math.ceil(7 / limit));
  });

  it('are continued at the cursor when its row has been deleted and newer ones have come', async () => {
    await upsertBackups(
      db,
      [1, 2, 3, 4].map((n) => backup(n, 'a')),
    );
    const { cursor } = await listBackups(db, { limit: 2 });
    await deleteBackups(db, [id(3)], 'now');
    await insertBackup(db, backup(5, 'a'));
    const next = await listBackups(db, { limit: 2, cursor });
    expect(numbers(next)).toEqual([2, 1]);
    expect(next.cursor).toBeNull();
  });

  it.each([
    ['site', ['site.tar', 'site_b.tar', 'siteXb.tar', 'site/a.tar']],
    ['site_', ['site_b.tar']],
    ['site/', ['site/a.tar']],
    ['SITE', ['SITE.tar']],
    ['%', ['%.tar']],
    ['*', []],
    ['[s]', []],
    ['ite', []],
    ['é', ['été.tar']],
    ['🧊', ['🧊.tar', '🧊/\u{10ffff}']],
    ['🧊/\u{10ffff}', ['🧊/\u{10ffff}']],
    ['\u{10ffff}', []],
    ['\ud7ff', []],
    ['site.tar', ['site.tar']],
    ['site.tar.gz', []],
    ["'; DROP TABLE backups; --", []],
    ['site\0', []],
  ])('have the prefix %j letter by letter', async (prefix, names) => {
    const all = ['site.tar', 'site_b.tar', 'siteXb.tar', 'SITE.tar', '%.tar', 'été.tar', '🧊.tar', 'site/a.tar'];
    all.push('🧊/\u{10ffff}', '\ue000');
    await upsertBackups(
      db,
      all.map((name, n) => backup(100 - n, name)),
    );
    const { backups } = await listBackups(db, { prefix, limit: 100 });
    expect(backups.map(({ name }) => name)).toEqual(names);
  });

  it.each([1, 2, 3, 10])('are paged within a prefix and within a name, %i at a time', async (limit) => {
    await upsertBackups(
      db,
      [1, 2, 3, 4, 5, 6, 7].map((n) => backup(n, n % 2 ? 'odd/a' : 'odd/a.gz')),
    );
    expect(numbers(await allPages({ prefix: 'odd' }, limit))).toEqual([7, 6, 5, 4, 3, 2, 1]);
    expect(numbers(await allPages({ prefix: 'odd/a.' }, limit))).toEqual([6, 4, 2]);
    expect(numbers(await allPages({ name: 'odd/a' }, limit))).toEqual([7, 5, 3, 1]);
    expect(numbers(await allPages({ name: 'odd' }, limit))).toEqual([]);
  });

  it.each(['x', '!', 'AAAA', btoa('01jc0000000000000000000000'), btoa(`${id(1)}0`), '_w', `${btoa(id(1))} `])(
    'reject the cursor %j',
    async (cursor) => {
      await expect(listBackups(db, { cursor, limit: 1 })).rejects.toThrow(InvalidCursor);
    },
  );

  it('begin at or after one time and before another, whichever the other options are', async () => {
    const at = (time: string, n: number, name: string) => {
      // 48 bits of time, as Crockford's base 32.
      let ms = Date.parse(time);
      let text = '';
      for (let digit = 0; digit < 10; digit++, ms = Math.floor(ms / 32)) {
        text = `${'0123456789ABCDEFGHJKMNPQRSTVWXYZ'[ms % 32]}${text}`;
      }
      return backup(0, name, { backup_id: `${text}${String(n).padStart(16, 'Z')}` });
    };
    await upsertBackups(db, [
      at('2026-11-22T23:59:59.999Z', 1, 'a/b'),
      at('2026-11-23T00:00:00.000Z', 2, 'a/b'),
      at('2026-11-23T23:59:59.999Z', 3, 'a/b'),
      at('2026-11-24T00:00:00.000Z', 4, 'a/b'),
    ]);
    const [after, before] = ['2026-11-23', '2026-11-24'].map((day) => Date.parse(day));
    for (const where of [{}, { name: 'a/b' }, { prefix: 'a' }, { prefix: 'a/', delimiter: '/' as const }]) {
      const last = async (query: Partial<BackupQuery>) =>
        (await listBackups(db, { ...where, ...query, limit: 10 })).backups.map(({ backup_id }) =>
          Number(backup_id.at(-1)),
        );
      expect(await last({ after })).toEqual([4, 3, 2]);
      expect(await last({ before })).toEqual([3, 2, 1]);
      expect(await last({ after, before })).toEqual([3, 2]);
      expect(await last({ after: 8.6e15 / 100 })).toEqual([]);
      expect(await last({ before: -5 })).toEqual([]);
    }
  });

  it('are those that are damaged, or have not expired, whichever the other options are', async () => {
    await upsertBackups(
      db,
      [1, 2, 3, 4].map((n) => backup(n, 'a/b', { expires_at: n === 3 ? new Date(NOW).toISOString() : null })),
    );
    for (const n of [1, 3]) await recordVerification(db, id(n), { verified_at: null, damage: DAMAGE });
    for (const where of [{}, { name: 'a/b' }, { prefix: 'a' }, { prefix: 'a/', delimiter: '/' as const }]) {
      expect(numbers(await listBackups(db, { ...where, limit: 10 }, NOW - 1))).toEqual([4, 3, 2, 1]);
      expect(numbers(await listBackups(db, { ...where, limit: 10 }, NOW))).toEqual([4, 2, 1]);
      expect(numbers(await listBackups(db, { ...where, damaged: true, limit: 10 }, NOW - 1))).toEqual([3, 1]);
      expect(numbers(await listBackups(db, { ...where, damaged: true, limit: 10 }, NOW))).toEqual([1]);
    }
  });
});

describe('backups in the order of their names', () => {
  const NAMES = ['a', 'a.tar', 'a/b', 'a/b', 'a/b/c', 'a/c', 'a0', 'b/x/y/z', 'b/x.tar', 'c', 'c', 'c', 'é/ü', '雪'];

  beforeEach(() =>
    upsertBackups(
      db,
      NAMES.map((name, n) => backup(n, name)),
    ),
  );
  afterEach(empty);

  /** What a listing should be, from all names. */
  function expected(prefix: string) {
    const bytes = (text: string) =>
      Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, '0'));
    const order = (text: string) => bytes(text).join('');
    const below = NAMES.map((name, n) => ({ name, n })).filter(({ name }) => name.startsWith(prefix));
    const deeper = ({ name }: { name: string }) => name.indexOf('/', prefix.length);
    const plain = below.filter((one) => deeper(one) < 0);
    plain.sort((x, y) => (x.name === y.name ? y.n - x.n : order(x.name) < order(y.name) ? -1 : 1));
    const folded = below.filter((one) => deeper(one) >= 0).map((one) => one.name.slice(0, deeper(one) + 1));
    const prefixes = [...new Set(folded)].sort((x, y) => (order(x) < order(y) ? -1 : 1));
    return { backups: plain.map(({ n }) => n), prefixes };
  }

  it.each(['', 'a', 'a/', 'a/b', 'a/b/', 'b', 'b/', 'b/x', 'b/x/', 'c', 'é', 'é/', '雪', 'none'])(
    'are folded at the delimiter behind the prefix %j, in pages of any size',
    async (prefix) => {
      for (const limit of [1, 2, 3, 5, 100]) {
        const { backups, prefixes } = await allPages({ prefix, delimiter: '/' }, limit);
        expect({ backups: numbers({ backups }), prefixes }, `limit ${limit}`).toEqual(expected(prefix));
      }
    },
  );

  it('leave out prefixes of which all backups have expired, or have another time', async () => {
    const expires_at = new Date(NOW).toISOString();
    await upsertBackups(db, [backup(50, 'gone/a', { expires_at }), backup(51, 'gone/b', { expires_at })]);
    expect((await listBackups(db, { delimiter: '/', limit: 50 }, NOW - 1)).prefixes).toContain('gone/');
    expect((await listBackups(db, { delimiter: '/', limit: 50 }, NOW)).prefixes).toEqual(['a/', 'b/', 'é/']);
    const none = await listBackups(db, { delimiter: '/', limit: 50, before: 0 }, NOW);
    expect(none).toEqual({ backups: [], prefixes: [], cursor: null });
  });

  it('are folded also where only damaged ones are asked for', async () => {
    for (const n of [2, 9]) await recordVerification(db, id(n), { verified_at: null, damage: DAMAGE });
    const page = await listBackups(db, { delimiter: '/', damaged: true, limit: 50 }, NOW);
    expect([numbers(page), page.prefixes]).toEqual([[9], ['a/']]);
  });

  it.each([':', '', 'a', `${id(1)}`, `${id(1)}:`, `x:a`, `${id(1)}:b`, ':b/'])(
    'reject the cursor of %j',
    async (place) => {
      const cursor = btoa(place).replaceAll('=', '');
      const asked = async () => listBackups(db, { prefix: 'a', delimiter: '/', cursor, limit: 1 });
      if (place === '') expect((await asked()).cursor).not.toBeNull();
      else await expect(asked()).rejects.toThrow(InvalidCursor);
    },
  );
});

describe('any listing of any backups', () => {
  afterEach(empty);

  /** Segments around the delimiter: "." comes before it, "0" after; others are longer or shorter in UTF-8 than in UTF-16. */
  const SEGMENTS = ['a', 'b', 'a.', 'a0', '.a', '0', '!', 'ä', '\uffee', '🧊', 'a b'];

  /** UTF-8 in hex, of which the order is that of the bytes. */
  function order(text: string): string {
    return Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, '0')).join('');
  }

  function byNameAndAge(one: Backup, other: Backup): number {
    if (one.name !== other.name) return order(one.name) < order(other.name) ? -1 : 1;
    return one.backup_id < other.backup_id ? 1 : -1;
  }

  it.each(Array.from({ length: 25 }, (_, seed) => seed))('is what its definition says: seed %i', async (seed) => {
    const below = chanceOf(seed + 1);
    const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T;
    const name = () => Array.from({ length: 1 + below(3) }, () => pick(SEGMENTS)).join('/');
    const names = Array.from({ length: 1 + below(25) }, name);
    const all = Array.from({ length: below(80) }, (_, n) =>
      backup(n, pick(names), { expires_at: pick([null, null, new Date(NOW + below(3) - 1).toISOString()]) }),
    );
    const damaged = new Set(all.filter(() => below(4) === 0).map(({ backup_id }) => backup_id));
    await upsertBackups(db, all);
    for (const id of damaged) await recordVerification(db, id, { verified_at: null, damage: DAMAGE });
    for (let question = 0; question < 8; question++) {
      const onlyDamaged = below(3) === 0;
      const listed = all.filter(
        ({ backup_id, expires_at }) =>
          (expires_at === null || Date.parse(expires_at) > NOW) && (!onlyDamaged || damaged.has(backup_id)),
      );
      const limit = 1 + below(7);
      const one = pick(names);
      const prefix = pick([
        '',
        one,
        one.slice(0, below(4)),
        `${one}/`,
        one.slice(0, one.indexOf('/') + 1),
      ]).toWellFormed();
      const newestFirst = numbers({ backups: listed }).sort((x, y) => y - x);
      const of = async (query: Omit<BackupQuery, 'limit'>) => allPages({ ...query, damaged: onlyDamaged }, limit);
      expect(numbers(await of({}))).toEqual(newestFirst);
      const versions = newestFirst.filter((n) => all[n]?.name === one);
      expect(numbers(await of({ name: one }))).toEqual(versions);
      const matching = newestFirst.filter((n) => all[n]?.name.startsWith(prefix));
      expect(numbers(await of({ prefix }))).toEqual(matching);
      const matchingByName = listed.filter((each) => each.name.startsWith(prefix)).sort(byNameAndAge);
      const end = (each: Backup) => each.name.indexOf('/', prefix.length);
      const folded = await of({ prefix, delimiter: '/' });
      expect(numbers(folded)).toEqual(numbers({ backups: matchingByName.filter((each) => end(each) < 0) }));
      const prefixes = matchingByName.filter((each) => end(each) >= 0).map((each) => each.name.slice(0, end(each) + 1));
      expect(folded.prefixes).toEqual([...new Set(prefixes)]);
    }
  });
});

describe('a page of a vault of 100,000 backups', () => {
  const ROWS = 100_000;

  beforeAll(async () => {
    // 40,000 versions of one name, 100 hosts of 300 days, 20,000 names in one folder, and 10,000 names of their own, of
    // which 3,000 are old.
    await db
      .prepare(
        `INSERT INTO backups (backup_id, job_id, name, filename, content_type, file_size, checksum, stored_size,
           stored_checksum, codec, created_at, damage, expires_at)
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS - 1})
         SELECT printf('01KB%022d', i), 'j',
           CASE WHEN i % 10 < 4 THEN 'many/versions.tar'
                WHEN i % 10 < 7 THEN printf('host%02d/%d.tar', i / 10 % 100, i)
                WHEN i % 10 < 9 THEN printf('one/folder/%05d', i)
                ELSE printf('%s%05d', iif(i < 30000, 'old-', 'p'), i) END,
           'f', 't', 1, 'c', 1, 's', 'none', 'then',
           iif(i IN (7, 50007, 50009), '{"found_at":"then","reason":"x","frame":null,"offset":null}', NULL),
           iif(i BETWEEN 60000 AND 75000, '2026-01-01T00:00:00.000Z', NULL)
         FROM n`,
      )
      .run();
  });

  const QUERIES: Record<string, Omit<BackupQuery, 'limit'>> = {
    all: {},
    'before a time': { before: NOW },
    'among expired ones': { cursor: btoa(id(75_000)).replaceAll('=', '') },
    'one name of many versions': { name: 'many/versions.tar' },
    'one name among its expired versions': { name: 'many/versions.tar', cursor: btoa(id(75_000)).replaceAll('=', '') },
    'one name that is none': { name: 'none' },
    'a prefix of few': { prefix: 'host07/' },
    'a prefix of most': { prefix: 'many' },
    'a prefix of many, all old': { prefix: 'old-' },
    'a prefix of none': { prefix: 'none' },
    'damaged ones': { damaged: true },
    'damaged ones of a prefix': { damaged: true, prefix: 'one' },
    'damaged ones of a name': { damaged: true, name: 'many/versions.tar' },
    folders: { delimiter: '/' },
    'a folder of many names': { delimiter: '/', prefix: 'one/folder/' },
    'a folder of one name of many versions': { delimiter: '/', prefix: 'many/' },
    'folders of which all backups are later': { delimiter: '/', before: 0 },
    'damaged ones in folders': { delimiter: '/', damaged: true },
  };

  it.each(Object.entries(QUERIES))('reads a bounded number of rows: %s', async (_, query) => {
    for (const limit of [1, 100, 1000]) {
      const { database, statements } = recordingDatabase(db);
      await listBackups(database, { ...query, limit }, NOW);
      const read = statements.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
      expect(read, JSON.stringify(statements)).toBeGreaterThan(0);
      // What a walk reads it may read twice, and before it a prefix is counted.
      expect(read, JSON.stringify(statements)).toBeLessThan(2 * LISTING_WALK_ROWS + 2 * LISTING_SORTED_ROWS);
    }
  });

  it.each(Object.entries(QUERIES))('has a plan that searches, and scans no table: %s', async (_, query) => {
    const { database, statements } = recordingDatabase(db);
    await listBackups(database, { ...query, limit: 100 }, NOW);
    for (const { sql, values } of statements) {
      const plan = await db
        .prepare(`EXPLAIN QUERY PLAN ${sql}`)
        .bind(...values)
        .all<{ detail: string }>();
      const details = plan.results.map(({ detail }) => detail);
      expect(details.filter((detail) => /SCAN backups/.test(detail))).toEqual([]);
      expect(
        details.some((detail) => /SEARCH backups USING/.test(detail)),
        details.join('; '),
      ).toBe(true);
    }
  });

  it('is walked to the end, over partial pages, with a prefix of many and among expired ones', async () => {
    const { backups } = await allPages({ prefix: 'p' }, 1000);
    expect(backups).toHaveLength(7_000 - 1_500);
    const old = await allPages({ prefix: 'old-' }, 1000);
    expect(old.backups).toHaveLength(3_000);
    expect(old.pages).toBeGreaterThan(7);
    expect(numbers({ backups })).toEqual(numbers({ backups }).sort((x, y) => y - x));
    const versions = await allPages({ name: 'many/versions.tar' }, 1000);
    expect(versions.backups).toHaveLength(40_000 - 6001);
    const folder = await allPages({ prefix: 'one/folder/', delimiter: '/' }, 1000);
    expect(folder.backups).toHaveLength(20_000 - 3000);
    expect((await allPages({ delimiter: '/' }, 1000)).prefixes).toHaveLength(102);
  });
});
