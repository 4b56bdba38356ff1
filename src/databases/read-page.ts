/**
 * Rows of any table as JSON, page by page, with every value's type and all of its digits.
 *
 * The text of a row is made by SQLite, in the query that reads it. D1 hands numbers to JavaScript as doubles, which would
 * cost integers beyond 2^53 their last digits and a REAL its being one (1.0 and 1 differ in a column without a type);
 * what comes as text has lost nothing, and there is one value a row to hand over. SQLite prints a double with 17 digits,
 * which is enough to read the same one back.
 *
 *     NULL       null
 *     INTEGER    all digits, to ±2^63
 *     REAL       with a point or an exponent, always; 1e999 and -1e999 for the infinities; -0.0 keeps its sign
 *     TEXT       as JSON has it; NUL as \u0000
 *     BLOB       {"$base64":"…"}
 *
 * A BLOB leaves the query as hex between two control characters, which cannot stand in JSON text otherwise. TEXT that is
 * no UTF-8 would reach us with U+FFFD in its place: a page with such a character is read once more, as hex, which tells
 * a real one from damage; damage ends the export ({@link TextNotUtf8}), since JSON cannot hold it.
 */
import { Buffer } from 'node:buffer';
import { VaultError } from '../shared/errors.ts';
import { D1_VALUE_BYTES, EXPORT_PAGE_BYTES, EXPORT_PIECE_BYTES, EXPORT_SLICE_BYTES } from '../shared/limits.ts';
import { checkStatement, type KeyPart, literal, type Table } from './table.ts';

export interface Row {
  /** What to ask with for the rows after it. */
  readonly key: string;
  /** JSON, in pieces that are made as they are taken, once. */
  readonly text: Iterable<string>;
}

export interface Page {
  readonly rows: Iterable<Row>;
  /** What to ask for the next page with; null after the last. */
  readonly after: string | null;
}

/** Somebody stored bytes as TEXT that are none. */
export class TextNotUtf8 extends VaultError {
  constructor(table: string, cause?: unknown) {
    super('stored-data-corrupt', `A row of the table ${table} has text that is not UTF-8, which JSON cannot hold.`, {
      cause,
    });
  }
}

/** A row was written over and over while it was read in pieces. */
class RowKeepsChanging extends VaultError {
  constructor(table: string) {
    super('storage-failed', `A large row of the table ${table} changed while it was read. Try again.`);
  }
}

const MARK = '\u0001';
const REPLACED = '\uFFFD';
const NUMBER_BYTES = 26;
const BEFORE_BLOB = '{"$base64":"';
const AFTER_BLOB = '"}';
/** No more stands around a value in the query's text: quotes of its name, colon, comma, its own quotes or marks. */
const AROUND_BYTES = 16;
const READ_TRIES = 3;

/** Key of the row, what its text takes at most in bytes, and the text, which is missing where that is too much. */
type Read = [key: string, bytes: number, text: string | null];

/**
 * The rows whose keys come after `after` (null: from the first), in the order of their keys: at most `rows`, and no more
 * once they may take {@link EXPORT_PAGE_BYTES}, but always one. By key and not by OFFSET: the cost of a page does not
 * grow, and a row deleted meanwhile moves no other. One query, two where the text may be damaged, and two more for each
 * row that is larger than D1's longest text.
 */
export async function readPage(table: Table, after: string | null, rows: number): Promise<Page> {
  let read = await query(table, after, rows, 'text');
  if (read.some(([, , text]) => text?.includes(REPLACED))) {
    read = await query(table, after, rows, 'hex');
    const decode = decoder(table);
    read = read.map(([key, bytes, hex]) => [key, bytes, hex === null ? null : decode(Buffer.from(hex, 'hex'))]);
  }
  const found: Found[] = [];
  let bytes = 0;
  for (const [key, atMost, text] of read) {
    const row = text ?? (await readLargeRow(table, key));
    if (row !== null) found.push({ key, row });
    bytes += atMost;
  }
  const last = read.at(-1);
  const ended = read.length < rows && bytes < EXPORT_PAGE_BYTES;
  return { rows: rowTexts(table, found), after: last && !ended ? last[0] : null };
}

interface Found {
  readonly key: string;
  readonly row: string | LargeRow;
}

/** Small rows have their BLOBs converted a group at a time, so that little is held twice. */
function* rowTexts(table: Table, found: readonly Found[]): Generator<Row, void, undefined> {
  let keys: string[] = [];
  let group: string[] = [];
  let chars = 0;
  for (const { key, row } of found) {
    if (typeof row === 'string') {
      keys.push(key);
      group.push(row);
      chars += row.length;
      if (chars < EXPORT_PIECE_BYTES) continue;
    }
    yield* smallRows(keys, group);
    keys = [];
    group = [];
    chars = 0;
    if (typeof row !== 'string') yield { key, text: largeRowText(table, row) };
  }
  yield* smallRows(keys, group);
}

function* smallRows(keys: readonly string[], group: readonly string[]): Generator<Row, void, undefined> {
  for (const [place, text] of withBlobs(group).entries()) yield { key: keys[place] ?? '', text: [text] };
}

async function query(table: Table, after: string | null, rows: number, form: Form): Promise<Read[]> {
  const cursor = after === null ? [] : parseKey(after);
  return await table.db
    .prepare(queryText(table, cursor, form))
    .bind(...cursor.map(({ text }) => text), rows)
    .raw<Read>();
}

type Form = 'text' | 'hex';

function queryText(table: Table, cursor: readonly KeyValue[], form: Form): string {
  const source = sourceText(table, cursor.length === 0 ? '' : ` WHERE ${compareKey(table, '>', cursor)}`);
  const order = `ORDER BY ${table.key.map((part) => `${keyName(table, part)}${part.collate}`).join(', ')}`;
  const bytes = bytesOf(table);
  const text = form === 'text' ? rowText(table) : `hex(${rowText(table)})`;
  const fits = form === 'text' ? D1_VALUE_BYTES : D1_VALUE_BYTES / 2;
  const limit = `?${cursor.length + 1}`;
  // The lengths come first, out of the headers of records: nothing large is read that the page does not take.
  return `SELECT ${keyText(table)}, ${bytes}, CASE WHEN ${bytes} <= ${fits} THEN ${text} END FROM ${source} ${order}
    LIMIT (SELECT count(*) FROM (
      SELECT sum(bytes) OVER (ROWS UNBOUNDED PRECEDING) - bytes AS before
        FROM (SELECT ${bytes} AS bytes FROM ${source} ${order} LIMIT ${limit})
    ) WHERE before < ${EXPORT_PAGE_BYTES})`;
}

/** Columns of a result, also of one within a query (D1 limits). */
const RESULT_COLUMNS = 100;

/**
 * The columns under short names, since the query has each many times: long ones would make it longer than D1 takes. SQLite
 * reads such a query as if the expressions stood in its place, by the index of the key. A rowid beside as many columns as a
 * result may have makes a second one, of half of the columns.
 */
function sourceText(table: Table, where: string): string {
  const columns = table.columns.map(({ quoted }, place) => `${quoted} AS ${shortName(place)}`);
  const rowids = table.key.flatMap(({ sql, column }) => (column === null ? [sql] : []));
  const [rowid] = rowids;
  if (rowid === undefined || columns.length < RESULT_COLUMNS) {
    const keys = rowids.map((sql) => `${sql} AS ${ROWID}`);
    return `(SELECT ${[...keys, ...columns].join(', ')} FROM ${table.quoted}${where})`;
  }
  const half = columns.length >> 1;
  return `(SELECT ${rowid} AS ${ROWID}, ${columns.slice(0, half).join(', ')} FROM ${table.quoted}${where}) AS a
    JOIN (SELECT ${rowid} AS other, ${columns.slice(half).join(', ')} FROM ${table.quoted}) AS b ON b.other = a.${ROWID}`;
}

/** Throws TableTooWide where the database does not take the longest query that reads the table. */
export function checkReadable(table: Table): void {
  const longestKey = table.key.map(() => ({ kind: 't', text: '' }));
  checkStatement(table, queryText(table, longestKey, 'hex'));
}

function shortName(place: number): string {
  return `c${place}`;
}

/** A rowid that is no column of its own. */
const ROWID = 'k';

/** The name of a key's part: that of its column, where it is one. */
function keyName(table: Table, { column }: KeyPart): string {
  const place = table.columns.findIndex(({ name }) => name === column);
  return place < 0 ? ROWID : shortName(place);
}

/** What the row's text takes at most: six bytes for a control character, two for a byte of a BLOB. */
function bytesOf(table: Table): string {
  const names = table.columns.reduce((sum, { name }) => sum + 6 * Buffer.byteLength(name) + AROUND_BYTES, 2);
  const sized = table.columns.flatMap(({ numeric }, place) => {
    const name = shortName(place);
    if (numeric) return [];
    return `CASE typeof(${name}) WHEN 'text' THEN 6 * octet_length(${name}) WHEN 'blob' THEN 2 * octet_length(${name}) ELSE ${NUMBER_BYTES} END`;
  });
  return balanced([String(names + NUMBER_BYTES * (table.columns.length - sized.length)), ...sized], '+');
}

function rowText(table: Table): string {
  const pieces = table.columns.flatMap(({ name }, place) => {
    const value = shortName(place);
    return [
      literal(`${place === 0 ? '{' : ','}${JSON.stringify(name)}:`),
      `CASE typeof(${value}) WHEN 'blob' THEN char(1) || hex(${value}) || char(1)
        WHEN 'real' THEN ${realText(value)} ELSE json_quote(${value}) END`,
    ];
  });
  return balanced([...pieces, "'}'"], '||');
}

/** `json_quote` prints an infinity as 9.0e+999, and zero without its sign. */
function realText(value: string): string {
  return `CASE ${value} WHEN 0.0 THEN CASE WHEN atan2(${value}, -1.0) < 0 THEN '-0.0' ELSE '0.0' END
    WHEN 9e999 THEN '1e999' WHEN -9e999 THEN '-1e999' ELSE json_quote(${value}) END`;
}

/** Terms joined so that the expression is as flat as can be: D1 takes a depth of 100, and a table has as many columns. */
function balanced(terms: readonly string[], operator: string): string {
  if (terms.length <= 1) return terms[0] ?? "''";
  const middle = terms.length >> 1;
  return `(${balanced(terms.slice(0, middle), operator)} ${operator} ${balanced(terms.slice(middle), operator)})`;
}

/**
 * The rows with their BLOBs as they are told. All of a group at once, and all BLOBs through one buffer: what a row costs
 * alone is six times as much. JSON text of SQLite has no line breaks, so they may stand between the rows meanwhile.
 */
function withBlobs(rows: readonly string[]): readonly string[] {
  if (!rows.some((row) => row.includes(MARK))) return rows;
  const pieces = rows.join('\n').split(MARK);
  const bytes = Buffer.from(pieces.filter((_, place) => place % 2 === 1).join(''), 'hex');
  let at = 0;
  for (let place = 1; place < pieces.length; place += 2) {
    const end = at + (pieces[place] ?? '').length / 2;
    pieces[place] = BEFORE_BLOB + bytes.toString('base64', at, end) + AFTER_BLOB;
    at = end;
  }
  return pieces.join('').split('\n');
}

/** @returns `decode` of a decoder of its own, which knows whose text it was */
function decoder(table: Table): TextDecoder['decode'] {
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  return (...input) => {
    try {
      return strict.decode(...input);
    } catch (cause) {
      throw new TextNotUtf8(table.name, cause);
    }
  };
}

/**
 * A row's key as text, exact whatever it is: a letter for its type and its digits, of TEXT and BLOB those of its bytes;
 * the parts separated by commas.
 */
function keyText(table: Table): string {
  const parts = table.key.map((part) => {
    const value = keyName(table, part);
    return `CASE typeof(${value}) WHEN 'integer' THEN 'i' || (${value}) WHEN 'real' THEN 'r' || json_quote(${value})
      WHEN 'text' THEN 't' || hex(${value}) ELSE 'b' || hex(${value}) END`;
  });
  return balanced(
    parts.flatMap((part, place) => (place === 0 ? [part] : ["','", part])),
    '||',
  );
}

interface KeyValue {
  readonly kind: string;
  readonly text: string;
}

function parseKey(key: string): KeyValue[] {
  return key.split(',').map((part) => ({ kind: part.slice(0, 1), text: part.slice(1) }));
}

/** The plus takes the affinity away that a cast has: a column's values are compared as they are, and by its index. */
const AS_STORED: Readonly<Record<string, (bound: string) => string>> = {
  i: (bound) => `+CAST(${bound} AS INTEGER)`,
  r: (bound) => `+CAST(${bound} AS REAL)`,
  t: (bound) => `+CAST(unhex(${bound}) AS TEXT)`,
  b: (bound) => `unhex(${bound})`,
};

/** The key against values that are bound from the first on. */
function compareKey(table: Table, operator: '>' | '=', values: readonly KeyValue[]): string {
  const right = values.map(({ kind }, place) => AS_STORED[kind]?.(`?${place + 1}`)).join(', ');
  return `(${table.key.map(({ sql }) => sql).join(', ')}) ${operator} (${right})`;
}

/** The type of a value, and its length in bytes; of a number its text. */
type Outline = [type: 'null' | 'integer' | 'real' | 'text' | 'blob', length: number | string];

/** A row whose JSON is longer than D1's longest text may be. */
interface LargeRow {
  readonly outline: readonly Outline[];
  /** Of each column its string or BLOB. */
  readonly bytes: readonly Buffer[];
}

/** Reads strings and BLOBs in slices, as bytes, in one transaction. Null where the row is gone by now. */
async function readLargeRow(table: Table, key: string): Promise<LargeRow | null> {
  const values = parseKey(key);
  const columns = table.columns.map(({ quoted }, place) => `${quoted} AS ${shortName(place)}`);
  const where = `FROM (SELECT ${columns.join(', ')} FROM ${table.quoted} WHERE ${compareKey(table, '=', values)})`;
  const prepare = (what: string) =>
    table.db.prepare(`SELECT ${what} AS piece ${where}`).bind(...values.map(({ text }) => text));
  const outlining = prepare(outlineText(table));
  let known = await outlining.first<string>('piece');
  for (let tries = 0; tries < READ_TRIES; tries++) {
    if (known === null) return null;
    const outline: Outline[] = JSON.parse(known);
    const slices = slicesOf(table, outline);
    const results = await table.db.batch<{ piece: string }>([outlining, ...slices.map(({ sql }) => prepare(sql))]);
    const [now, ...pieces] = results.map(({ results: [row] }) => row?.piece ?? null);
    if (now === known) return { outline, bytes: outline.map((_, place) => bytesAt(place, slices, pieces)) };
    known = now ?? null;
  }
  throw new RowKeepsChanging(table.name);
}

interface Slice {
  /** The column's place in the table. */
  readonly place: number;
  readonly sql: string;
}

function slicesOf(table: Table, outline: readonly Outline[]): Slice[] {
  return table.columns.flatMap((_, place) => {
    const [type, length] = outline[place] ?? [];
    if ((type !== 'text' && type !== 'blob') || typeof length !== 'number') return [];
    return Array.from({ length: Math.ceil(length / EXPORT_SLICE_BYTES) }, (_, n) => ({
      place,
      sql: `hex(substr(CAST(${shortName(place)} AS BLOB), ${n * EXPORT_SLICE_BYTES + 1}, ${EXPORT_SLICE_BYTES}))`,
    }));
  });
}

function bytesAt(place: number, slices: readonly Slice[], pieces: readonly (string | null)[]): Buffer {
  const ofPlace = pieces.filter((_, n) => slices[n]?.place === place);
  return Buffer.concat(ofPlace.map((piece) => Buffer.from(piece ?? '', 'hex')));
}

function outlineText(table: Table): string {
  const outlines = table.columns.map((_, place) => {
    const value = shortName(place);
    return `'["' || typeof(${value}) || '",' || CASE WHEN typeof(${value}) IN ('text', 'blob') THEN octet_length(${value})
      WHEN typeof(${value}) = 'real' THEN json_quote(${realText(value)}) ELSE json_quote('' || coalesce(${value}, 'null')) END || ']'`;
  });
  return balanced(["'['", ...outlines.flatMap((one, place) => (place === 0 ? [one] : ["','", one])), "']'"], '||');
}

function* largeRowText(table: Table, { outline, bytes }: LargeRow): Generator<string, void, undefined> {
  for (const [place, { name }] of table.columns.entries()) {
    yield `${place === 0 ? '{' : ','}${JSON.stringify(name)}:`;
    const [type, digits] = outline[place] ?? ['null', 'null'];
    const value = bytes[place] ?? Buffer.alloc(0);
    if (type === 'blob') yield* largeBlob(value);
    else if (type === 'text') yield* largeText(table, value);
    else yield String(digits);
  }
  yield '}';
}

function* largeBlob(bytes: Buffer): Generator<string, void, undefined> {
  yield BEFORE_BLOB;
  for (const piece of inPieces(bytes)) yield piece.toString('base64');
  yield AFTER_BLOB;
}

function* largeText(table: Table, bytes: Buffer): Generator<string, void, undefined> {
  yield '"';
  const decode = decoder(table);
  for (const piece of inPieces(bytes)) yield JSON.stringify(decode(piece, { stream: true })).slice(1, -1);
  // Throws where the last character is cut short.
  decode();
  yield '"';
}

function* inPieces(bytes: Buffer): Generator<Buffer, void, undefined> {
  for (let at = 0; at < bytes.length; at += EXPORT_PIECE_BYTES) yield bytes.subarray(at, at + EXPORT_PIECE_BYTES);
}
