import { describe, expect, it } from 'vitest';
import { checkReadable, type Page, readPage, TextNotUtf8 } from '../../../src/databases/read-page.ts';
import { openTable, type Table, TableTooWide } from '../../../src/databases/table.ts';
import { EXPORT_PAGE_BYTES, EXPORT_PIECE_BYTES } from '../../../src/shared/limits.ts';
import { db, exported, inserted, opened, rowsOf, run } from './tables.ts';

const ids = (rows: readonly string[]) => rows.map((row) => JSON.parse(row).id);

async function numbered(name: string, count: number, value = 'NULL'): Promise<Table> {
  await run(
    `CREATE TABLE ${name} (id INTEGER PRIMARY KEY, a)`,
    `INSERT INTO ${name} WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count}) SELECT i, ${value} FROM n`,
  );
  return opened(name);
}

/** Its queries, counted. */
function counted(table: Table) {
  const count = { queries: 0 };
  const prepare = (sql: string) => {
    count.queries += 1;
    return table.db.prepare(sql);
  };
  return { count, table: { ...table, db: Object.create(table.db, { prepare: { value: prepare } }) } };
}

describe('a page', () => {
  it.each([0, 1, 2, 3, 4, 5, 9, 10, 11])('of three rows ends where it should, of a table of %i', async (count) => {
    const table = await numbered(`ends_${count}`, Math.max(count, 1));
    if (count === 0) await run('DELETE FROM ends_0');
    const pages: number[][] = [];
    let after: string | null = null;
    do {
      const page: Page = await readPage(table, after, 3);
      pages.push(ids(rowsOf(page)));
      after = page.after;
    } while (after !== null);
    expect(pages.flat()).toEqual(Array.from({ length: count }, (_, i) => i + 1));
    expect(pages.length).toBe(Math.floor(count / 3) + 1);
  });

  it('is one query, whatever it holds', async () => {
    const { table, count } = counted(await numbered('one_query', 2_000, `randomblob(3)`));
    const first = await readPage(table, null, 1_000);
    await readPage(table, first.after, 1_000);
    expect(count.queries).toBe(2);
  });

  it.each<[string, string, number]>([
    ['BLOBs', 'zeroblob(500000)', 3],
    ['texts', `replace(hex(zeroblob(25000)), '0', 'x')`, 7],
    ['large BLOBs', 'zeroblob(1900000)', 1],
  ])('ends early where its rows are large: %s', async (what, value, expected) => {
    const table = await numbered(`bounded_${what.replace(' ', '_')}`, 30, value);
    const first = rowsOf(await readPage(table, null, 1_000));
    expect(first).toHaveLength(expected);
    const bytes = first.reduce((sum, row) => sum + row.length, 0);
    expect(bytes).toBeLessThan(EXPORT_PAGE_BYTES + 4_000_000);
    expect(ids(await exported(table))).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
  });

  it('goes by exact keys, to both ends of 64 bits', async () => {
    await run('CREATE TABLE exact (id INTEGER PRIMARY KEY, a)');
    const keys = ['-9223372036854775808', '-9223372036854775807', '-9007199254740993', '-9007199254740992', '-1', '0'];
    keys.push('9007199254740991', '9007199254740992', '9007199254740993', '9007199254740994', '9223372036854775806');
    keys.push('9223372036854775807');
    for (const key of keys) await run(`INSERT INTO exact VALUES (${key}, NULL)`);
    expect(await exported(await opened('exact'), 1)).toEqual(keys.map((key) => `{"id":${key},"a":null}`));
  });

  it('is not disturbed by rows that go or come behind it', async () => {
    const table = await numbered('moving', 10);
    const first = await readPage(table, null, 4);
    const keys = Array.from(first.rows, ({ key }) => key);
    expect(keys.at(-1)).toBe(first.after);
    await run('DELETE FROM moving WHERE id IN (1, 2, 4, 5)', 'INSERT INTO moving VALUES (-1, NULL)');
    expect(ids(rowsOf(await readPage(table, first.after, 4)))).toEqual([6, 7, 8, 9]);
  });

  it.each([
    ['of two columns', 'a TEXT, b INTEGER, PRIMARY KEY (a, b)'],
    ['that descends', 'a TEXT, b INTEGER, PRIMARY KEY (a DESC, b)'],
    ['of another order than the columns', 'b INTEGER, a TEXT, PRIMARY KEY (a, b DESC)'],
    ['without regard to case', 'a TEXT COLLATE NOCASE, b INTEGER, PRIMARY KEY (b, a)'],
    ['with regard to case in a column without', 'a TEXT COLLATE NOCASE, b INTEGER, PRIMARY KEY (a COLLATE BINARY, b)'],
    ['without types', 'a, b, PRIMARY KEY (a, b)'],
  ])('goes by a key %s', async (sort, columns) => {
    const name = `"key ${sort}"`;
    await run(`CREATE TABLE ${name} (${columns}) WITHOUT ROWID`);
    for (const a of ["'x'", "'X '", "'y'", "'12'", "x'0102'", "''", "'é' || char(0)"]) {
      for (const b of [1, 2, 3]) await run(`INSERT INTO ${name} (a, b) VALUES (${a}, ${b})`);
    }
    if (!sort.startsWith('without regard')) await run(`INSERT INTO ${name} (a, b) VALUES ('Y', 1)`);
    const table = await opened(name.slice(1, -1));
    const whole = await exported(table);
    expect(new Set(whole).size).toBe(whole.length);
    expect(whole.length).toBe(sort.startsWith('without regard') ? 21 : 22);
    for (const rows of [1, 2, 5, 21, 22]) expect(await exported(table, rows)).toEqual(whole);
  });

  it('of a key of two columns costs the same at its end', async () => {
    await run(
      'CREATE TABLE deep (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID',
      `INSERT INTO deep WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT 'same', i FROM n`,
    );
    const table = await opened('deep');
    const reads: number[] = [];
    const metered = {
      ...table,
      db: Object.create(table.db, {
        prepare: {
          value: (sql: string) => ({
            bind: (...values: unknown[]) => ({
              raw: async () => {
                const { meta } = await table.db
                  .prepare(sql)
                  .bind(...values)
                  .all();
                reads.push(meta.rows_read);
                return table.db
                  .prepare(sql)
                  .bind(...values)
                  .raw();
              },
            }),
          }),
        },
      }),
    };
    let after: string | null = null;
    do after = (await readPage(metered, after, 500)).after;
    while (after !== null);
    // Both passes of a page, over lengths and over values, start at its key.
    expect(Math.max(...reads)).toBeLessThan(5 * 500);
  });

  it('keeps a character that stands for broken ones, where it was there', async () => {
    const { table, count } = counted(await numbered('replaced', 3, `'a' || char(65533) || char(1)`));
    expect(rowsOf(await readPage(table, null, 10))[2]).toBe('{"id":3,"a":"a\uFFFD\\u0001"}');
    expect(count.queries).toBe(2);
  });

  it.each([
    ["x'ff'"],
    ["x'c3'"],
    ["x'61eda080'"],
    ["x'f0'"],
    ["x'c080'"],
    [`x'ff' || replace(hex(zeroblob(300000)), '0', 'x')`],
  ])('refuses text that is no UTF-8: %s', async (bytes) => {
    const name = `"broken ${bytes.slice(0, 12)}"`;
    await run(`CREATE TABLE ${name} (a)`, `INSERT INTO ${name} VALUES ('é'), (CAST(${bytes} AS TEXT))`);
    const table = await opened(name.slice(1, -1));
    await expect(exported(table)).rejects.toThrow(TextNotUtf8);
  });

  it.each([
    ['BLOB', 'zeroblob(1900000)'],
    ['text', `replace(hex(zeroblob(900000)), '0', char(1))`],
  ])('makes the text of a large row a little at a time: of a %s', async (what, value) => {
    const page = await readPage(await numbered(`little_${what}`, 1, value), null, 10);
    const pieces = Array.from(page.rows, ({ text }) => Array.from(text, (piece) => piece.length)).flat();
    expect(pieces.length).toBeGreaterThan(5);
    // A control character is six of JSON.
    expect(Math.max(...pieces)).toBeLessThanOrEqual(6 * EXPORT_PIECE_BYTES);
  });

  it('passes over a large row that goes while it is read', async () => {
    const table = await numbered('going', 3, 'zeroblob(1200000)');
    let batches = 0;
    const going = {
      ...table,
      db: Object.create(table.db, {
        batch: {
          value: async (statements: D1PreparedStatement[]) => {
            if (++batches === 1) await run('DELETE FROM going WHERE id = 1');
            return table.db.batch(statements);
          },
        },
      }),
    };
    expect(ids(await exported(going))).toEqual([2, 3]);
  });

  it('reads a large row anew that changes while it is read, and gives up where it always does', async () => {
    const table = await numbered('changing', 1, 'zeroblob(1200000)');
    let changes = 0;
    const changing = (times: number) => ({
      ...table,
      db: Object.create(table.db, {
        batch: {
          value: async (statements: D1PreparedStatement[]) => {
            if (changes < times) await run(`UPDATE changing SET a = zeroblob(1200000 + ${++changes})`);
            return table.db.batch(statements);
          },
        },
      }),
    });
    const [row = ''] = rowsOf(await readPage(changing(2), null, 2));
    expect(JSON.parse(row).a.$base64.length).toBe(4 * Math.ceil(1_200_002 / 3));
    await expect(readPage(changing(Number.POSITIVE_INFINITY), null, 2)).rejects.toThrow('changed while it was read');
  });
});

describe('a table of a hundred columns with long names', () => {
  const name = (i: number, chars: number) => `column ${i} ${'n'.repeat(chars - 10)}`;
  const create = (table: string, chars: number, rest = '') => {
    const columns = Array.from({ length: 100 }, (_, i) => `"${name(i, chars)}" ${i === 0 && rest ? 'NOT NULL' : ''}`);
    return `CREATE TABLE ${table} (${columns.join(', ')}${rest})`;
  };

  it.each([
    ['a rowid', ''],
    ['a key of its own', `, PRIMARY KEY ("${name(0, 80)}", "${name(1, 80)}")) WITHOUT ROWID --`],
  ])('and %s is read', async (kind, rest) => {
    const wide = `wide_${kind.replaceAll(' ', '_')}`;
    await run(create(wide, 80, rest));
    const table = await opened(wide);
    const rows = Array.from({ length: 5 }, (_, row) =>
      JSON.stringify(Object.fromEntries(table.columns.map((column, i) => [column.name, `${row} ${i}`]))),
    );
    expect(await inserted(table, rows)).toEqual({ written: 5, refused: [] });
    checkReadable(table);
    expect(await exported(table, 2)).toEqual(rows);
    const large = 'x'.repeat(400_000);
    await run(
      `UPDATE ${wide} SET "${name(99, 80)}" = '${'x'.repeat(50_000)}' || CAST(x'00' AS TEXT) WHERE "${name(0, 80)}" = '3 0'`,
    );
    await run(
      `UPDATE ${wide} SET "${name(99, 80)}" = replace(hex(zeroblob(200000)), '0', 'x') WHERE "${name(0, 80)}" = '4 0'`,
    );
    const last = (await exported(table, 2)).map((row) => JSON.parse(row)[name(99, 80)]);
    expect(last).toEqual(['0 99', '1 99', '2 99', `${'x'.repeat(50_000)}\0`, large]);
  });

  it('that are too long for a statement is refused with that reason', async () => {
    await run(create('too_wide', 900));
    const table = await opened('too_wide');
    expect(() => checkReadable(table)).toThrow(TableTooWide);
    const row = JSON.stringify({ [name(0, 900)]: 1 });
    expect(await inserted(table, [row])).toEqual({ written: 1, refused: [] });
    const all = JSON.stringify(Object.fromEntries(table.columns.map((column) => [column.name, 1])));
    await expect(inserted(table, [all])).rejects.toThrow(TableTooWide);
  });
});

describe('a table', () => {
  it('of another kind is refused with what it is, and only what is not there is none', async () => {
    await run(
      'CREATE TABLE seen (id INTEGER PRIMARY KEY AUTOINCREMENT)',
      'INSERT INTO seen DEFAULT VALUES',
      'CREATE VIEW looking AS SELECT * FROM seen',
      'CREATE VIRTUAL TABLE words USING fts5(word)',
      'CREATE TABLE all_taken (rowid, _rowid_, oid)',
    );
    for (const [name, reason] of [
      ['looking', 'is a view'],
      ['words', 'is a virtual table (fts5)'],
      ['words_data', 'is a shadow table'],
      ['words_content', 'is a shadow table'],
      ['all_taken', 'has columns named rowid, _rowid_ and oid'],
      ['sqlite_sequence', 'belongs to the database itself'],
      ['sqlite_master', 'belongs to the database itself'],
      ['d1_migrations', 'belongs to the database itself'],
      ['_cf_KV', 'belongs to the database itself'],
    ] as const) {
      await expect(openTable(db, name), name).rejects.toMatchObject({
        code: 'table-unsupported',
        message: expect.stringContaining(`"${name}" ${reason}`),
      });
    }
    for (const name of ['SEEN', '', '%', 'see_']) expect(await openTable(db, name), name).toBeNull();
    expect(await openTable(db, 'seen')).toMatchObject({ name: 'seen', columns: [{ name: 'id' }] });
  });

  it.each([
    ['x; DROP TABLE victims'],
    ['x" (a); --'],
    ["x' OR '1'='1"],
    ['"'],
    ["'"],
    ['[x]'],
    ['x\ny'],
    ['?1'],
    [':a'],
    ['%s'],
  ])('may be named %j', async (name) => {
    await run(
      'CREATE TABLE IF NOT EXISTS victims (a)',
      `CREATE TABLE "${name.replaceAll('"', '""')}" ("${name.replaceAll('"', '""')}")`,
    );
    const table = await opened(name);
    await run(`INSERT INTO ${table.quoted} VALUES (1)`);
    expect(await exported(table)).toEqual([`{${JSON.stringify(name)}:1}`]);
    expect(await openTable(db, 'victims')).not.toBeNull();
  });

  it('whose integer key descends is read by its rowid all the same', async () => {
    await run(
      'CREATE TABLE descending (id INTEGER PRIMARY KEY DESC, a)',
      `INSERT INTO descending VALUES ('text', 1), (NULL, 2)`,
    );
    const table = await opened('descending');
    expect(table.key).toEqual([{ sql: 'rowid', column: null, collate: '' }]);
    expect(await exported(table, 1)).toEqual(['{"id":"text","a":1}', '{"id":null,"a":2}']);
  });
});
