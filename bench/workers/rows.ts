/**
 * Rows of the sample's table, in and out, with less around them than the vault has: what import and export are measured
 * against. Rows go in as the vault writes them, out of a body or out of memory; pages are read by the vault's own queries.
 */
import { RowInsertion } from '../../src/databases/insert-rows.ts';
import { type Page, readPage } from '../../src/databases/read-page.ts';
import { openTable, type Table } from '../../src/databases/table.ts';
import { type Env, services } from '../../src/services.ts';
import { parallelBatches } from '../../src/shared/batches.ts';
import {
  EXPORT_PAGE_ROWS,
  IMPORT_BATCH_BYTES,
  IMPORT_BATCH_ROWS,
  IMPORT_DEPTH,
  IMPORT_ROW_BYTES,
  UPLOAD_READ_BYTES,
} from '../../src/shared/limits.ts';
import { readPieces } from '../../src/shared/streams.ts';
import { jsonItems } from '../../src/transfer/json-items.ts';
import type { JsonItem } from '../../src/transfer/json-scanner.ts';

const BATCH = { items: IMPORT_BATCH_ROWS, weight: IMPORT_BATCH_BYTES, weigh: (item: JsonItem) => item.bytes };
const OPTIONS = {
  mode: 'insert',
  dryRun: false,
  queries: { take: () => undefined },
  onRefused(_: JsonItem, reason: string): never {
    throw new Error(`a row was refused: ${reason}`);
  },
} as const;

interface Query {
  readonly sql: string;
  readonly values: readonly unknown[];
}

/** What `keep` and `note-pages` were given. */
let kept: JsonItem[] = [];
let noted: Query[] = [];

/** `/bench/rows/…` */
export async function rows(request: Request, env: Env): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  const db = services(env).databases.get('sample');
  if (!db) throw new Error('this vault has no sample');
  const inFlight = Number(searchParams.get('in_flight') ?? 3);
  switch (pathname.slice('/bench/rows/'.length)) {
    case 'empty':
      return Response.json(await empty(db));
    case 'keep':
      return Response.json({ kept: await keep(request) });
    case 'write-kept':
      return Response.json(await write(db, kept, inFlight));
    case 'write':
      return Response.json(await write(db, items(request), inFlight));
    case 'note-pages':
      return Response.json(await notePages(db));
    case 'read-pages':
      return Response.json(await readNoted(db));
    case 'beside':
      return Response.json(await beside(db, Number(searchParams.get('steps'))));
    default:
      return new Response(null, { status: 404 });
  }
}

/** Says how many rows there were. */
async function empty(db: D1Database) {
  const rows = await db.prepare('SELECT count(*) AS rows FROM items').first<number>('rows');
  await db.prepare('DELETE FROM items').run();
  return { rows };
}

/** As importRows reads them. */
function items(request: Request): AsyncGenerator<JsonItem, void, undefined> {
  if (!request.body) throw new Error('no body');
  const options = { format: 'ndjson', maxItemBytes: IMPORT_ROW_BYTES, maxDepth: IMPORT_DEPTH } as const;
  return jsonItems(readPieces(request.body, UPLOAD_READ_BYTES), options);
}

async function keep(request: Request): Promise<number> {
  kept = [];
  for await (const item of items(request)) kept.push(item);
  return kept.length;
}

/** As importRows writes them, without a job. */
async function write(db: D1Database, rows: AsyncIterable<JsonItem> | Iterable<JsonItem>, concurrency: number) {
  const table = await sampleTable(db);
  let written = 0;
  const onWritten = (count: number) => {
    written += count;
  };
  const work = async (batch: readonly JsonItem[]) => {
    const insertion = await RowInsertion.begin<JsonItem>(table, { ...OPTIONS, onWritten });
    await insertion.add(batch);
    await insertion.end();
  };
  for await (const _ of parallelBatches(rows, BATCH, work, { concurrency }));
  return { written };
}

/** Reads all pages as an export does, and notes the queries that were made. */
async function notePages(db: D1Database) {
  noted = [];
  const table = { ...(await sampleTable(db)), db: noting(db) };
  let rows = 0;
  let after: string | null = null;
  do {
    const page: Page = await readPage(table, after, EXPORT_PAGE_ROWS);
    for (const _ of page.rows) rows += 1;
    after = page.after;
  } while (after !== null);
  return { queries: noted.length, rows };
}

/** The same queries once more, their rows dropped. */
async function readNoted(db: D1Database) {
  let rows = 0;
  for (const { sql, values } of noted) {
    const page = await db
      .prepare(sql)
      .bind(...values)
      .raw();
    rows += page.length;
  }
  return { rows };
}

/** A database that notes what is prepared and bound. */
function noting(db: D1Database): D1Database {
  return withMethod(db, 'prepare', (sql: string) => {
    const statement = db.prepare(sql);
    return withMethod(statement, 'bind', (...values: unknown[]) => {
      noted.push({ sql, values });
      return statement.bind(...values);
    });
  });
}

function withMethod<T extends object>(target: T, method: keyof T, replacement: unknown): T {
  return new Proxy(target, {
    get(_, name) {
      if (name === method) return replacement;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** When a statement of so many steps has ended, and when one of a single step that was begun after it, in milliseconds. */
async function beside(db: D1Database, steps: number) {
  const began = Date.now();
  const ended = async (count: number) => {
    const sql =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT max(i) AS i FROM n';
    await db.prepare(sql).bind(count).first();
    return Date.now() - began;
  };
  const alone = await ended(1);
  const [long, short] = await Promise.all([ended(steps), ended(1)]);
  return { alone, long: long - alone, short: short - alone };
}

async function sampleTable(db: D1Database): Promise<Table> {
  const table = await openTable(db, 'items');
  if (!table) throw new Error('the sample has no items');
  return table;
}
