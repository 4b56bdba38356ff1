import type { Table } from './table.ts';

/** What D1 says when SQLite refused the values of a row, and nothing else is wrong: `…: SQLITE_CONSTRAINT (…)`. */
const REFUSED = /^(?:D1_ERROR: )?([\s\S]*): SQLITE_(CONSTRAINT|MISMATCH|TOOBIG)\b/;

/** SQLite's own sentences, of which the table's and the columns' names are of use to the person. */
const SENTENCES: readonly (readonly [RegExp, (table: Table, named: string) => string])[] = [
  [
    /^UNIQUE constraint failed: index '(.*)'$/s,
    (_, index) => `there is a row already that equals it in the index ${index}`,
  ],
  [/^UNIQUE constraint failed: (.*)$/s, (table, named) => `there is a row with this ${columns(table, named)} already`],
  [/^NOT NULL constraint failed: (.*)$/s, (table, named) => `${columns(table, named)} must have a value`],
  [/^CHECK constraint failed: (.*)$/s, (_, check) => `a check of the table does not hold: ${check}`],
  [/^(FOREIGN KEY) constraint failed$/, () => NO_REFERENCE],
  [/^cannot store (\w+ value in \w+ column .*)$/s, typeRefused],
  [/^(datatype mismatch)$/, () => 'its primary key is no integer'],
];

export interface Refusal {
  /** Other rows may take away the reason: the one that it refers to is not there yet. */
  readonly isReference: boolean;
  /** Another row has its key, and may itself be refused later. */
  readonly isTwin: boolean;
  /** For the person whose row it is. */
  readonly reason: string;
}

/** Why a row was refused. Null: it was not the row's fault. */
export function refusalOf(table: Table, error: unknown): Refusal | null {
  const [, said, kind] = (error instanceof Error && REFUSED.exec(error.message)) || [];
  if (said === undefined) return null;
  const isReference = said === 'FOREIGN KEY constraint failed';
  return {
    isReference,
    isTwin: said.startsWith('UNIQUE constraint failed'),
    reason: kind === 'TOOBIG' ? TOO_LARGE : reasonOf(table, said),
  };
}

const TOO_LARGE = 'it is larger than what the database holds in one row';

/** The reason of a row whose reference is missing. */
export const NO_REFERENCE = 'it refers to a row that is not there, or others refer to what it replaces';

function reasonOf(table: Table, said: string): string {
  for (const [sentence, reason] of SENTENCES) {
    const named = sentence.exec(said)?.[1];
    if (named !== undefined) return reason(table, named);
  }
  // What is left are the words of a trigger of the table's own.
  return `the table refuses it: ${said}`;
}

/** `items.a, items.b` as `"a", "b"`. */
function columns(table: Table, named: string): string {
  return named
    .split(`, ${table.name}.`)
    .map((name, place) => JSON.stringify(place === 0 ? withoutTable(table, name) : name))
    .join(', ');
}

function withoutTable(table: Table, name: string): string {
  return name.startsWith(`${table.name}.`) ? name.slice(table.name.length + 1) : name;
}

function typeRefused(table: Table, said: string): string {
  const [, given, wanted, column = ''] = /^(\w+) value in (\w+) column (.*)$/s.exec(said) ?? [];
  return `column ${JSON.stringify(withoutTable(table, column))} takes ${wanted}, and this is ${given}`;
}
