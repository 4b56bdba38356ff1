import { env } from 'cloudflare:workers';
import { expect } from 'vitest';
import { type InsertOptions, RowInsertion } from '../../../src/databases/insert-rows.ts';
import { type Page, readPage } from '../../../src/databases/read-page.ts';
import type { JsonRow } from '../../../src/databases/row-values.ts';
import { openTable, type Table } from '../../../src/databases/table.ts';

export const db = env.DATABASE_SAMPLE;

/** Runs statements one after the other. */
export async function run(...statements: string[]): Promise<void> {
  for (const sql of statements) await db.prepare(sql).run();
}

/** The table that is there. */
export async function opened(name: string): Promise<Table> {
  const table = await openTable(db, name);
  if (!table) throw new Error(`no table ${name}`);
  return table;
}

/** Each row's text in one. */
export function rowsOf(page: Page): string[] {
  return Array.from(page.rows, ({ text }) => [...text].join(''));
}

/** Everything in the table, in pages of so many rows. */
export async function exported(table: Table, rows = 1_000): Promise<string[]> {
  const all: string[] = [];
  let after: string | null = null;
  do {
    const page: Page = await readPage(table, after, rows);
    const texts = rowsOf(page);
    expect(texts.length).toBeLessThanOrEqual(rows);
    all.push(...texts);
    after = page.after;
  } while (after !== null);
  return all;
}

/** A row as a reader of JSON would hand it over. */
export function jsonRow(text: string): JsonRow {
  const parsed: Record<string, unknown> = JSON.parse(text);
  const scalars = Object.values(parsed).every((value) => typeof value !== 'object' || value === null);
  return { text, keys: Object.keys(parsed), plain: scalars && !text.includes('\\u') && !/\d{16}/.test(text) };
}

export const UNBOUNDED = { take: () => undefined };

export interface Inserted {
  readonly written: number;
  /** Places of the rows given, ascending, and why each was refused. */
  readonly refused: readonly { readonly row: number; readonly reason: string }[];
}

/** Writes the rows as an import does, `batch` of them at a time. */
export async function insertRows(
  table: Table,
  rows: readonly JsonRow[],
  { batch = 100, ...options }: Partial<InsertOptions<JsonRow>> & { batch?: number } = {},
): Promise<Inserted> {
  const refused: { row: number; reason: string }[] = [];
  let written = 0;
  const insertion = await RowInsertion.begin<JsonRow>(table, {
    mode: 'insert',
    dryRun: false,
    queries: UNBOUNDED,
    ...options,
    onWritten(count) {
      written += count;
      options.onWritten?.(count);
    },
    onRefused: (row, reason) => refused.push({ row: rows.indexOf(row), reason }),
  });
  for (let at = 0; at < rows.length; at += batch) await insertion.add(rows.slice(at, at + batch));
  await insertion.end();
  return { written, refused: refused.sort((a, b) => a.row - b.row) };
}

export function inserted(
  table: Table,
  texts: readonly string[],
  options: Parameters<typeof insertRows>[2] = {},
): Promise<Inserted> {
  return insertRows(table, texts.map(jsonRow), options);
}

/** What was refused, each with its place. */
export function refusals({ refused }: Inserted): [number, string][] {
  return refused.map(({ row, reason }) => [row, reason]);
}

/** All values of the table as SQLite has them: type and digits, of texts and BLOBs their bytes; one line a row. */
export async function contents(table: Table): Promise<string[]> {
  const values = table.columns.map(
    ({ quoted }) =>
      `typeof(${quoted}) || ':' || CASE typeof(${quoted}) WHEN 'real' THEN printf('%!.17g %d', ${quoted}, atan2(${quoted}, -1) < 0)
        WHEN 'null' THEN '' WHEN 'integer' THEN ${quoted} ELSE hex(${quoted}) END`,
  );
  const { results } = await db
    .prepare(`SELECT ${values.join(" || ' ' || ")} AS line FROM ${table.quoted} ORDER BY line`)
    .all<{ line: string }>();
  return results.map(({ line }) => line);
}

/** Numbers that look random, the same for a seed. */
export function randomBits(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
