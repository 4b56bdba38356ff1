import { describe, expect, it } from 'vitest';
import { NoPrimaryKey } from '../../../src/databases/insert-rows.ts';
import type { Table } from '../../../src/databases/table.ts';
import { contents, db, exported, inserted, insertRows, jsonRow, opened, refusals, run } from './tables.ts';

/** The same table over a database that does something else first. */
function over(table: Table, batch: (statements: D1PreparedStatement[]) => Promise<D1Result[]>): Table {
  return { ...table, db: Object.create(table.db, { batch: { value: batch } }) };
}

/** Counts statements and transactions. */
function counting(table: Table) {
  const count = { statements: 0, transactions: 0 };
  const queries = {
    take(statements: number) {
      count.statements += statements;
      count.transactions += 1;
    },
  };
  return { count, queries, table };
}

const numbered = (count: number, from = 1) => Array.from({ length: count }, (_, i) => `{"id":${from + i},"a":${i}}`);

let made = 0;

/** A new table of a key and a column of any type. */
async function pairs(check = ''): Promise<Table> {
  const name = `pairs_${made++}`;
  await run(`CREATE TABLE ${name} (id INTEGER PRIMARY KEY, a ${check})`);
  return opened(name);
}

describe('rows of JSON', () => {
  it('go in by one statement for a hundred that have the same members, in any order of theirs', async () => {
    const { table, count, queries } = counting(await pairs());
    const rows = numbered(100);
    rows[50] = '{ "a" : 50.0 , "id" : 51 }';
    rows[51] = '{"a":{"$base64":"AP8="},"id":52}';
    expect(await inserted(table, rows, { queries })).toEqual({ written: 100, refused: [] });
    expect(count).toEqual({ statements: 1, transactions: 1 });
    const read = await exported(table);
    expect(read).toHaveLength(100);
    expect(read.slice(49, 52)).toEqual(['{"id":50,"a":49}', '{"id":51,"a":50.0}', '{"id":52,"a":{"$base64":"AP8="}}']);
  });

  it('of none is nothing', async () => {
    const { table, count, queries } = counting(await pairs());
    expect(await inserted(table, [], { queries })).toEqual({ written: 0, refused: [] });
    expect(count.statements).toBe(0);
  });

  it.each<[string, string]>([
    ['1', 'integer:1'],
    ['1.0', 'real:1.0 0'],
    ['1e0', 'real:1.0 0'],
    ['-0', 'integer:0'],
    ['-0.0', 'real:0.0 1'],
    ['9007199254740993', 'integer:9007199254740993'],
    ['9223372036854775807', 'integer:9223372036854775807'],
    ['-9223372036854775808', 'integer:-9223372036854775808'],
    ['1e999', 'real:Inf 0'],
    ['0.1', 'real:0.1 0'],
    ['true', 'integer:1'],
    ['false', 'integer:0'],
    ['null', 'null:'],
    ['""', 'text:'],
    ['"\\u0000"', 'text:00'],
    ['"\\ud83d\\ude00"', 'text:F09F9880'],
    ['"12"', 'text:3132'],
    ['"\\/\\b\\n"', 'text:2F080A'],
    ['{"$base64":""}', 'blob:'],
    ['{"$base64":"/+8="}', 'blob:FFEF'],
    ['{"\\u0024base64":"AA=="}', 'blob:00'],
  ])('make of %s the value %s', async (json, value) => {
    const table = await pairs();
    const text = `{"id":1,"a":${json}}`;
    expect(await inserted(table, [text])).toEqual({ written: 1, refused: [] });
    // The same by the way that parses, whatever the text.
    await insertRows(table, [{ ...jsonRow(text.replace('"id":1', '"id":2')), plain: false }]);
    expect((await contents(table)).map((line) => line.replace(/^integer:\d /, ''))).toEqual([value, value]);
  });

  it.each<[string, string]>([
    ['{"id":1,"a":[1]}', 'a nested value in column "a"'],
    ['{"id":1,"a":{}}', 'a nested value in column "a"'],
    ['{"id":1,"a":{"$base64":"","b":1}}', 'a nested value in column "a"'],
    ['{"id":1,"a":{"$base64":"A"}}', 'what is no base64 in column "a"'],
    ['{"id":1,"a":{"$base64":"A-_="}}', 'what is no base64 in column "a"'],
    ['{"id":1,"a":{"$base64":1}}', 'what is no base64 in column "a"'],
    ['{"id":1,"a":9223372036854775808}', 'an integer beyond 64 bits in column "a"'],
    ['{"id":1,"a":-9223372036854775809}', 'an integer beyond 64 bits in column "a"'],
    [`{"id":1,"a":${'9'.repeat(400)}}`, 'an integer beyond 64 bits in column "a"'],
    ['{"id":1,"a":"\\ud83d"}', 'half of a surrogate pair in column "a"'],
    ['{"id":1,"A":1}', 'the table has no column "A"'],
    ['{"id":1,"a":1,"b\\"":1}', 'the table has no column "b\\""'],
    ['{"__proto__":1}', 'the table has no column "__proto__"'],
    ['{"":1}', 'the table has no column ""'],
    [`{"${'k'.repeat(100)}":1}`, `the table has no column "${'k'.repeat(100)}"`],
    [`{"${'k'.repeat(101)}":1}`, `the table has no column "${'k'.repeat(100)}…"`],
    ['{}', 'it names no column of the table'],
    ['{"id":"x"}', 'its primary key is no integer'],
    ['{"id":7}', 'there is a row with this "id" already'],
  ])('such as %s are refused, and their neighbours are not', async (json, reason) => {
    const table = await pairs();
    await run(`INSERT INTO ${table.quoted} VALUES (7, 7)`);
    const result = await inserted(table, ['{"id":5}', json, '{"id":6}']);
    expect(result).toEqual({ written: 2, refused: [{ row: 1, reason }] });
    expect((await exported(table)).map((row) => JSON.parse(row).id)).toEqual([5, 6, 7]);
  });

  it('are refused in words by every kind of constraint', async () => {
    await run(
      'CREATE TABLE parents (id INTEGER PRIMARY KEY)',
      `CREATE TABLE strictly (id INTEGER PRIMARY KEY, a INTEGER NOT NULL CHECK (a > 0), b TEXT UNIQUE, c REAL,
        p REFERENCES parents, UNIQUE (a, c))`,
      'CREATE UNIQUE INDEX halves ON strictly (a / 1000)  WHERE a > 1000',
      `CREATE TRIGGER no_thirteen BEFORE INSERT ON strictly WHEN new.a = 13 BEGIN SELECT RAISE(ABORT, 'thirteen: never'); END`,
      `INSERT INTO strictly (a, b, c) VALUES (1, 'x', 0.5), (2000, 'z', 1)`,
    );
    const result = await inserted(await opened('strictly'), [
      '{"a":2,"b":"y"}',
      '{"a":3,"b":"x"}',
      '{"a":1,"c":0.5}',
      '{"b":"w"}',
      '{"a":null}',
      '{"a":-1}',
      '{"a":4,"p":9}',
      '{"a":13}',
      '{"a":2001}',
      '{"a":5}',
    ]);
    expect(refusals(result)).toEqual([
      [1, 'there is a row with this "b" already'],
      [2, 'there is a row with this "a", "c" already'],
      [3, '"a" must have a value'],
      [4, '"a" must have a value'],
      [5, 'a check of the table does not hold: a > 0'],
      [6, 'it refers to a row that is not there, or others refer to what it replaces'],
      [7, 'the table refuses it: thirteen: never'],
      [8, 'there is a row already that equals it in the index halves'],
    ]);
    expect(result.written).toBe(2);
    await run('CREATE TABLE typed (a INTEGER, b TEXT) STRICT');
    const typed = await inserted(await opened('typed'), [
      '{"a":"one"}',
      '{"a":1.5}',
      '{"b":{"$base64":"AA=="}}',
      '{"a":"1"}',
    ]);
    expect(refusals(typed)).toEqual([
      [0, 'column "a" takes INTEGER, and this is TEXT'],
      [1, 'column "a" takes INTEGER, and this is REAL'],
      [2, 'column "b" takes TEXT, and this is BLOB'],
    ]);
  });

  it.each([[[0]], [[99]], [[0, 99]], [[49, 50]], [[3, 17, 18, 64, 90]], [[...Array(100).keys()]], [[]]])(
    'stand alone where they are refused: those at %j of a hundred',
    async (bad) => {
      const { table, count, queries } = counting(await pairs('CHECK (a >= 0)'));
      const rows = numbered(100).map((row, i) => (bad.includes(i) ? `{"id":${i + 1},"a":-1}` : row));
      const result = await inserted(table, rows, { queries });
      expect(refusals(result)).toEqual(bad.map((row) => [row, 'a check of the table does not hold: a >= 0']));
      expect(result.written).toBe(100 - bad.length);
      expect(await exported(table)).toEqual(rows.filter((_, i) => !bad.includes(i)));
      expect(count.transactions).toBeLessThanOrEqual(1 + 2 * 7 * bad.length);
      expect(count.transactions).toBeLessThanOrEqual(199);
    },
  );

  it('meet each other within a call: the first of two stays', async () => {
    const table = await pairs();
    const rows = ['{"id":1,"a":"first"}', '{"id":2,"a":0}', '{"id":1,"a":"second"}'];
    for (const dryRun of [true, false]) {
      expect(await inserted(table, rows, { dryRun })).toEqual({
        written: 2,
        refused: [{ row: 2, reason: 'there is a row with this "id" already' }],
      });
    }
    expect(await exported(table)).toEqual(rows.slice(0, 2));
  });

  it('leave a default to the columns that they do not name', async () => {
    await run(`CREATE TABLE defaults (id INTEGER PRIMARY KEY, a DEFAULT 'none', b NOT NULL DEFAULT 7, c)`);
    const table = await opened('defaults');
    await inserted(table, ['{"a":null}', '{"c":1}', '{"id":10,"b":"x"}']);
    expect(await exported(table)).toEqual([
      '{"id":1,"a":null,"b":7,"c":null}',
      '{"id":2,"a":"none","b":7,"c":1}',
      '{"id":10,"a":"none","b":"x","c":null}',
    ]);
  });

  it('pass over what the table computes by itself', async () => {
    await run('CREATE TABLE computed (a INTEGER, twice AS (2 * a), thrice AS (3 * a) STORED)');
    const table = await opened('computed');
    expect((await inserted(table, ['{"a":1,"twice":9,"thrice":9}', '{"twice":1}'])).refused).toEqual([
      { row: 1, reason: 'it names no column of the table' },
    ]);
    expect(await exported(table)).toEqual(['{"a":1}']);
    expect(await db.prepare('SELECT a, twice, thrice FROM computed').first()).toEqual({ a: 1, twice: 2, thrice: 3 });
  });

  it('are never passed over in silence, whatever the table says of conflicts', async () => {
    await run('CREATE TABLE silent (id INTEGER PRIMARY KEY ON CONFLICT IGNORE, a NOT NULL ON CONFLICT IGNORE)');
    const result = await inserted(await opened('silent'), ['{"id":1,"a":1}', '{"id":1,"a":2}', '{"id":2}']);
    expect(result).toMatchObject({ written: 1, refused: [{ row: 1 }, { row: 2 }] });
  });

  it('that are as large as a row may be go in, larger ones are refused', async () => {
    const { table, count, queries } = counting(await pairs());
    const text = (bytes: number) => 'é'.repeat(bytes / 2);
    const rows = [
      JSON.stringify({ id: 1, a: text(999_000) }),
      JSON.stringify({ id: 2, a: text(1_999_900) }),
      JSON.stringify({ id: 3, a: text(2_000_000) }),
      JSON.stringify({ id: 4, a: { $base64: 'A'.repeat(2_666_400) } }),
      JSON.stringify({ id: 5, a: { $base64: 'A'.repeat(2_666_800) } }),
      '{"id":6,"a":1}',
    ];
    const result = await inserted(table, rows, { queries });
    expect(refusals(result)).toEqual([
      [2, 'it has 2000009 bytes, and a row of the database holds 2000000'],
      [4, 'it has 2000109 bytes, and a row of the database holds 2000000'],
    ]);
    expect(result.written).toBe(4);
    expect(count.transactions).toBe(4);
    const lengths = await db.prepare(`SELECT typeof(a) t, octet_length(a) n FROM ${table.quoted} ORDER BY id`).raw();
    expect(lengths).toEqual([
      ['text', 999_000],
      ['text', 1_999_900],
      ['blob', 1_999_800],
      ['integer', 1],
    ]);
  });
});

describe('mode', () => {
  const OLD = `INSERT INTO %t (id, a, b, c) VALUES (1, 'old', 'old', 'old'), (2, 'old', 'old', 'old')`;
  const NEW = ['{"id":1,"a":"new"}', '{"id":3,"a":"new","b":"new"}', '{"id":2,"b":null,"c":"new"}', '{"id":2}'];

  async function filled(name: string): Promise<Table> {
    await run(`CREATE TABLE ${name} (id INTEGER PRIMARY KEY, a, b, c DEFAULT 'default')`, OLD.replace('%t', name));
    return opened(name);
  }

  it('insert refuses rows that are there', async () => {
    const table = await filled('mode_insert');
    expect(refusals(await inserted(table, NEW)).map(([row]) => row)).toEqual([0, 2, 3]);
  });

  it('upsert writes what is named and keeps the rest', async () => {
    const table = await filled('mode_upsert');
    expect(await inserted(table, NEW, { mode: 'upsert' })).toEqual({ written: 4, refused: [] });
    expect(await exported(table)).toEqual([
      '{"id":1,"a":"new","b":"old","c":"old"}',
      '{"id":2,"a":"old","b":null,"c":"new"}',
      '{"id":3,"a":"new","b":"new","c":"default"}',
    ]);
  });

  it('replace puts the row in the place of the old one', async () => {
    const table = await filled('mode_replace');
    expect(await inserted(table, NEW.slice(0, 3), { mode: 'replace' })).toEqual({ written: 3, refused: [] });
    expect(await exported(table)).toEqual([
      '{"id":1,"a":"new","b":null,"c":"default"}',
      '{"id":2,"a":null,"b":null,"c":"new"}',
      '{"id":3,"a":"new","b":"new","c":"default"}',
    ]);
  });

  it('upsert keeps also what must have a value, and refuses a new row without it', async () => {
    await run(
      'CREATE TABLE partly (x, y, value NOT NULL, old TEXT, PRIMARY KEY (x, y)) WITHOUT ROWID',
      `INSERT INTO partly VALUES (1, 'a', 'kept', 'o'), (1, 'b', 'kept', 'o')`,
    );
    const table = await opened('partly');
    const rows = [
      '{"x":1,"y":"a","old":"new"}',
      '{"x":2,"y":"a","old":"new"}',
      '{"y":"b","x":1,"old":{"$base64":"AA=="}}',
    ];
    expect(await inserted(table, rows, { mode: 'upsert' })).toEqual({
      written: 2,
      refused: [{ row: 1, reason: '"value" must have a value' }],
    });
    expect(await exported(table)).toEqual([
      '{"x":1,"y":"a","value":"kept","old":"new"}',
      '{"x":1,"y":"b","value":"kept","old":{"$base64":"AA=="}}',
    ]);
  });

  it.each(['upsert', 'replace'] as const)('%s needs a primary key', async (mode) => {
    await run('CREATE TABLE IF NOT EXISTS keyless (a)');
    await expect(inserted(await opened('keyless'), ['{"a":1}'], { mode })).rejects.toThrow(NoPrimaryKey);
  });
});

let trees = 0;

/** A new table that refers to itself. */
async function tree(columns = 'id INTEGER PRIMARY KEY, parent INTEGER REFERENCES %t(id)'): Promise<Table> {
  const name = `tree_${trees++}`;
  await run(`CREATE TABLE ${name} (${columns.replaceAll('%t', name)})`);
  return opened(name);
}

const node = (id: number, parent: number | null) => `{"id":${id},"parent":${parent}}`;
const parentsFirst = (count: number) => Array.from({ length: count }, (_, i) => node(i + 1, i === 0 ? null : i));
const NO_ROW = 'it refers to a row that is not there, or others refer to what it replaces';
const THERE = 'there is a row with this "id" already';

describe('rows that refer to each other', () => {
  it('are written but for one copy, parents first, whichever batch it is in', async () => {
    for (const [at, batch] of [
      [1, 300],
      [150, 100],
      [299, 300],
      [999, 100],
    ] as const) {
      const table = await tree();
      const rows = parentsFirst(1000).flatMap((row, i) => (i === at ? [row, row] : [row]));
      for (const dryRun of [true, false]) {
        expect(await inserted(table, rows, { batch, dryRun })).toEqual({
          written: 1000,
          refused: [{ row: at + 1, reason: THERE }],
        });
      }
      expect(await exported(table)).toHaveLength(1000);
    }
  });

  it.each([
    ['children first', parentsFirst(1000).reverse()],
    ['in the order of an export', Array.from({ length: 1000 }, (_, i) => node(i + 1, i === 999 ? null : i + 2))],
    ['as a ring', Array.from({ length: 1000 }, (_, i) => node(i + 1, ((i + 1) % 1000) + 1))],
    ['to themselves', Array.from({ length: 1000 }, (_, i) => node(i + 1, i + 1))],
  ])('are written %s, in few transactions', async (_, rows) => {
    const { table, count, queries } = counting(await tree());
    expect(await inserted(table, rows, { batch: 300, queries })).toEqual({ written: 1000, refused: [] });
    expect(count.transactions).toBeLessThan(20);
    expect((await exported(table)).toSorted()).toEqual(rows.toSorted());
  });

  it('that are refused take along those that refer to them, and no others', async () => {
    const rows = [
      ...Array.from({ length: 500 }, (_, i) => node(i + 1, i + 2)),
      node(501, 9999),
      node(600, 602),
      node(602, null),
      '{"id":"x","parent":null}',
    ];
    for (const dryRun of [true, false]) {
      const table = await tree();
      const result = await inserted(table, rows, { batch: 100, dryRun });
      expect(result.written).toBe(2);
      expect(refusals(result)).toEqual([
        ...Array.from({ length: 501 }, (_, row) => [row, NO_ROW]),
        [503, 'its primary key is no integer'],
      ]);
    }
  });

  it('keep the order of two rows with one key, also where the first has to wait', async () => {
    const rows = [node(1, 5), node(1, null), node(2, 9), node(2, null), node(5, 1)];
    const table = await tree();
    for (const dryRun of [true, false]) {
      expect(await inserted(table, rows, { batch: 1, dryRun })).toEqual({
        written: 3,
        refused: [
          { row: 1, reason: THERE },
          { row: 2, reason: NO_ROW },
        ],
      });
    }
    expect(await exported(table)).toEqual([node(1, 5), node(2, null), node(5, 1)]);
    expect(await inserted(table, [node(1, 7), node(1, 2), node(7, null)], { mode: 'upsert', batch: 1 })).toEqual({
      written: 3,
      refused: [],
    });
    expect((await exported(table))[0]).toBe(node(1, 2));
  });

  it('may leave out columns, and need several statements', async () => {
    const table = await tree(`id INTEGER PRIMARY KEY, parent INTEGER REFERENCES %t(id), a DEFAULT 'd', b`);
    const rows = Array.from({ length: 40 }, (_, i) => {
      const more = ['', ',"a":1', ',"b":2', ',"a":null'][i % 4];
      return `{"id":${i + 1},"parent":${i === 39 ? null : i + 2}${more}}`;
    });
    for (const mode of ['insert', 'replace', 'upsert'] as const) {
      expect(await inserted(table, rows, { mode, batch: 7 })).toEqual({ written: 40, refused: [] });
      expect((await exported(table)).slice(0, 4)).toEqual([
        '{"id":1,"parent":2,"a":"d","b":null}',
        '{"id":2,"parent":3,"a":1,"b":null}',
        '{"id":3,"parent":4,"a":"d","b":2}',
        '{"id":4,"parent":5,"a":null,"b":null}',
      ]);
      if (mode === 'replace') await run(`UPDATE ${table.quoted} SET parent = NULL`, `DELETE FROM ${table.quoted}`);
    }
  });

  it('may refer by several columns, of any type and collation', async () => {
    const table = await tree(
      'a TEXT COLLATE NOCASE, b REAL, c, d, PRIMARY KEY (a, b), FOREIGN KEY (c, d) REFERENCES %t(a, b)',
    );
    const rows = [
      '{"a":"x","b":1,"c":"Y","d":2.0}',
      '{"a":"y","b":"2","c":"Z ","d":3}',
      '{"a":"z","b":3,"c":null,"d":7}',
    ];
    expect(await inserted(table, rows, { batch: 1 })).toEqual({
      written: 1,
      refused: [
        { row: 0, reason: NO_ROW },
        { row: 1, reason: NO_ROW },
      ],
    });
    expect(await inserted(table, [rows[0] ?? '', rows[1]?.replace('"Z "', '"Z"') ?? ''], { batch: 1 })).toEqual({
      written: 2,
      refused: [],
    });
  });

  it('are refused without waiting where what they refer to is another table', async () => {
    await run('CREATE TABLE others (id INTEGER PRIMARY KEY)', 'INSERT INTO others VALUES (1)');
    const table = await tree('id INTEGER PRIMARY KEY, parent REFERENCES %t(id), other REFERENCES others(id)');
    const rows = [
      '{"id":1,"parent":2,"other":1}',
      '{"id":2,"parent":null,"other":9}',
      '{"id":3,"parent":3,"other":1}',
      '{"id":4,"parent":5,"other":1}',
      '{"id":5,"parent":4,"other":1}',
    ];
    for (const dryRun of [true, false]) {
      expect(refusals(await inserted(table, rows, { dryRun, batch: 2 }))).toEqual([
        [0, NO_ROW],
        [1, NO_ROW],
      ]);
    }
  });

  it('are told of as they are held, and held no longer than they wait', async () => {
    const held: number[] = [];
    const onHeld = async (bytes: number) => {
      held.push(bytes);
    };
    await inserted(await tree(), parentsFirst(100), { onHeld });
    expect(held).toEqual([]);
    await inserted(await tree(), parentsFirst(100).reverse(), { onHeld, batch: 50 });
    expect(held).toHaveLength(2);
    expect(held[1]).toBe(held[0]);
    const failing = async () => {
      throw new Error('no memory');
    };
    await expect(inserted(await tree(), parentsFirst(9).reverse(), { onHeld: failing, batch: 3 })).rejects.toThrow(
      'no memory',
    );
  });
});

describe('a row that conflicts with another by a second key', () => {
  it.each(['insert', 'upsert', 'replace'] as const)('is refused by %s, and nothing is removed', async (mode) => {
    const name = `second_key_${mode}`;
    await run(
      `CREATE TABLE ${name} (id INTEGER PRIMARY KEY, mail UNIQUE)`,
      `CREATE TABLE ${name}_children (parent REFERENCES ${name}(id) ON DELETE CASCADE)`,
      `INSERT INTO ${name} VALUES (1, 'a'), (2, 'b')`,
      `INSERT INTO ${name}_children VALUES (1), (2)`,
    );
    const table = await opened(name);
    const result = await inserted(table, ['{"id":3,"mail":"b"}', '{"id":1,"mail":"b"}'], { mode });
    expect(result.written).toBe(0);
    expect(result.refused.map(({ row }) => row)).toEqual([0, 1]);
    if (mode !== 'insert') {
      expect(result.refused[1]?.reason).toBe('there is a row with this "mail" already');
      expect((await inserted(table, ['{"id":1,"mail":"c"}'], { mode })).written).toBe(1);
    }
    expect(await db.prepare(`SELECT count(*) AS n FROM ${name}_children`).first('n')).toBe(2);
    expect(await exported(table)).toHaveLength(2);
  });
});

describe('a dry run', () => {
  it.each(['insert', 'upsert', 'replace'] as const)('of %s says what would be, and leaves nothing', async (mode) => {
    const table = await pairs(`CHECK (typeof(a) = 'text' OR a < 90)`);
    await run(`INSERT INTO ${table.quoted} VALUES (5, 'before')`);
    const before = await contents(table);
    const rows = [...numbered(92), JSON.stringify({ id: 200, a: 'x'.repeat(1_200_000) }), '{"id":201,"a":[1]}'];
    const dry = await inserted(table, rows, { mode, dryRun: true });
    expect(await contents(table)).toEqual(before);
    expect(dry.refused.map(({ row }) => row)).toEqual(mode === 'insert' ? [4, 90, 91, 93] : [90, 91, 93]);
    expect(await inserted(table, rows, { mode })).toEqual(dry);
  });

  it('does not take an error of the database for its own', async () => {
    const table = await pairs();
    await run(`DROP TABLE ${table.quoted}`);
    await expect(inserted(table, ['{"id":1}'], { dryRun: true })).rejects.toThrow('no such table');
  });
});

describe('what is not the fault of a row', () => {
  it('is thrown, and is no reason to try halves', async () => {
    const table = await pairs();
    let asked = 0;
    const broken = over(table, async () => {
      asked += 1;
      throw new Error('D1_ERROR: Network connection lost.');
    });
    await expect(inserted(broken, numbered(10))).rejects.toThrow('Network connection lost');
    expect(asked).toBe(1);
  });

  it('may come at any transaction; what was written before stays', async () => {
    for (let good = 0; good < 8; good++) {
      const table = await pairs('CHECK (a <> 3)');
      let left = good;
      const broken = over(table, async (statements) => {
        if (left-- === 0) throw new Error('D1_ERROR: D1 DB is overloaded.');
        return table.db.batch(statements);
      });
      const result = await inserted(broken, numbered(8)).catch((error: Error) => error.message);
      const there = (await exported(table)).length;
      if (result === 'D1_ERROR: D1 DB is overloaded.') expect(there).toBeLessThanOrEqual(7);
      else expect(result).toMatchObject({ written: 7, refused: [{ row: 3 }] });
      if (good < 2) expect(there).toBe(0);
    }
  });

  it('is an allowance that is used up: asked for before, nothing more runs', async () => {
    const table = await pairs('CHECK (a <> 3)');
    let left = 3;
    const queries = {
      take(statements: number) {
        left -= statements;
        if (left < 0) throw new Error('used up');
      },
    };
    await expect(inserted(table, numbered(8), { queries })).rejects.toThrow('used up');
    // All eight, the first four, the first two.
    expect(await exported(table)).toEqual(['{"id":1,"a":0}', '{"id":2,"a":1}']);
  });
});
