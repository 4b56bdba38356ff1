/**
 * Rows of JSON as statements, many by one: `INSERT … SELECT … FROM jsonb_each(?)`, where SQLite takes the values out of
 * texts of up to 1 MB. That is what D1's bounds ask for (1,000 queries a request, 100 bound values a query), and numbers
 * keep their digits and types on the way, which bound ones do not: D1 binds every number as a double.
 *
 * SQLite checks the references of a statement when the statement ends, so rows of one statement may refer to each other
 * in any order.
 */
import { Buffer } from 'node:buffer';
import { D1_VALUE_BYTES, INSERT_JSON_BYTES } from '../shared/limits.ts';
import { columnsOf, type JsonRow, RowRefused, type RowValue, storedBytes, valuesOf } from './row-values.ts';
import { type Column, checkStatement, literal, type Table } from './table.ts';

/**
 * What happens to a row whose key exists: `insert` refuses it, `upsert` writes the columns that it names and keeps the
 * others, `replace` writes all columns, with defaults where it names no value. None of them removes another row.
 */
export type InsertMode = 'insert' | 'upsert' | 'replace';

/** A row as it goes to the database. */
export interface Ready<T extends JsonRow = JsonRow> {
  readonly row: T;
  /** Its place among the rows of the document. */
  readonly place: number;
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

/** Looks up the columns of rows: those of one document mostly have the same members. */
export class RowMaker<T extends JsonRow> {
  readonly #table: Table;
  #keys: readonly string[] = [];
  #columns: Column[] = [];

  constructor(table: Table) {
    this.#table = table;
  }

  /** Throws {@link RowRefused} for what cannot be a row of the table. */
  make(row: T, place: number): Ready<T> {
    if (this.#columns.length === 0 || !same(this.#keys, row.keys)) {
      this.#columns = [];
      this.#columns = columnsOf(this.#table, row.keys);
      this.#keys = row.keys;
    }
    return { row, place, columns: this.#columns, ...formOf(row, this.#columns) };
  }
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

/** Statements that write the rows in their order. */
export function insertions(table: Table, rows: readonly Ready[], mode: InsertMode): D1PreparedStatement[] {
  return runsOf(rows, mode).map((run) => insertion(table, run, mode));
}

/** Consecutive rows of one statement. */
function runsOf(rows: readonly Ready[], mode: InsertMode): Ready[][] {
  const runs: Ready[][] = [];
  let before: Ready | null = null;
  for (const one of rows) {
    if (before && goTogether(before, one, mode)) runs.at(-1)?.push(one);
    else runs.push([one]);
    before = one;
  }
  return runs;
}

/**
 * Whether one statement writes both. A column that a row leaves out is NULL where it has no default; to leave out one
 * that has, and the columns of an upsert, are said by the statement's text.
 */
function goTogether(a: Ready, b: Ready, mode: InsertMode): boolean {
  if (!('json' in a.form && 'json' in b.form)) return false;
  if (a.columns === b.columns) return true;
  return mode === 'upsert'
    ? same(a.columns, b.columns)
    : same(a.columns.filter(hasDefault), b.columns.filter(hasDefault));
}

function hasDefault(column: Column): boolean {
  return column.hasDefault;
}

/** One statement for a run: for one row by values of its own, or for rows as JSON. */
function insertion(table: Table, run: readonly Ready[], mode: InsertMode): D1PreparedStatement {
  const [first] = run;
  if (first && 'values' in first.form) {
    const bound = boundValues(first.form.values);
    const sql = insertText(table, first.columns, bound.expressions, '', mode);
    return table.db.prepare(sql).bind(...bound.values);
  }
  const { columns, blobs, texts } = gathered(table, run);
  const expressions = columns.map((column) => extraction(column, blobs.has(column)));
  const sources = texts.map((_, place) => `SELECT value FROM jsonb_each(?${place + 1})`);
  const sql = insertText(table, columns, expressions, `FROM (${sources.join(' UNION ALL ')}) AS given`, mode);
  return table.db.prepare(sql).bind(...texts);
}

/** What the rows of a statement have in common. */
interface Gathered {
  /** Those that any of the rows names, in the table's order. */
  readonly columns: readonly Column[];
  readonly blobs: ReadonlySet<Column>;
  /** Arrays of the rows, of {@link INSERT_JSON_BYTES} each. */
  readonly texts: readonly string[];
}

function gathered(table: Table, run: readonly Ready[]): Gathered {
  const named = new Set<Column>();
  const blobs = new Set<Column>();
  const texts: string[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const one of run) {
    if (!('json' in one.form)) continue;
    for (const column of one.columns) named.add(column);
    for (const column of one.form.blobs) blobs.add(column);
    if (bytes + one.bytes > INSERT_JSON_BYTES) {
      texts.push([]);
      bytes = 0;
    }
    texts.at(-1)?.push(one.form.json);
    bytes += one.bytes;
  }
  const columns = table.columns.filter((column) => named.has(column));
  return { columns, blobs, texts: texts.map((objects) => `[${objects.join(',')}]`) };
}

function extraction(column: Column, withBlobs: boolean): string {
  const path = literal(`$."${column.member}"`);
  if (!withBlobs) return `json_extract(given.value, ${path})`;
  const bytes = literal(`$."${column.member}".${HEX}`);
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
  const sql = `INSERT OR ABORT INTO ${table.quoted} (${names.join(', ')})
    SELECT ${selected.join(', ')} ${from} WHERE true ${mode === 'insert' ? '' : onConflict(table, columns, mode)}`;
  checkStatement(table, sql);
  return sql;
}

/** REPLACE would remove every row that the new one conflicts with, also by another key, and what refers to it. */
function onConflict(table: Table, columns: readonly Column[], mode: InsertMode): string {
  const key = table.primaryKey.map(({ quoted }) => quoted).join(', ');
  const set = (mode === 'replace' ? table.columns : columns)
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
