/**
 * A table of a configured database, as its schema describes it. Whoever asks names the table in words of their own; these
 * are compared with the schema as bound values. What is put into SQL as identifiers comes out of the schema alone.
 */
import { VaultError } from '../shared/errors.ts';
import { D1_SQL_BYTES } from '../shared/limits.ts';
import { shownName } from '../shared/shown-name.ts';

/** What a column converts values to ("Datatypes In SQLite", section 3). */
export type Affinity = 'integer' | 'text' | 'blob' | 'real' | 'numeric';

/** Section 3.1 of the same page. In a STRICT table ANY converts nothing. */
function affinityOf(type: string, strict: boolean): Affinity {
  if (strict && /^any$/i.test(type)) return 'blob';
  if (/int/i.test(type)) return 'integer';
  if (/char|clob|text/i.test(type)) return 'text';
  if (type === '' || /blob/i.test(type)) return 'blob';
  return /real|floa|doub/i.test(type) ? 'real' : 'numeric';
}

export interface Column {
  readonly name: string;
  /** The name in SQL. */
  readonly quoted: string;
  /** The key under which a row's JSON for SQLite has the value: the name, unless a JSON path cannot hold that. */
  readonly member: string;
  /** NULL and a missing value are refused. */
  readonly required: boolean;
  readonly affinity: Affinity;
  /** A value that is left out is another than NULL. */
  readonly hasDefault: boolean;
  /** It never holds more than a number: the rowid, or a numeric column of a STRICT table. */
  readonly numeric: boolean;
}

/** One part of what tells rows apart, and puts them in order. */
export interface KeyPart {
  /** As SQL compares and sorts it. */
  readonly sql: string;
  /** The name of the column that it is; null for a rowid that is none. */
  readonly column: string | null;
  /** What follows its name where it is sorted; mostly nothing. */
  readonly collate: string;
}

export interface Table {
  readonly db: D1Database;
  readonly name: string;
  readonly quoted: string;
  /** Those that can be written: generated columns follow from them. */
  readonly columns: readonly Column[];
  /** Columns that the database computes: neither exported nor taken from an import. */
  readonly generated: ReadonlySet<string>;
  /** Of every row, never NULL, the same for no two: the rowid, or the primary key of a table WITHOUT ROWID. */
  readonly key: readonly KeyPart[];
  /** The columns of the declared primary key, in its order; empty where there is none. */
  readonly primaryKey: readonly Column[];
}

interface SchemaRow {
  readonly type: 'table' | 'view' | 'virtual' | 'shadow';
  readonly wr: number;
  readonly strict: number;
  readonly sql: string;
}

interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly notnull: number;
  readonly dflt_value: string | null;
  readonly pk: number;
  readonly hidden: number;
}

interface KeyRow {
  readonly name: string;
  readonly coll: string;
}

/** Something of this name is there, and it has no rows that can be exported or imported. */
export class TableUnsupported extends VaultError {
  /** `reason`: what it is, and what to do. */
  constructor(name: string, reason: string) {
    super('table-unsupported', `${shownName(name)} ${reason}`);
  }
}

/** A statement that names every column is longer than the database takes. */
export class TableTooWide extends VaultError {
  constructor({ name, columns }: Table) {
    super(
      'table-too-wide',
      `The ${columns.length} columns of ${shownName(name)} have names that are too long: one statement of the database ` +
        `takes ${D1_SQL_BYTES} bytes. Shorten the names.`,
    );
  }
}

/** Throws {@link TableTooWide} where the database would refuse the statement's text. */
export function checkStatement(table: Table, sql: string): void {
  // A character is at most three bytes of UTF-8 for each of its UTF-16 code units.
  if (3 * sql.length > D1_SQL_BYTES && Buffer.byteLength(sql) > D1_SQL_BYTES) throw new TableTooWide(table);
}

/** Tables of SQLite, of the platform and of migrations are nobody's data. */
const INTERNAL = /^(sqlite_|_cf_)|^d1_migrations$/i;

/** What a JSON path holds between quotes without escapes of its own, and JSON text writes in one way only. */
const PLAIN_MEMBER = /^[^"\\/\p{Cc}]+$/u;

const ROWID_NAMES = ['rowid', '_rowid_', 'oid'];

/**
 * Returns the table of that very name; null where there is none. Throws {@link TableUnsupported} for what is there and has
 * no rows of its own (a view, a virtual table), or none that are anybody's data.
 */
export async function openTable(db: D1Database, name: string): Promise<Table | null> {
  if (INTERNAL.test(name)) {
    throw new TableUnsupported(name, 'belongs to the database itself, and is neither exported nor imported.');
  }
  const [tables, columns, keys] = await db.batch<SchemaRow | ColumnRow | KeyRow>([
    db
      .prepare(
        `SELECT l.type, l.wr, l.strict, m.sql FROM sqlite_master m JOIN pragma_table_list l ON l.schema = 'main' AND l.name = m.name
          WHERE m.type IN ('table', 'view') AND m.name = ?1`,
      )
      .bind(name),
    db.prepare('SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?1)').bind(name),
    db
      .prepare(
        `SELECT x.name, x.coll FROM pragma_index_list(?1) i, pragma_index_xinfo(i.name) x
          WHERE i.origin = 'pk' AND x."key" = 1 ORDER BY x.seqno`,
      )
      .bind(name),
  ]);
  const [schema] = (tables?.results ?? []) as SchemaRow[];
  if (!schema) return null;
  checkType(name, schema);
  return describe(db, name, schema, (columns?.results ?? []) as ColumnRow[], (keys?.results ?? []) as KeyRow[]);
}

function checkType(name: string, { type, sql }: SchemaRow): void {
  switch (type) {
    case 'table':
      return;
    case 'view':
      throw new TableUnsupported(name, 'is a view, which has no rows of its own. Name the tables that it reads.');
    case 'shadow':
      throw new TableUnsupported(name, 'is a shadow table, which a virtual table keeps for itself.');
    case 'virtual': {
      const [, module = 'unknown'] = /\bUSING\s+"?(\w+)/i.exec(sql) ?? [];
      const reason = `is a virtual table (${module.toLowerCase()}), which cannot be read page by page. Name the table that it indexes.`;
      throw new TableUnsupported(name, reason);
    }
  }
}

function describe(db: D1Database, name: string, schema: SchemaRow, rows: ColumnRow[], keys: KeyRow[]): Table {
  const names = new Set(rows.map((row) => row.name));
  const written = rows.filter((row) => row.hidden === 0);
  const declared = written.filter((row) => row.pk > 0).sort((a, b) => a.pk - b.pk);
  // An INTEGER PRIMARY KEY is the rowid itself and has no index of its own.
  const alias = schema.wr === 0 && declared.length === 1 && keys.length === 0 ? declared[0] : undefined;
  const columns = written.map((row, place): Column => {
    const withDefault = row.dflt_value !== null || row === alias;
    return {
      name: row.name,
      quoted: identifier(row.name),
      member: PLAIN_MEMBER.test(row.name) ? row.name : standIn(place, names),
      required: row.notnull === 1 && !withDefault,
      affinity: affinityOf(row.type, schema.strict === 1),
      hasDefault: row.dflt_value !== null,
      numeric: row === alias || (schema.strict === 1 && /^(INT|INTEGER|REAL)$/i.test(row.type)),
    };
  });
  const key = schema.wr === 1 ? keyOf(schema, keys) : rowidOf(alias, names);
  if (columns.length === 0) throw new TableUnsupported(name, 'has only generated columns, so it has nothing to keep.');
  if (!key) {
    const reason = 'has columns named rowid, _rowid_ and oid, so its rows cannot be told apart. Rename one of them.';
    throw new TableUnsupported(name, reason);
  }
  const byName = new Map(columns.map((column) => [column.name, column]));
  return {
    db,
    name,
    quoted: identifier(name),
    columns,
    generated: new Set(rows.filter((row) => row.hidden > 0).map((row) => row.name)),
    key,
    primaryKey: declared.flatMap((row) => byName.get(row.name) ?? []),
  };
}

/**
 * In the order of the key's own index, whose collation may be another than its column's. Where the schema speaks of none,
 * neither do we: SQLite would look for the first part of a key only, and read over all rows that share it.
 */
function keyOf({ sql }: SchemaRow, keys: readonly KeyRow[]): KeyPart[] {
  const collated = /\bcollate\b/i.test(sql);
  return keys.map(({ name, coll }) => {
    const collate = collated ? ` COLLATE ${identifier(coll)}` : '';
    return { sql: `${identifier(name)}${collate}`, column: name, collate };
  });
}

/**
 * The rowid, under a name that no column has taken; of a table that took all three without being one of them, nothing
 * tells two equal rows apart. A declared key does worse in its place: its parts may be NULL (SQLite, "PRIMARY KEY").
 */
function rowidOf(alias: ColumnRow | undefined, names: ReadonlySet<string>): KeyPart[] | null {
  if (alias) return [{ sql: identifier(alias.name), column: alias.name, collate: '' }];
  const taken = new Set([...names].map((name) => name.toLowerCase()));
  const free = ROWID_NAMES.find((name) => !taken.has(name));
  return free === undefined ? null : [{ sql: free, column: null, collate: '' }];
}

/** A key that is no column's name. */
function standIn(place: number, names: ReadonlySet<string>): string {
  let member = `#${place}`;
  while (names.has(member)) member = `#${member}`;
  return member;
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A text of the schema as a literal of SQL. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
