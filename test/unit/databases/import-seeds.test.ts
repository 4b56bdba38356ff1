/**
 * Random tables that refer to themselves, and random documents: a dry run says what the import does, whatever the batches,
 * and the export of the table comes back in one go. `node bench/import-seeds.ts` tries more seeds.
 */
import { env } from 'cloudflare:workers';
import { expect, it } from 'vitest';
import type { InsertMode } from '../../../src/databases/row-statements.ts';
import { contents, exported, inserted, opened, randomBits, run } from './tables.ts';

type Value = number | string | null;
type Row = Readonly<Record<string, Value>>;
type Random = (below: number) => number;

interface Reference {
  readonly from: readonly string[];
  readonly to: readonly string[];
}

interface Scenario {
  readonly create: (table: string) => string;
  /** Rows that are there before. */
  readonly before: readonly Row[];
  readonly rows: readonly Row[];
  readonly batch: number;
}

const FIRST_SEED = Number(Reflect.get(env, 'IMPORT_FIRST_SEED') ?? 1);
const SEEDS = Number(Reflect.get(env, 'IMPORT_SEEDS') ?? 40);

function scenario(seed: number): Scenario {
  const bits = randomBits(seed * 7919 + 1);
  const random: Random = (below) => bits() % below;
  const isPair = random(4) === 0;
  const key = isPair ? ['a', 'b'] : ['a'];
  const references: Reference[] = [{ from: isPair ? ['p', 'q'] : ['p'], to: key }];
  if (random(3) === 0) references.push({ from: ['r'], to: ['u'] });
  const columns = [
    'a INTEGER',
    'b INTEGER DEFAULT 1',
    'p INTEGER',
    'q INTEGER',
    'u INTEGER',
    'r INTEGER',
    'v INTEGER',
    'n INTEGER',
  ];
  const constraints = [`PRIMARY KEY (${key.join(', ')})`, 'UNIQUE (u)', 'CHECK (v < 9)'];
  if (random(4) === 0) constraints.push('UNIQUE (v, q)');
  const end = random(3) === 0 ? 'WITHOUT ROWID' : '';
  const foreign = (table: string) =>
    references.map(({ from, to }) => `FOREIGN KEY (${from.join(', ')}) REFERENCES ${table}(${to.join(', ')})`);
  const few = 2 + random(40);
  const name = () => random(few);
  const row = (n: number, refers: boolean): Row => ({
    n,
    a: name(),
    ...((isPair || random(3) > 0) && { b: random(2) }),
    ...(random(4) > 0 && { u: random(3 * few) }),
    ...(refers && random(3) > 0 && { p: name(), ...(isPair && { q: random(2) }) }),
    ...(refers && random(4) === 0 && { r: random(3 * few) }),
    ...(random(2) === 0 && { v: random(10) }),
  });
  return {
    create: (table) => `CREATE TABLE ${table} (${[...columns, ...constraints, ...foreign(table)].join(', ')}) ${end}`,
    before: Array.from({ length: random(5) }, (_, i) => row(-1 - i, false)),
    rows: Array.from({ length: 1 + random(80) }, (_, i) => row(i, true)),
    batch: [1, 3, 17, 300][random(4)] ?? 1,
  };
}

function literal(value: Value): string {
  if (value === null) return 'NULL';
  return typeof value === 'number' ? String(value) : `'${value}'`;
}

function insertion(table: string, row: Row): string {
  const values = Object.values(row).map(literal);
  return `INSERT INTO ${table} (${Object.keys(row).join(', ')}) VALUES (${values.join(', ')})`;
}

/** A new table with the rows that are there before. */
async function tableOf({ create, before }: Scenario, name: string) {
  await run(`DROP TABLE IF EXISTS ${name}`, create(name));
  for (const row of before) await run(insertion(name, row)).catch(() => undefined);
  return opened(name);
}

it.each(Array.from({ length: SEEDS }, (_, i) => FIRST_SEED + i))(
  'a dry run says what the import does, and the export comes back (seed %i)',
  async (seed) => {
    const made = scenario(seed);
    const table = await tableOf(made, `seed_${seed}`);
    const before = await contents(table);
    const texts = made.rows.map((row) => JSON.stringify(row));
    const dry = await inserted(table, texts, { dryRun: true, batch: made.batch });
    expect(await contents(table)).toEqual(before);
    const real = await inserted(table, texts, { batch: made.batch });
    expect(dry).toEqual(real);
    expect(real.written).toBe(texts.length - real.refused.length);
    expect((await exported(table)).length - before.length).toBe(real.written);

    const all = await contents(table);
    const out = await exported(table);
    for (const mode of ['insert', 'upsert', 'replace'] as const satisfies readonly InsertMode[]) {
      if (mode === 'insert') await run(`DELETE FROM ${table.name}`);
      expect(await inserted(table, out, { mode, batch: made.batch })).toEqual({ written: out.length, refused: [] });
      expect(await contents(table)).toEqual(all);
    }
    await run(`DROP TABLE ${table.name}`);
  },
);
