/**
 * Pages of backups. No page scans the table, whatever is asked for (docs/decisions/0023-names-and-versions.md):
 *
 * - in the order of ids, or of the versions of one name, a page walks along an index and ends after
 *   {@link LISTING_WALK_ROWS} rows, also if it is not full by then; its cursor continues there;
 * - with a delimiter it seeks from one name or folded prefix to the next, and never reads what lies below a prefix but
 *   for its first rows.
 *
 * Every range of ids and names has two bounds, so that each step is a SEARCH in SQLite's query plan.
 */
import { encodeTime } from 'ulidx';
import { LISTING_PREFIX_ROWS, LISTING_SORTED_ROWS, LISTING_WALK_ROWS } from '../shared/limits.ts';
import { BACKUP_COLUMNS, type Backup, type BackupRow, backupOf } from './backups.ts';
import { cursorOf, InvalidCursor, isUlid, placeIn, textIn } from './pages.ts';

export interface BackupQuery {
  /** Only versions of exactly this name. Not together with `prefix` or `delimiter`. */
  readonly name?: string | undefined;
  /** A string prefix of the name, without wildcards. Empty or absent: all backups. */
  readonly prefix?: string | undefined;
  /** Folds names that have one behind the prefix into `prefixes`; the page is then in the order of names. */
  readonly delimiter?: '/' | undefined;
  /** Only uploads that began before, and at or after, a time: milliseconds since the epoch. */
  readonly before?: number | undefined;
  readonly after?: number | undefined;
  /** Only backups that are known to be damaged. */
  readonly damaged?: boolean | undefined;
  /** From the page before; null or absent: the first page. */
  readonly cursor?: string | null | undefined;
  /** Backups and prefixes of the page, at least 1. */
  readonly limit: number;
}

export interface BackupPage {
  readonly backups: Backup[];
  /** With a delimiter: folded names, each up to and with the delimiter. */
  readonly prefixes: string[];
  /** Cursor of the next page; null on the last page. A page with fewer items than `limit` may have a next one. */
  readonly cursor: string | null;
}

/**
 * A page of backups that have not expired, newest first; with a delimiter by name, and the versions of a name newest
 * first. Throws InvalidCursor.
 */
export async function listBackups(db: D1Database, query: BackupQuery, now = Date.now()): Promise<BackupPage> {
  const { name, prefix = '', delimiter, before, after, damaged = false, cursor, limit } = query;
  const ids = { below: before === undefined ? ABOVE_ALL_IDS : firstIdAt(before), from: firstIdAt(after ?? 0) };
  const page: PageQuery = { db, ids, prefix, limit, now: new Date(now).toISOString(), rows: damaged ? DAMAGED : ALL };
  return delimiter === undefined
    ? pageById(page, name, placeIn(cursor))
    : pageByName(page, placeByName(cursor, prefix));
}

/** Text above every ULID. */
const ABOVE_ALL_IDS = '~';

/** ULIDs of uploads that began at or after a time are at or above this one. */
function firstIdAt(ms: number): string {
  return `${encodeTime(Math.max(0, ms), 10)}${'0'.repeat(16)}`;
}

/** The lower of two ids, where there are two. */
function lower(one: string | null, other: string): string {
  return one !== null && one < other ? one : other;
}

/** The rows that a listing is of, as parts of SQL: which indexes have them in the order of ids and of names. */
interface Rows {
  readonly byId: string;
  readonly byName: string;
  /** The condition of these indexes, as they are partial: SQLite uses one only where the query has it too. */
  readonly only: string;
}

const ALL: Rows = { byId: 'backups', byName: 'backups INDEXED BY backups_name', only: 'true' };
const DAMAGED: Rows = {
  byId: 'backups INDEXED BY backups_damaged',
  byName: 'backups INDEXED BY backups_damaged_name',
  only: 'damage IS NOT NULL',
};

interface PageQuery {
  readonly db: D1Database;
  readonly rows: Rows;
  /** Ids at or above `from`, and below `below`. */
  readonly ids: { readonly from: string; readonly below: string };
  readonly prefix: string;
  readonly limit: number;
  /** ISO 8601. */
  readonly now: string;
}

async function pageById(page: PageQuery, name: string | undefined, place: string | null): Promise<BackupPage> {
  const { ids, limit } = page;
  const { backups, next } = await walked(page.db, await walkById(page, lower(place, ids.below), name), limit);
  return { backups, prefixes: [], cursor: next && cursorOf(next.backup_id) };
}

/** A walk over rows in their order, and which of them are listed. */
interface Walk {
  /** SELECT without LIMIT. */
  readonly select: string;
  readonly values: readonly unknown[];
  /** A condition; its parameters are numbered after those of `select`. */
  readonly listed: string;
  readonly listedValues: readonly unknown[];
}

async function walkById(page: PageQuery, below: string, name: string | undefined): Promise<Walk> {
  const { rows, ids, prefix, now } = page;
  const select = (from: string, where: string) =>
    `SELECT * FROM ${from} WHERE ${rows.only} AND ${where} backup_id < ?1 AND backup_id >= ?2 ORDER BY backup_id DESC`;
  const values = [below, ids.from];
  if (name !== undefined) {
    return {
      select: select(rows.byName, 'name = ?3 AND'),
      values: [...values, name],
      listed: isAlive('?4'),
      listedValues: [now],
    };
  }
  const range = [prefix, firstTextAbove(prefix)];
  if (prefix === '') return { select: select(rows.byId, ''), values, listed: isAlive('?3'), listedValues: [now] };
  if (await isSorted(page)) {
    return {
      select: select(rows.byName, `${isBetween('?3', '?4')} AND`),
      values: [...values, ...range],
      listed: isAlive('?5'),
      listedValues: [now],
    };
  }
  return {
    select: select(rows.byId, ''),
    values,
    listed: `${isAlive('?3')} AND ${isBetween('?4', '?5')}`,
    listedValues: [now, ...range],
  };
}

/** Whether so few backups have the prefix that each page sorts them: walking over all others would take longer. */
async function isSorted({ db, rows, prefix }: PageQuery): Promise<boolean> {
  const count = await db
    .prepare(
      `SELECT count(*) AS n FROM (
         SELECT 1 FROM ${rows.byName} WHERE ${rows.only} AND ${isBetween('?1', '?2')} LIMIT ${LISTING_SORTED_ROWS + 1}
       )`,
    )
    .bind(prefix, firstTextAbove(prefix))
    .first<number>('n');
  return count !== null && count <= LISTING_SORTED_ROWS;
}

interface Place {
  readonly name: string;
  readonly backup_id: string;
}

/** Up to `limit` rows of a walk that are listed, and the last row of those that are done with; null where that is all. */
async function walked(
  db: D1Database,
  { select, values, listed, listedValues }: Walk,
  limit: number,
): Promise<{ readonly backups: Backup[]; readonly next: Place | null }> {
  const bounded = `${select} LIMIT ${LISTING_WALK_ROWS}`;
  const { results, meta } = await db
    .prepare(`SELECT ${BACKUP_COLUMNS} FROM (${bounded}) WHERE ${listed} LIMIT ${limit + 1}`)
    .bind(...values, ...listedValues)
    .all<BackupRow>();
  const backups = results.slice(0, limit).map(backupOf);
  if (results.length > limit) return { backups, next: results[limit - 1] ?? null };
  // Fewer rows were read than the walk may have: it came to its end.
  if (meta.rows_read < LISTING_WALK_ROWS) return { backups, next: null };
  const next = await db
    .prepare(`SELECT name, backup_id FROM (${bounded}) LIMIT 1 OFFSET ${LISTING_WALK_ROWS - 1}`)
    .bind(...values)
    .first<Place>();
  return { backups, next };
}

function isAlive(now: string): string {
  return `(expires_at IS NULL OR expires_at > ${now})`;
}

/** A range of names. Every text is below every BLOB (https://www.sqlite.org/datatype3.html, section 4.1). */
function isBetween(from: string, below: string): string {
  return `name >= ${from} AND name < coalesce(${below}, x'')`;
}

/** The first text that is above all those with this prefix, in the order of UTF-8; null where there is none. */
function firstTextAbove(prefix: string): string | null {
  const points = Array.from(prefix, (point) => point.codePointAt(0) ?? 0);
  while (points.length > 0) {
    const last = points.pop() ?? 0;
    // U+D800 to U+DFFF are no characters (Unicode, section 3.8).
    const next = last === 0xd7ff ? 0xe000 : last + 1;
    if (next <= 0x10ffff) return String.fromCodePoint(...points, next);
  }
  return null;
}

/** The start of a page in the order of names: behind an item, or within its versions. */
interface ItemPlace {
  readonly item: string;
  /** The last version that is done with; null: the whole item is. */
  readonly backup_id: string | null;
}

/** Such a cursor is the id, if any, a colon, and the name or folded prefix. */
function placeByName(cursor: string | null | undefined, prefix: string): ItemPlace | null {
  if (!cursor) return null;
  const text = textIn(cursor);
  const colon = text.indexOf(':');
  const [id, item] = [text.slice(0, Math.max(colon, 0)), text.slice(colon + 1)];
  if (colon < 0 || item === '' || !item.startsWith(prefix) || !(id === '' || isUlid(id))) throw new InvalidCursor();
  return { item, backup_id: id === '' ? null : id };
}

async function pageByName(page: PageQuery, place: ItemPlace | null): Promise<BackupPage> {
  const { db, rows, ids, limit, now } = page;
  const items = await itemsFrom(page, place);
  const names = items
    .slice(0, limit)
    .filter(({ item }) => !isPrefix(item))
    .map(({ item }) => ({ name: item, below: lower(item === place?.item ? place.backup_id : null, ids.below) }));
  // CROSS JOIN keeps the names in the outer loop, in their order, and the index has the versions of each in theirs. ORDER
  // BY would say so too, and would have SQLite read all versions of all names to sort them.
  const { backups, next } = await walked(
    db,
    {
      select: `SELECT backups.* FROM json_each(?1) AS named CROSS JOIN ${rows.byName}
               WHERE ${rows.only} AND name = named.value ->> 'name'
                 AND backup_id < named.value ->> 'below' AND backup_id >= ?2`,
      values: [JSON.stringify(names), ids.from],
      listed: isAlive('?3'),
      listedValues: [now],
    },
    limit,
  );
  return foldedPage(items, backups, next, limit);
}

interface Item {
  /** A name, or a folded prefix, which ends in the delimiter as no name does. */
  readonly item: string;
  readonly listed: boolean;
}

function isPrefix(item: string): boolean {
  return item.endsWith('/');
}

/**
 * The first `limit + 1` names and folded prefixes from a place on. Each is found by one seek: what follows a name is the
 * next name above it, and what follows `a/b/` is the first name at or above `a/b0`, since "0" comes after "/".
 */
async function itemsFrom({ db, rows, ids, prefix, limit, now }: PageQuery, place: ItemPlace | null): Promise<Item[]> {
  const behindPrefix = `substr(name, length(?1) + 1)`;
  const folded = `CASE instr(${behindPrefix}, '/') WHEN 0 THEN name
                  ELSE substr(name, 1, length(?1) + instr(${behindPrefix}, '/')) END`;
  const firstItem = (from: string) =>
    `(SELECT ${folded} FROM ${rows.byName} WHERE ${rows.only} AND ${isBetween(from, '?2')} ORDER BY name LIMIT 1)`;
  const below = `name >= item AND name < ${BEHIND_ITEM}`;
  const { results } = await db
    .prepare(
      `WITH RECURSIVE items(item) AS (
         SELECT ${firstItem('?3')}
         UNION ALL
         SELECT ${firstItem(BEHIND_ITEM)} FROM items WHERE item IS NOT NULL
         LIMIT ${limit + 1}
       )
       SELECT item, CASE
         WHEN substr(item, -1) <> '/' THEN 1
         WHEN EXISTS (
           SELECT 1 FROM (SELECT backup_id, expires_at FROM ${rows.byName} WHERE ${rows.only} AND ${below} LIMIT ?7)
           WHERE backup_id < ?4 AND backup_id >= ?5 AND ${isAlive('?6')}
         ) THEN 1
         ELSE EXISTS (SELECT 1 FROM ${rows.byName} WHERE ${rows.only} AND ${below} LIMIT 1 OFFSET ?7)
       END AS listed
       FROM items WHERE item IS NOT NULL`,
    )
    .bind(prefix, firstTextAbove(prefix), startOf(prefix, place), ids.below, ids.from, now, rowsBelowPrefix(limit))
    .all<{ item: string; listed: number }>();
  return results.map(({ item, listed }) => ({ item, listed: listed === 1 }));
}

/** The least text above `item` and all that is folded into it. Names have no control characters. */
const BEHIND_ITEM = `CASE substr(item, -1) WHEN '/' THEN substr(item, 1, length(item) - 1) || '0' ELSE item || char(1) END`;

/** The same of the place where a page begins. */
function startOf(prefix: string, place: ItemPlace | null): string {
  if (place === null) return prefix;
  if (isPrefix(place.item)) return `${place.item.slice(0, -1)}0`;
  return place.backup_id === null ? `${place.item}\u0001` : place.item;
}

/** Rows that a page looks at below each prefix, for one that it may list; where all of more are none, it is listed too. */
function rowsBelowPrefix(limit: number): number {
  return Math.max(LISTING_PREFIX_ROWS, Math.floor(LISTING_WALK_ROWS / (2 * (limit + 1))));
}

/** Joins items and the versions of those that are names, in the order of the items, and cuts the page at `limit`. */
function foldedPage(
  items: readonly Item[],
  versions: readonly Backup[],
  next: Place | null,
  limit: number,
): BackupPage {
  const backups: Backup[] = [];
  const prefixes: string[] = [];
  const byName = Map.groupBy(versions, ({ name }) => name);
  let done: ItemPlace | null = null;
  const page = (isLast: boolean): BackupPage => {
    return { backups, prefixes, cursor: isLast || !done ? null : cursorOf(`${done.backup_id ?? ''}:${done.item}`) };
  };
  const isFull = () => backups.length + prefixes.length === limit;
  for (const { item, listed } of items.slice(0, limit)) {
    if (isPrefix(item)) {
      if (isFull()) return page(false);
      if (listed) prefixes.push(item);
    }
    for (const version of byName.get(item) ?? []) {
      if (isFull()) return page(false);
      backups.push(version);
      done = { item, backup_id: version.backup_id };
    }
    if (item === next?.name) return { ...page(true), cursor: cursorOf(`${next.backup_id}:${next.name}`) };
    done = { item, backup_id: null };
  }
  return page(items.length <= limit);
}
