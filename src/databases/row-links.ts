/**
 * What makes rows of one document depend on each other: references of the table to itself, and keys that no two rows
 * share. It is told from the values as the columns will hold them. SQLite has the last word on every row.
 */
import { INSERT_JSON_BYTES } from '../shared/limits.ts';
import { comparable, stored } from './comparable.ts';
import type { Ready } from './row-statements.ts';
import { type JsonRow, type RowValue, valuesOf } from './row-values.ts';
import { type Column, literal, type Table } from './table.ts';

export interface QueryAllowance {
  /** Called before so many statements run. Throws where they are more than what is left. */
  take(statements: number): void;
}

/** Columns of which no two rows have the same values, each with the collation that compares them. */
interface Key {
  readonly columns: readonly Column[];
  readonly collations: readonly string[];
}

interface Reference {
  readonly from: readonly Column[];
  readonly to: Key;
}

/** A row as others see it. Null where one of the values is NULL, or a default that only SQLite knows. */
interface Links {
  /** For each key of the table, its text. */
  readonly keys: readonly (string | null)[];
  /** For each reference, what the row refers to, and what it can be referred to by. */
  readonly needs: readonly (string | null)[];
  readonly gives: readonly (string | null)[];
  /** The values that {@link needs} tells of. */
  readonly values: readonly (readonly RowValue[])[];
}

interface Need<T extends JsonRow> {
  readonly row: Ready<T>;
  readonly name: string;
  readonly values: string;
}

interface ForeignKeyRow {
  readonly id: number;
  readonly table: string;
  readonly from: string;
  readonly to: string | null;
}

interface UniqueRow {
  readonly name: string;
  readonly column: string | null;
  readonly coll: string;
}

/** The references and keys of one table. */
export class RowLinks<T extends JsonRow> {
  readonly #table: Table;
  readonly #references: readonly Reference[];
  readonly #keys: readonly Key[];
  readonly #queries: QueryAllowance;
  readonly #known = new WeakMap<Ready<T>, Links>();

  private constructor(table: Table, queries: QueryAllowance, references: readonly Reference[], keys: readonly Key[]) {
    this.#table = table;
    this.#queries = queries;
    this.#references = references;
    this.#keys = keys;
  }

  static async read<T extends JsonRow>(table: Table, queries: QueryAllowance): Promise<RowLinks<T>> {
    const [foreign, unique] = await table.db.batch<ForeignKeyRow | UniqueRow>([
      table.db
        .prepare('SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?1) ORDER BY id, seq')
        .bind(table.name),
      table.db
        .prepare(
          `SELECT i.name, x.name AS "column", x.coll FROM pragma_index_list(?1) i, pragma_index_xinfo(i.name) x
            WHERE i."unique" = 1 AND x."key" = 1 ORDER BY i.seq, x.seqno`,
        )
        .bind(table.name),
    ]);
    const keys = keysOf(table, (unique?.results ?? []) as UniqueRow[]);
    return new RowLinks(table, queries, referencesOf(table, keys, (foreign?.results ?? []) as ForeignKeyRow[]), keys);
  }

  /** Whether rows of the table may refer to each other. */
  get refer(): boolean {
    return this.#references.length > 0;
  }

  /** Names for the keys of the row, which no other row may have. */
  keysOf(row: Ready<T>): string[] {
    return named(this.#linksOf(row).keys);
  }

  /** Names for what the row can be referred to by. */
  givenBy(row: Ready<T>): string[] {
    return named(this.#linksOf(row).gives);
  }

  /**
   * Returns those of the rows whose reference to the table is neither in the table, nor `given`, nor given by another of
   * the rows that has all it refers to.
   */
  async unmet(rows: readonly Ready<T>[], given: ReadonlySet<string>): Promise<Set<Ready<T>>> {
    const open = await this.#notInTable(rows);
    const givers = new Map<string, Set<Ready<T>>>();
    for (const row of rows) {
      for (const name of this.givenBy(row)) givers.set(name, (givers.get(name) ?? new Set()).add(row));
    }
    const needers = new Map<string, Set<Ready<T>>>();
    for (const [row, names] of open) {
      for (const name of names) {
        if (!given.has(name)) needers.set(name, (needers.get(name) ?? new Set()).add(row));
      }
    }
    const unmet = new Set<Ready<T>>();
    const missing = [...needers.keys()].filter((name) => !givers.has(name));
    for (let name = missing.pop(); name !== undefined; name = missing.pop()) {
      for (const row of needers.get(name) ?? []) {
        if (unmet.has(row)) continue;
        unmet.add(row);
        for (const gone of this.givenBy(row)) {
          const others = givers.get(gone);
          others?.delete(row);
          if (others?.size === 0) missing.push(gone);
        }
      }
    }
    return unmet;
  }

  /** What each of the rows refers to that the table does not hold. */
  async #notInTable(rows: readonly Ready<T>[]): Promise<Map<Ready<T>, string[]>> {
    const open = new Map<Ready<T>, string[]>();
    for (const reference of this.#references.keys()) {
      for (const asked of this.#needsOf(rows, reference)) {
        this.#queries.take(1);
        const places = await this.#table.db
          .prepare(this.#notInTableText(reference))
          .bind(`[${asked.map(({ values }) => values).join(',')}]`)
          .raw<[place: number]>();
        for (const [place] of places) {
          const one = asked[place];
          if (one) open.set(one.row, [...(open.get(one.row) ?? []), one.name]);
        }
      }
    }
    return open;
  }

  /** What the rows refer to by that reference, with its values as JSON: as much together as one query may be bound. */
  *#needsOf(rows: readonly Ready<T>[], reference: number): Generator<readonly Need<T>[], void, undefined> {
    let needs: Need<T>[] = [];
    let chars = 0;
    for (const row of rows) {
      const links = this.#linksOf(row);
      const text = links.needs[reference];
      if (text == null) continue;
      const values = JSON.stringify(links.values[reference]?.map(boundText));
      if (chars > 0 && chars + values.length > INSERT_JSON_BYTES / 2) {
        yield needs;
        needs = [];
        chars = 0;
      }
      needs.push({ row, name: nameOf(reference, text), values });
      chars += values.length;
    }
    if (needs.length > 0) yield needs;
  }

  #notInTableText(reference: number): string {
    const equal = this.#references[reference]?.to.columns.map(({ quoted }, place) => {
      const text = `json_extract(given.value, ${literal(`$[${place}][1]`)})`;
      const kind = `json_extract(given.value, ${literal(`$[${place}][0]`)})`;
      return `parent.${quoted} = CASE ${kind} WHEN 'integer' THEN CAST(${text} AS INTEGER)
        WHEN 'real' THEN CAST(${text} AS REAL) WHEN 'blob' THEN unhex(${text}) ELSE ${text} END`;
    });
    return `SELECT given.key FROM json_each(?1) AS given WHERE NOT EXISTS (
      SELECT 1 FROM ${this.#table.quoted} AS parent WHERE ${equal?.join(' AND ')})`;
  }

  #linksOf(row: Ready<T>): Links {
    let links = this.#known.get(row);
    if (!links) {
      links = this.#readLinks(row);
      this.#known.set(row, links);
    }
    return links;
  }

  #readLinks(row: Ready<T>): Links {
    const involved = new Set([
      ...this.#keys.flatMap(({ columns }) => columns),
      ...this.#references.flatMap(({ from, to }) => [...from, ...to.columns]),
    ]);
    const columns = row.columns.filter((column) => involved.has(column));
    const read = valuesOf(row.row, columns);
    const values = new Map(columns.map((column, place) => [column, read[place] ?? NULL]));
    const held = (column: Column) => stored(values.get(column) ?? NULL, column.affinity);
    /** The values of the columns, as those of the key are compared. */
    const textOf = (of: readonly Column[], key: Key): string | null => {
      const texts = of.map((column, part) => {
        const compared = stored(held(column), key.columns[part]?.affinity ?? 'blob');
        return comparable(compared, key.collations[part] ?? 'BINARY');
      });
      return texts.includes(null) ? null : JSON.stringify(texts);
    };
    return {
      keys: this.#keys.map((key) => textOf(key.columns, key)),
      needs: this.#references.map(({ from, to }) => textOf(from, to)),
      gives: this.#references.map(({ to }) => textOf(to.columns, to)),
      values: this.#references.map(({ from }) => from.map(held)),
    };
  }
}

const NULL = { kind: 'null' } as const;

function referencesOf(table: Table, keys: readonly Key[], rows: readonly ForeignKeyRow[]): Reference[] {
  const byName = new Map(table.columns.map((column) => [column.name.toLowerCase(), column]));
  const own = rows.filter((row) => row.table.toLowerCase() === table.name.toLowerCase());
  const references: Reference[] = [];
  for (const id of new Set(own.map((row) => row.id))) {
    const parts = own.filter((row) => row.id === id);
    const from = parts.flatMap((row) => byName.get(row.from.toLowerCase()) ?? []);
    const to = parts.flatMap((row, place) =>
      row.to === null ? (table.primaryKey[place] ?? []) : (byName.get(row.to.toLowerCase()) ?? []),
    );
    // A generated column has no value in a document, so SQLite alone knows what it refers to.
    if (from.length !== parts.length || to.length !== parts.length) continue;
    const key = keys.find(
      ({ columns }) => columns.length === to.length && to.every((column) => columns.includes(column)),
    );
    const collations = to.map((column) => key?.collations[key.columns.indexOf(column)] ?? 'BINARY');
    references.push({ from, to: { columns: to, collations } });
  }
  return references;
}

/** The primary key and unique indexes, without those over expressions and generated columns. */
function keysOf(table: Table, rows: readonly UniqueRow[]): Key[] {
  const keys: Key[] = [];
  for (const name of new Set(rows.map((row) => row.name))) {
    const parts = rows.filter((row) => row.name === name);
    const columns = parts.flatMap((row) => table.columns.find((column) => column.name === row.column) ?? []);
    if (columns.length === parts.length) keys.push({ columns, collations: parts.map(({ coll }) => coll) });
  }
  // An integer primary key is the rowid and has no index.
  const [alias] = table.primaryKey;
  if (alias && table.primaryKey.length === 1 && table.key.some(({ column }) => column === alias.name)) {
    keys.push({ columns: [alias], collations: ['BINARY'] });
  }
  return keys;
}

function named(texts: readonly (string | null)[]): string[] {
  return texts.flatMap((text, place) => (text === null ? [] : [nameOf(place, text)]));
}

function nameOf(place: number, text: string): string {
  return `${place}:${text}`;
}

/** As an array of its type and its text, which keeps the digits of a number. */
function boundText(value: RowValue): readonly [string, string] {
  if (value.kind === 'null') return ['null', ''];
  return value.kind === 'blob' ? ['blob', value.bytes.toString('hex')] : [value.kind, value.text];
}
