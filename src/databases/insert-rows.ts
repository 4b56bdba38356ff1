/**
 * Rows of JSON into a table, many by one statement: `INSERT … SELECT … FROM jsonb_each(?)`, where SQLite takes the values
 * out of the text of up to 1 MB of rows. That is what D1's bounds ask for (1,000 queries a request, 100 bound values a
 * query), and numbers keep their digits and types on the way, which bound ones do not: D1 binds every number as a double.
 *
 * Rows of one call are written by one transaction, or a few where they are large. One that the table refuses would take
 * its neighbours along: halves are tried then, and halves of these, until the refused ones stand alone, each with what
 * SQLite said of it. Of 100 rows with one refused that costs about 15 transactions.
 *
 * A dry run is the same with a last statement that fails: the database has checked every row, and rolls all back.
 */
import { Buffer } from 'node:buffer';
import { VaultError } from '../shared/errors.ts';
import { D1_VALUE_BYTES, INSERT_BATCH_BYTES, INSERT_JSON_BYTES } from '../shared/limits.ts';
import { refusalOf } from './row-refusal.ts';
import { columnsOf, type JsonRow, RowRefused, type RowValue, storedBytes, valuesOf } from './row-values.ts';
import { type Column, literal, type Table } from './table.ts';

/**
 * What becomes of a row whose key is there: `insert` refuses it, `upsert` writes the columns that it names and keeps the
 * others, `replace` puts it in the place of the old one, with defaults where it names no value.
 */
export type InsertMode = 'insert' | 'upsert' | 'replace';

export interface QueryAllowance {
  /** Called before so many statements run. Throws where they are more than what is left. */
  take(statements: number): void;
}

export interface InsertOptions {
  readonly mode: InsertMode;
  /** Everything is checked and nothing is kept. Rows are seen beside those of the same call, not of others. */
  readonly dryRun: boolean;
  readonly queries: QueryAllowance;
  /** Told of rows as soon as they are written, so that they are known also where the rest fails. */
  readonly onWritten?: (rows: number) => void;
}

export interface Inserted {
  readonly written: number;
  /** Places in the rows given, ascending, and why each was refused. */
  readonly refused: readonly { readonly row: number; readonly reason: string }[];
}

export class NoPrimaryKey extends VaultError {
  constructor(table: string) {
    super('invalid-option', `mode: upsert needs a primary key, and the table ${table} has none.`);
  }
}

/** A row as it goes to the database. */
interface Ready {
  readonly row: number;
  readonly columns: readonly Column[];
  /** What it adds to a transaction. */
  readonly bytes: number;
  /** As a JSON object, with BLOBs as {@link HEX} in the columns named; or by values of its own, since it is large. */
  readonly form:
    | { readonly json: string; readonly blobs: readonly Column[] }
    | { readonly values: readonly RowValue[] };
}

/** Member of an object that stands for a BLOB: its bytes as hex. */
const HEX = 'x';

/** No table can have such a path, and the message names it. */
const ROLLBACK = 'nothing of a dry run is kept';

/**
 * Writes the rows in their order. What the rows themselves are to blame for is told for each; what they are not (the
 * database is away, the allowance is used up) is thrown, and what was written before stays.
 */
export async function insertRows(table: Table, rows: readonly JsonRow[], options: InsertOptions): Promise<Inserted> {
  if (options.mode === 'upsert' && table.primaryKey.length === 0) throw new NoPrimaryKey(table.name);
  const refused: { row: number; reason: string }[] = [];
  const ready = readyRows(table, rows, refused);
  let written = 0;
  for (const batch of batchesOf(ready)) {
    const accepted = await write(table, [], batch, options, refused);
    written += accepted.length;
  }
  return { written, refused: refused.sort((a, b) => a.row - b.row) };
}

type Refusals = { row: number; reason: string }[];

function readyRows(table: Table, rows: readonly JsonRow[], refused: Refusals): Ready[] {
  const ready: Ready[] = [];
  let keys: readonly string[] = [];
  let columns: Column[] = [];
  for (const [row, given] of rows.entries()) {
    try {
      // Rows of one document mostly have the same members: columns are looked up once.
      if (columns.length === 0 || !same(keys, given.keys)) {
        columns = [];
        columns = columnsOf(table, given.keys);
        keys = given.keys;
      }
      ready.push({ row, columns, ...formOf(given, columns) });
    } catch (error) {
      if (!(error instanceof RowRefused)) throw error;
      refused.push({ row, reason: error.message });
    }
  }
  return ready;
}

function same<T>(a: readonly T[], b: readonly T[]): boolean {
  return a === b || (a.length === b.length && a.every((item, place) => item === b[place]));
}

function formOf(given: JsonRow, columns: readonly Column[]): Pick<Ready, 'bytes' | 'form'> {
  if (given.plain && columns.every(({ name, member }) => name === member)) {
    const bytes = Buffer.byteLength(given.text);
    if (bytes <= INSERT_JSON_BYTES) return { bytes, form: { json: given.text, blobs: [] } };
  }
  const values = valuesOf(given, columns);
  const stored = values.reduce((sum, value) => sum + storedBytes(value), 0);
  if (stored > D1_VALUE_BYTES) {
    throw new RowRefused(`it has ${stored} bytes, and a row of the database holds ${D1_VALUE_BYTES}`);
  }
  if (stored <= INSERT_JSON_BYTES / 2) {
    const json = jsonOf(columns, values);
    const bytes = Buffer.byteLength(json);
    const blobs = columns.filter((_, place) => values[place]?.kind === 'blob');
    if (bytes <= INSERT_JSON_BYTES) return { bytes, form: { json, blobs } };
  }
  return { bytes: 2 * stored, form: { values } };
}

function jsonOf(columns: readonly Column[], values: readonly RowValue[]): string {
  const members = values.map((value, place) => `${JSON.stringify(columns[place]?.member)}:${jsonValue(value)}`);
  return `{${members.join(',')}}`;
}

function jsonValue(value: RowValue): string {
  if (value.kind === 'null') return 'null';
  if (value.kind === 'blob') return `{"${HEX}":"${value.bytes.toString('hex')}"}`;
  return value.kind === 'text' ? JSON.stringify(value.text) : value.text;
}

/** What one transaction takes. */
function batchesOf(ready: readonly Ready[]): Ready[][] {
  return runsOf(ready, INSERT_BATCH_BYTES, () => true);
}

/** Consecutive rows that belong together, of so many bytes at most. */
function runsOf(ready: readonly Ready[], mostBytes: number, together: (a: Ready, b: Ready) => boolean): Ready[][] {
  const runs: Ready[][] = [];
  let run: Ready[] = [];
  let bytes = 0;
  for (const one of ready) {
    const before = run.at(-1);
    if (!before || bytes + one.bytes > mostBytes || !together(before, one)) {
      run = [];
      bytes = 0;
      runs.push(run);
    }
    run.push(one);
    bytes += one.bytes;
  }
  return runs;
}

/** Writes what can be written of the rows, and says which that is; the others are put among the refused. */
async function write(
  table: Table,
  before: readonly Ready[],
  rows: readonly Ready[],
  options: InsertOptions,
  refused: Refusals,
): Promise<readonly Ready[]> {
  const [first] = rows;
  if (!first) return [];
  const reason = await transact(table, [...before, ...rows], options);
  if (reason === null) {
    options.onWritten?.(rows.length);
    return rows;
  }
  if (rows.length === 1) {
    refused.push({ row: first.row, reason });
    return [];
  }
  const middle = rows.length >> 1;
  const left = await write(table, before, rows.slice(0, middle), options, refused);
  // Nothing of a dry run is there for the second half to meet: the first goes along once more.
  const met = options.dryRun ? [...before, ...left] : [];
  const right = await write(table, met, rows.slice(middle), options, refused);
  return [...left, ...right];
}

/** All of the rows or none. Null where they are in (or would be), else what is wrong with one of them. */
async function transact(table: Table, rows: readonly Ready[], options: InsertOptions): Promise<string | null> {
  const runs = runsOf(rows, INSERT_JSON_BYTES, goTogether);
  const statements = runs.map((run) => insertion(table, run, options.mode));
  if (options.dryRun) statements.push(table.db.prepare('SELECT json_extract(?1, ?2)').bind('{}', ROLLBACK));
  options.queries.take(statements.length);
  try {
    await table.db.batch(statements);
  } catch (error) {
    if (options.dryRun && error instanceof Error && error.message.includes(ROLLBACK)) return null;
    const reason = refusalOf(table, error);
    if (reason === null) throw error;
    return reason;
  }
  if (options.dryRun) throw new Error('a dry run was not rolled back');
  return null;
}

function goTogether(a: Ready, b: Ready): boolean {
  return 'json' in a.form && 'json' in b.form && same(a.columns, b.columns);
}

/** One statement for a run: for one row by values of its own, or for rows of the same columns as JSON. */
function insertion(table: Table, run: readonly Ready[], mode: InsertMode): D1PreparedStatement {
  const columns = run[0]?.columns ?? [];
  const objects: string[] = [];
  const blobs = new Set<Column>();
  for (const { form } of run) {
    if ('values' in form) {
      const bound = boundValues(form.values);
      return table.db.prepare(insertText(table, columns, bound.expressions, '', mode)).bind(...bound.values);
    }
    objects.push(form.json);
    for (const column of form.blobs) blobs.add(column);
  }
  const expressions = columns.map((column) => extraction(column, blobs.has(column)));
  const sql = insertText(table, columns, expressions, 'FROM jsonb_each(?1) AS given', mode);
  return table.db.prepare(sql).bind(`[${objects.join(',')}]`);
}

function extraction({ member }: Column, withBlobs: boolean): string {
  const path = literal(`$."${member}"`);
  if (!withBlobs) return `json_extract(given.value, ${path})`;
  const bytes = literal(`$."${member}".${HEX}`);
  return `CASE json_type(given.value, ${path}) WHEN 'object' THEN unhex(json_extract(given.value, ${bytes}))
    ELSE json_extract(given.value, ${path}) END`;
}

/** Bytes of a BLOB in one bound text, as hex: half of the longest. */
const HEX_BYTES = D1_VALUE_BYTES / 4;

/** Values that are bound one by one, as text: of a number for its digits, of a BLOB since D1 would send each byte as a number. */
function boundValues(values: readonly RowValue[]): { expressions: string[]; values: string[] } {
  const texts: string[] = [];
  const bind = (text: string) => `?${texts.push(text)}`;
  const expressions = values.map((value) => {
    if (value.kind === 'null') return 'NULL';
    if (value.kind === 'text') return bind(value.text);
    if (value.kind !== 'blob') return `CAST(${bind(value.text)} AS ${value.kind === 'real' ? 'REAL' : 'INTEGER'})`;
    const pieces = ["x''"];
    for (let at = 0; at < value.bytes.length; at += HEX_BYTES) {
      pieces.push(`unhex(${bind(value.bytes.toString('hex', at, at + HEX_BYTES))})`);
    }
    return `CAST(${pieces.join(' || ')} AS BLOB)`;
  });
  return { expressions, values: texts };
}

/** OR ABORT is what SQLite does by itself, unless the table's own ON CONFLICT says to pass a row over in silence. */
function insertText(
  table: Table,
  columns: readonly Column[],
  values: readonly string[],
  from: string,
  mode: InsertMode,
): string {
  const kept = mode === 'upsert' ? keptValues(table, columns, values) : [];
  const names = [...columns, ...kept.map(({ column }) => column)].map(({ quoted }) => quoted);
  const selected = [...values, ...kept.map(({ value }) => value)];
  return `INSERT OR ${mode === 'replace' ? 'REPLACE' : 'ABORT'} INTO ${table.quoted} (${names.join(', ')})
    SELECT ${selected.join(', ')} ${from} WHERE true ${mode === 'upsert' ? onConflict(table, columns) : ''}`;
}

function onConflict(table: Table, columns: readonly Column[]): string {
  const key = table.primaryKey.map(({ quoted }) => quoted).join(', ');
  const set = columns
    .filter((column) => !table.primaryKey.includes(column))
    .map(({ quoted }) => `${quoted} = excluded.${quoted}`);
  return `ON CONFLICT (${key}) DO ${set.length > 0 ? `UPDATE SET ${set.join(', ')}` : 'NOTHING'}`;
}

/**
 * Columns that must have a value and are not named keep the one that is there: SQLite asks whether a row to insert is
 * complete before it looks whether it is there already.
 */
function keptValues(table: Table, columns: readonly Column[], values: readonly string[]) {
  const key = table.primaryKey.map((column) => {
    const value = values[columns.indexOf(column)];
    return value === undefined ? null : `old.${column.quoted} = ${value}`;
  });
  if (key.includes(null)) return [];
  return table.columns
    .filter((column) => column.required && !columns.includes(column) && !table.primaryKey.includes(column))
    .map((column) => ({
      column,
      value: `(SELECT old.${column.quoted} FROM ${table.quoted} AS old WHERE ${key.join(' AND ')})`,
    }));
}
