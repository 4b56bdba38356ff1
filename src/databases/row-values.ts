/**
 * A row of an import as the values that SQLite shall hold, with their types: 1 is an INTEGER and 1.0 a REAL, an integer
 * keeps all of its digits, `{"$base64":"…"}` is a BLOB, true and false are 1 and 0.
 */
import { Buffer } from 'node:buffer';
import { MAX_INTEGER, MIN_INTEGER } from '../shared/limits.ts';
import { shownName } from '../shared/shown-name.ts';
import type { Column, Table } from './table.ts';

export interface JsonRow {
  /** The JSON object as it stood. */
  readonly text: string;
  /** The names of its members, each once. */
  readonly keys: readonly string[];
  /** It has only scalars, no \u escapes, no long integers: the text may be used as it is. */
  readonly plain: boolean;
}

export type RowValue =
  | { readonly kind: 'null' }
  | { readonly kind: 'integer' | 'real' | 'text'; readonly text: string }
  | { readonly kind: 'blob'; readonly bytes: Buffer };

/** Why a row cannot be what the table holds, for the person whose row it is. */
export class RowRefused extends Error {}

/** A number as it was written. */
class Digits {
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }
}

type SourceReviver = (key: string, value: unknown, context?: { readonly source?: string }) => unknown;
const parseWithSource: (text: string, reviver: SourceReviver) => unknown = JSON.parse;

const keepDigits: SourceReviver = (_key, value, context) =>
  typeof value === 'number' ? new Digits(context?.source ?? String(value)) : value;

/** The columns that the row names, in the table's order. Throws {@link RowRefused} where it names others, or none. */
export function columnsOf(table: Table, keys: readonly string[]): Column[] {
  const named = new Set(keys);
  const columns = table.columns.filter(({ name }) => named.delete(name));
  for (const key of named) {
    if (!table.generated.has(key)) throw new RowRefused(`the table has no column ${shownName(key)}`);
  }
  if (columns.length === 0) throw new RowRefused('it names no column of the table');
  return columns;
}

/** The values for the columns. Throws {@link RowRefused} where one is none that SQLite could hold. */
export function valuesOf(row: JsonRow, columns: readonly Column[]): RowValue[] {
  const parsed = new Map(Object.entries(Object(parseWithSource(row.text, keepDigits))));
  return columns.map(({ name }) => rowValue(name, parsed.get(name)));
}

function rowValue(column: string, value: unknown): RowValue {
  if (value === null) return { kind: 'null' };
  if (typeof value === 'boolean') return { kind: 'integer', text: value ? '1' : '0' };
  if (value instanceof Digits) return numberOf(column, value.source);
  if (typeof value === 'string') {
    if (value.isWellFormed()) return { kind: 'text', text: value };
    throw new RowRefused(`half of a surrogate pair in column ${JSON.stringify(column)}`);
  }
  return blobOf(column, value);
}

function numberOf(column: string, source: string): RowValue {
  if (!/^-?\d+$/.test(source)) return { kind: 'real', text: source };
  if (source.length > SURE_DIGITS && !isInt64(source)) {
    throw new RowRefused(`an integer beyond 64 bits in column ${JSON.stringify(column)}`);
  }
  return { kind: 'integer', text: source };
}

/** Integers of so few digits are within 64 bits; of more than these, with a sign, none is. */
const SURE_DIGITS = 18;
const MOST_DIGITS = 20;

function isInt64(digits: string): boolean {
  if (digits.length > MOST_DIGITS) return false;
  const value = BigInt(digits);
  return value >= MIN_INTEGER && value <= MAX_INTEGER;
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

function blobOf(column: string, value: unknown): RowValue {
  const members = Object.entries(Object(value));
  const [name, text] = members[0] ?? [];
  if (Array.isArray(value) || members.length !== 1 || name !== '$base64') {
    throw new RowRefused(`a nested value in column ${JSON.stringify(column)}`);
  }
  if (typeof text !== 'string' || text.length % 4 !== 0 || !BASE64.test(text)) {
    throw new RowRefused(`what is no base64 in column ${JSON.stringify(column)}`);
  }
  return { kind: 'blob', bytes: Buffer.from(text, 'base64') };
}

/** Bytes that the value takes in a row of the table, within a few. */
export function storedBytes(value: RowValue): number {
  if (value.kind === 'blob') return value.bytes.length;
  return value.kind === 'text' ? Buffer.byteLength(value.text) : 9;
}
