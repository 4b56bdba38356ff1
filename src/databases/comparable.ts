/**
 * Values as texts that are the same where SQLite finds the values equal ("Datatypes In SQLite", sections 3 and 4: the
 * affinity of a column converts what is stored in it, its collation compares it).
 */
import type { RowValue } from './row-values.ts';
import type { Affinity } from './table.ts';

const NUMBER = /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?$/i;
const INTEGER = /^[-+]?\d+$/;

/** Returns the value as a column of that affinity holds it. */
export function stored(value: RowValue, affinity: Affinity): RowValue {
  if (value.kind === 'null' || value.kind === 'blob' || affinity === 'blob') return value;
  if (affinity === 'text') return value.kind === 'text' ? value : { kind: 'text', text: numberText(value.text) };
  const text = value.text.trim();
  if (value.kind !== 'text' || !NUMBER.test(text)) return value;
  return { kind: INTEGER.test(text) ? 'integer' : 'real', text };
}

/** Returns null for NULL, which equals nothing. */
export function comparable(value: RowValue, collation: string): string | null {
  if (value.kind === 'null') return null;
  if (value.kind === 'blob') return `x${value.bytes.toString('hex')}`;
  if (value.kind === 'text') return `t${folded(value.text, collation.toLowerCase())}`;
  if (value.kind === 'integer') return `n${BigInt(value.text.replace('+', ''))}`;
  const number = Number(value.text);
  return `n${Number.isInteger(number) ? BigInt(number) : number}`;
}

function folded(text: string, collation: string): string {
  if (collation === 'nocase') return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  return collation === 'rtrim' ? withoutEndBlanks(text) : text;
}

/** A regular expression would take quadratic time for text of many blanks. */
function withoutEndBlanks(text: string): string {
  let end = text.length;
  while (text[end - 1] === ' ') end -= 1;
  return text.slice(0, end);
}

/** As SQLite converts a number; a real one has a point. */
function numberText(text: string): string {
  if (INTEGER.test(text)) return String(BigInt(text));
  const number = Number(text);
  return Number.isInteger(number) && Math.abs(number) < 1e15 ? number.toFixed(1) : String(number);
}
