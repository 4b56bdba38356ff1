import { describe, expect, it } from 'vitest';
import { contents, exported, inserted, opened, randomBits, run } from './tables.ts';

/** Values whose type or last digit is easily lost, as SQL. */
const EDGES = [
  'NULL',
  '0',
  '1',
  '1.0',
  '-0.0',
  '0.0',
  '9223372036854775807',
  '-9223372036854775808',
  '9223372036854775808.0',
  '9007199254740991',
  '9007199254740992',
  '9007199254740993',
  '-9007199254740993',
  '9007199254740993.0',
  '0.1',
  '0.30000000000000004',
  '5e-324',
  '2.2250738585072014e-308',
  '1.7976931348623157e308',
  '1e15',
  '1e16',
  '123456789012345680.0',
  '9e999',
  '-9e999',
  "''",
  "'null'",
  "'12'",
  "'1.0'",
  "'true'",
  `'{"$base64":"AA=="}'`,
  `'{"a":[1]}'`,
  "'a' || char(0) || 'b'",
  'char(0)',
  "'quotes \" and '' and \\ and / and `'",
  "'line\r\nfeed\tand ' || char(1) || char(31) || char(127) || char(133) || char(8232)",
  "'😀 ẞ 漢字 e\u0301'",
  "'\uFEFFbyte order mark'",
  "char(65533) || ' was always there'",
  'char(1) || hex(char(65533)) || char(1)',
  "x''",
  "x'00'",
  "x'7b7d'",
  "x'ff00ff'",
  "CAST('text' AS BLOB)",
];

const BULK = 'CREATE TABLE %t (id INTEGER PRIMARY KEY, name TEXT, value REAL, data BLOB)';

/** `%t` is the name, `%v` the value of an edge, `%i` its number. */
const TABLES: readonly [sort: string, create: string, insert: string, name?: string][] = [
  ['as the sample has it', BULK, 'INSERT INTO %t VALUES (%i, %v, %v, %v)'],
  ['without a primary key', 'CREATE TABLE %t (a, b TEXT)', 'INSERT INTO %t VALUES (%v, %i)'],
  ['without types', 'CREATE TABLE %t (id INTEGER PRIMARY KEY, a, b)', 'INSERT INTO %t VALUES (%i, %v, %v)'],
  [
    'with a column of each affinity',
    'CREATE TABLE %t (a TEXT, b NUMERIC, c INTEGER, d REAL, e BLOB)',
    'INSERT INTO %t VALUES (%v, %v, %v, %v, %v)',
  ],
  [
    'WITHOUT ROWID, of a key of any type',
    'CREATE TABLE %t (a, b, c TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID',
    'INSERT INTO %t SELECT %v, %i, %v WHERE (%v) IS NOT NULL',
  ],
  [
    'STRICT',
    'CREATE TABLE %t (id INTEGER PRIMARY KEY, a ANY, b TEXT) STRICT',
    "INSERT INTO %t VALUES (%i, %v, CASE typeof(%v) WHEN 'blob' THEN 'a blob' ELSE CAST(%v AS TEXT) END)",
  ],
  [
    'with a column of generated values',
    'CREATE TABLE %t (a, b AS (a || 1), c AS (2) STORED)',
    'INSERT INTO %t VALUES (%v)',
  ],
  ['whose rowid has another name', 'CREATE TABLE %t (rowid TEXT, oid)', 'INSERT INTO %t VALUES (%v, %i)'],
  [
    'whose names are hard to say',
    `CREATE TABLE %t ("a ""b""" , "c.d", "[0]", "$", "#0", "naïve 😀", "back\\slash", "a/b", "it's", "?1")`,
    'INSERT INTO %t VALUES (%v, %i, 1, %v, 3, %v, 4, %v, %i, %v)',
    `it's "a" table; -- 😀`,
  ],
];

async function filled(name: string, create: string, insert: string, values: readonly string[]): Promise<void> {
  const quoted = `"${name.replaceAll('"', '""')}"`;
  await run(create.replace('%t', quoted));
  for (const [i, value] of values.entries()) {
    await run(
      insert
        .replace('%t', quoted)
        .replaceAll('%v', () => value)
        .replaceAll('%i', String(i)),
    );
  }
}

describe('a table', () => {
  it.each(TABLES)('%s comes back as it was', async (sort, create, insert, name = `t ${sort}`) => {
    await filled(name, create, insert, EDGES);
    const table = await opened(name);
    const before = await contents(table);
    expect(before.length).toBeGreaterThan(EDGES.length - 2);
    const rows = await exported(table);
    for (const row of rows) expect(() => JSON.parse(row)).not.toThrow();
    for (const size of [1, 2, 7, EDGES.length - 1, EDGES.length, EDGES.length + 1]) {
      expect(await exported(table, size)).toEqual(rows);
    }
    await run(`DELETE FROM ${table.quoted}`);
    expect(await inserted(table, rows)).toEqual({ written: rows.length, refused: [] });
    expect(await contents(table)).toEqual(before);
    expect(await exported(table)).toEqual(rows);
  });

  it('says what its values are', async () => {
    await run(
      'CREATE TABLE said (id INTEGER PRIMARY KEY, a)',
      "INSERT INTO said VALUES (9223372036854775807, 'é' || char(0)), (2, 1.0), (3, x'00ff'), (4, 9e999), (5, -0.0), (6, -9e999)",
    );
    expect(await exported(await opened('said'))).toEqual([
      '{"id":2,"a":1.0}',
      '{"id":3,"a":{"$base64":"AP8="}}',
      '{"id":4,"a":1e999}',
      '{"id":5,"a":-0.0}',
      '{"id":6,"a":-1e999}',
      '{"id":9223372036854775807,"a":"é\\u0000"}',
    ]);
  });

  it('of random doubles keeps all of their bits', async () => {
    await run('CREATE TABLE doubles (id INTEGER PRIMARY KEY, a REAL)');
    const table = await opened('doubles');
    const next = randomBits(20261124);
    const bits = new Uint32Array(2);
    const values: number[] = [];
    while (values.length < 20_000) {
      bits.set([next(), next()]);
      const [value = 0] = new Float64Array(bits.buffer);
      if (Number.isFinite(value)) values.push(value);
    }
    for (let at = 0; at < values.length; at += 1_000) {
      const rows = values.slice(at, at + 1_000).map((value, i) => `{"id":${at + i},"a":${value.toExponential()}}`);
      expect((await inserted(table, rows)).refused).toEqual([]);
    }
    const read = (await exported(table)).map((row) => JSON.parse(row).a);
    expect(read.findIndex((value, i) => !Object.is(value, values[i]))).toBe(-1);
    const before = await contents(table);
    const rows = await exported(table);
    await run('DELETE FROM doubles');
    await inserted(table, rows);
    expect(await contents(table)).toEqual(before);
  });

  it.each([
    ['a BLOB of 1 MB', 'randomblob(1000000)', 'NULL'],
    ['a BLOB of nearly 2 MB', 'randomblob(1999900)', '1'],
    ['BLOBs beside text', 'randomblob(700000)', "replace(hex(zeroblob(150000)), '00', 'é😀')"],
    ['text of 1 MB', "replace(hex(zeroblob(500000)), '0', 'x')", '2.5'],
    ['text of nearly 2 MB', "replace(hex(zeroblob(999900)), '0', 'y')", '-0.0'],
    ['text that is all escapes', "replace(hex(zeroblob(400000)), '0', char(1))", 'NULL'],
    ['text with its ends within slices', "substr(replace(hex(zeroblob(240000)), '0', '😀'), 2)", 'char(0)'],
  ])('with %s comes back as it was', async (what, a, b) => {
    const name = `large ${what}`;
    await run(`CREATE TABLE "${name}" (id INTEGER PRIMARY KEY, a, b)`);
    await run(`INSERT INTO "${name}" VALUES (1, 'before', 0), (2, ${a}, ${b}), (3, x'01', 'after')`);
    const table = await opened(name);
    const before = await contents(table);
    const rows = await exported(table);
    await run(`DELETE FROM "${name}"`);
    expect(await inserted(table, rows)).toEqual({ written: 3, refused: [] });
    expect((await contents(table)).every((line, i) => line === before[i])).toBe(true);
  });

  it('of a hundred columns comes back as it was', async () => {
    const names = Array.from({ length: 100 }, (_, i) => `column_${i}`);
    await run(`CREATE TABLE wide (${names.join(', ')})`, `INSERT INTO wide (column_0, column_99) VALUES (x'07', 1.0)`);
    const table = await opened('wide');
    const rows = await exported(table);
    expect(rows).toHaveLength(1);
    expect((await inserted(table, rows)).written).toBe(1);
    expect(await exported(table)).toEqual([rows[0], rows[0]]);
  });
});
