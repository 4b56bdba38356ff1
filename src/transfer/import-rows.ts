import { ulid } from 'ulidx';
import { pipeline } from '../codec/pipeline.ts';
import { meter } from '../codec/stages.ts';
import { RowInsertion } from '../databases/insert-rows.ts';
import type { QueryAllowance } from '../databases/row-links.ts';
import type { InsertMode } from '../databases/row-statements.ts';
import type { Table } from '../databases/table.ts';
import { JobCancelled, type JobPublisher, type JobRooms, JobRunning } from '../progress/publisher.ts';
import { parallelBatches } from '../shared/batches.ts';
import { VaultError } from '../shared/errors.ts';
import type { IsolateMemory, Share } from '../shared/isolate-memory.ts';
import {
  HELD_ROWS_BYTES,
  HELD_ROWS_STEP_BYTES,
  IMPORT_BATCH_BYTES,
  IMPORT_BATCH_ROWS,
  IMPORT_DEPTH,
  IMPORT_ROW_BYTES,
  JSON_ITEM_VALUES,
  MIB,
} from '../shared/limits.ts';
import { shownName } from '../shared/shown-name.ts';
import { type Pieces, retold, untilAborted } from '../shared/streams.ts';
import { jsonItems } from './json-items.ts';
import type { JsonFormat, JsonItem } from './json-scanner.ts';
import { ItemTooLarge, MalformedJson } from './malformed-json.ts';

export interface ImportRooms {
  readonly jobs: JobRooms;
  readonly memory: IsolateMemory;
}

export interface ImportOrder {
  readonly job_id: string;
  readonly token_id?: string | null;
  /** The backup that is restored, if it is one. */
  readonly backup?: { readonly backup_id: string; readonly filename: string } | undefined;
  /** Of the table's database, as clients know it. */
  readonly database: string;
  readonly table: Table;
  readonly mode: InsertMode;
  readonly dry_run: boolean;
  /** Refused rows that are only told; one more stops the import. */
  readonly max_errors: number;
  readonly format: JsonFormat;
  /** A document of nothing is malformed. Without it, nothing is no rows, unless `format` is `json`. */
  readonly needs_value?: boolean;
  /** A refused row fails the import, when all others are written. */
  readonly require_all?: boolean;
  /** Statements that may run for the rows. */
  readonly max_queries: number;
  /** Bytes that `content` will have; 0 where unknown. Only what is shown rests on it. */
  readonly total: number;
  /** Whether `total` is a promise (Content-Length): fewer bytes are then a cut document, whatever they say. */
  readonly exact: boolean;
  /** Its task. */
  readonly operation: 'import' | 'restore';
  /**
   * As it comes; `document` makes JSON of it where it is something else. A source that may wait long is given as a
   * function: it gets a signal that aborts when nothing is read of it any more.
   */
  readonly content: Pieces | ((signal: AbortSignal) => Pieces);
  readonly document?: (content: Pieces) => Pieces;
}

export interface RefusedRow {
  /** Its place among the rows of the document, counted from 0. */
  readonly index: number;
  /** Of its first byte in the document. */
  readonly offset: number;
  readonly reason: string;
}

export interface ImportCounts {
  readonly read: number;
  /** Rows that are in the table now; of a dry run those that would be. */
  readonly written: number;
  /** In the order of the document. */
  readonly refused: readonly RefusedRow[];
}

export interface ImportResult extends ImportCounts {
  readonly job_id: string;
  readonly dry_run: boolean;
}

export class ImportInterrupted extends VaultError {
  constructor(reason = 'The connection ended before the whole document had arrived.', options?: ErrorOptions) {
    super('import-interrupted', `${reason} Start it again with mode=upsert.`, options);
  }
}

class TooManyErrors extends VaultError {
  constructor(maxErrors: number) {
    super('too-many-errors', `More than ${maxErrors} rows were refused, the most that max_errors allows.`);
  }
}

/** Rows that depend on others are held, and they are too many. */
class TooManyHeldRows extends VaultError {
  constructor(dryRun: boolean) {
    const most = `${HELD_ROWS_BYTES / MIB} MiB`;
    super(
      'too-many-rows',
      dryRun
        ? `A dry run checks at most ${most} of rows, because all of them are one transaction. Send the document in parts, or without dry_run.`
        : `More than ${most} of rows refer to rows that have not come yet. Put rows before those that refer to them.`,
    );
  }
}

class RowsRefused extends VaultError {
  constructor(refused: number) {
    super(
      'rows-refused',
      `${refused === 1 ? '1 row was' : `${refused} rows were`} refused, and require=all allows none.`,
    );
  }
}

class TooManyRows extends VaultError {
  constructor(maxQueries: number, options?: ErrorOptions) {
    const detail = `The document needs more than the ${maxQueries} queries that one request may make. Send it in parts.`;
    super('too-many-rows', detail, options);
  }
}

class DatabaseFailed extends VaultError {
  constructor(cause: unknown) {
    const detail = 'The database failed; rows that it was writing may be there uncounted. Try again with mode=upsert.';
    super('storage-failed', detail, { cause });
  }
}

/** An import that began and did not come to its end: why, and how far it had come. D1 has no transaction over batches. */
class ImportStopped extends VaultError {
  constructor(reason: VaultError, { read, written, refused }: ImportCounts, { job_id, dry_run }: ImportOrder) {
    const stays = dry_run
      ? 'a dry run keeps none'
      : written === 0
        ? 'none was written'
        : `${written} are written, and stay`;
    super(reason.code, `${reason.message} Of the rows, ${read} were read before that; ${stays}.`, {
      cause: reason.cause ?? reason,
      facts: { ...reason.facts, read, written, refused, job_id, dry_run },
    });
  }
}

/**
 * The way of rows into a table, top to bottom: content → items of JSON → batches → statements, one batch after the other
 * while the next one is read. Resolves when the document was read to its end; rejects with ImportStopped and the counts
 * where it was not: batches that were written stay. Rows before malformed JSON are written; those on their way when the
 * sender leaves, or when too many were refused, may be.
 */
export async function importRows(rooms: ImportRooms, order: ImportOrder): Promise<ImportResult> {
  const run = await beginRun(rooms, order);
  const held = new HeldRows(run, rooms.memory);
  try {
    await writeBatches(run, rooms.memory, held);
    if (order.require_all && run.refused.length > 0) throw new RowsRefused(run.refused.length);
    await endDone(run);
    const { job_id, dry_run } = order;
    return { job_id, dry_run, ...countsOf(run) };
  } catch (error) {
    const reason = error instanceof VaultError ? error : new VaultError('internal-error', FAILED, { cause: error });
    const stopped = new ImportStopped(reason, countsOf(run), order);
    await endFailed(run, reason, stopped);
    throw stopped;
  } finally {
    held.release();
  }
}

/** The memory of rows that are held, claimed step by step. */
class HeldRows {
  readonly #run: Run;
  readonly #memory: IsolateMemory;
  readonly #shares: Share[] = [];

  constructor(run: Run, memory: IsolateMemory) {
    this.#run = run;
    this.#memory = memory;
  }

  /** Throws {@link TooManyHeldRows}, and VaultBusy where other imports hold too much. */
  async hold(bytes: number): Promise<void> {
    const { job_id, dry_run } = this.#run.order;
    if (bytes > HELD_ROWS_BYTES) throw new TooManyHeldRows(dry_run);
    while (this.#shares.length * HELD_ROWS_STEP_BYTES < bytes) {
      this.#shares.push(await this.#memory.heldRows.acquire(job_id, this.#run.job.signal));
    }
  }

  release(): void {
    for (const share of this.#shares) share.release();
  }
}

const FAILED = 'The import failed.';
const TAKEN_OVER = 'The job was taken over while this import ran.';

/** One import while it runs. */
interface Run {
  readonly order: ImportOrder;
  readonly job: JobPublisher;
  bytes: number;
  read: number;
  written: number;
  readonly refused: RefusedRow[];
  /** What ends the document before its end. */
  malformed: MalformedJson | ItemTooLarge | null;
}

async function beginRun({ jobs }: ImportRooms, order: ImportOrder): Promise<Run> {
  const run_id = ulid();
  const { job_id, token_id, backup, operation: task, total } = order;
  const message = `Waiting to import into ${placeOf(order)}`;
  const of = { backup_id: backup?.backup_id, filename: backup?.filename };
  const begun = await jobs.begin({ task, job_id, run_id, ...of, token_id: token_id ?? null, total, message });
  if (begun.kind === 'running') throw new JobRunning(job_id, begun.holder);
  const job = jobs.publisher(job_id, run_id, task);
  return { order, job, bytes: 0, read: 0, written: 0, refused: [], malformed: null };
}

/** Reads the document to its end, or to where it is malformed, and writes what was read by then. */
async function writeBatches(run: Run, memory: IsolateMemory, held: HeldRows): Promise<void> {
  const { table, mode, dry_run: dryRun, format, needs_value = false, document = (content) => content } = run.order;
  const queries = allowance(run.order.max_queries);
  const insertion = await RowInsertion.begin<JsonItem>(table, {
    mode,
    dryRun,
    queries,
    onWritten(count) {
      run.written += count;
    },
    onRefused: (item, reason) => refuse(run, item, reason),
    onHeld: (bytes) => held.hold(bytes),
  });
  const options = { format, needsValue: needs_value, maxItemBytes: IMPORT_ROW_BYTES, maxDepth: IMPORT_DEPTH };
  const items = (signal: AbortSignal) => wholeItems(run, jsonItems(document(metered(run, signal)), options));
  const size = { items: IMPORT_BATCH_ROWS, weight: IMPORT_BATCH_BYTES, weigh: (item: JsonItem) => item.bytes };
  const work = (batch: readonly JsonItem[]) => writeInTurn(run, memory, insertion, batch);
  // One at a time, because rows depend on those before them.
  for await (const _ of parallelBatches(items, size, work, { concurrency: 1 })) checkAlive(run);
  await writing(run, () => insertion.end());
  if (run.malformed) throw run.malformed;
}

/** The items up to where the document is no longer one: they are whole, and shall be written. */
async function* wholeItems(run: Run, items: AsyncIterable<JsonItem>): AsyncGenerator<JsonItem, void, undefined> {
  try {
    for await (const item of items) {
      run.read += 1;
      yield item;
    }
  } catch (error) {
    if (!(error instanceof MalformedJson || error instanceof ItemTooLarge)) throw error;
    run.malformed = error;
  }
}

/** The content as it comes. What breaks while we read is the sender's connection, unless somebody said otherwise. */
async function* metered(run: Run, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const { content, total, exact } = run.order;
  const sent = retold(typeof content === 'function' ? content(signal) : content, (error) =>
    error instanceof VaultError ? error : new ImportInterrupted(undefined, { cause: error }),
  );
  yield* pipeline(untilAborted(sent, run.job.signal)).through(meter((_, bytes) => onRead(run, bytes)));
  if (exact && run.bytes !== total) throw new ImportInterrupted();
}

function onRead(run: Run, bytes: number): void {
  run.bytes = bytes;
  checkAlive(run);
  const rows = run.read === 1 ? '1 row' : `${run.read} rows`;
  const message = `Importing into ${placeOf(run.order)}: ${rows} read`;
  run.job.publish({ phase: 'importing', current: bytes, total: run.order.total, message });
}

function checkAlive({ job }: Run): void {
  if (!job.alive()) throw new ImportInterrupted(TAKEN_OVER);
  job.signal.throwIfAborted();
}

/** Writes a batch once the isolate has room for its text. An import whose sender is idle waits here for nothing. */
async function writeInTurn(
  run: Run,
  { batches }: IsolateMemory,
  insertion: RowInsertion<JsonItem>,
  batch: readonly JsonItem[],
): Promise<void> {
  let bytes = 0;
  for (const item of batch) bytes += item.bytes;
  const share = await batches.acquire(run.order.job_id, run.job.signal, Math.min(bytes, IMPORT_ROW_BYTES));
  try {
    const rows: JsonItem[] = [];
    for (const item of batch) {
      const reason = reasonAgainst(item);
      if (reason === null) rows.push(item);
      else refuse(run, item, reason);
    }
    await writing(run, () => insertion.add(rows));
  } finally {
    share.release();
  }
}

/** What fails while rows are written. Stops the import where too many were refused. */
async function writing(run: Run, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof VaultError) throw error;
    throw isTooManyQueries(error)
      ? new TooManyRows(run.order.max_queries, { cause: error })
      : new DatabaseFailed(error);
  }
  const { max_errors } = run.order;
  if (run.refused.length > max_errors) throw new TooManyErrors(max_errors);
}

function refuse(run: Run, { index, offset }: JsonItem, reason: string): void {
  run.refused.push({ index, offset, reason });
}

/** What can be said against an item without knowing the table. */
function reasonAgainst({ kind, values, duplicate }: JsonItem): string | null {
  if (kind !== 'object')
    return `it is ${kind === 'null' ? 'null' : `${/^[aeiou]/.test(kind) ? 'an' : 'a'} ${kind}`}, not an object`;
  if (values > JSON_ITEM_VALUES) return `it has ${values} values, more than a row can have`;
  return duplicate === null ? null : `its key ${shownName(duplicate)} stands twice`;
}

function allowance(maxQueries: number): QueryAllowance {
  let left = maxQueries;
  return {
    take(statements) {
      if (statements > left) throw new TooManyRows(maxQueries);
      left -= statements;
    },
  };
}

/** The platform's own bound, should it be lower than ours (D1 limits: queries a Worker invocation). */
function isTooManyQueries(error: unknown): boolean {
  return error instanceof Error && /too many (?:api requests|subrequests|queries)/i.test(error.message);
}

function countsOf({ read, written, refused, order }: Run): ImportCounts {
  const inOrder = [...refused].sort((a, b) => a.index - b.index);
  return { read, written, refused: inOrder.slice(0, order.max_errors + 1) };
}

function placeOf({ database, table, backup }: ImportOrder): string {
  return `${database}.${table.name}${backup ? ` from ${backup.filename}` : ''}`;
}

async function endDone(run: Run): Promise<void> {
  const { bytes, read, written, refused, order } = run;
  const counts = `${read} read, ${written} written, ${refused.length} refused`;
  const message = `${order.dry_run ? 'Tried to import' : 'Imported'} into ${placeOf(order)}: ${counts}`;
  await run.job.finish({ phase: 'done', backup_id: order.backup?.backup_id, current: bytes, total: bytes, message });
  // In the last moment: the job says that it failed.
  if (!run.job.alive()) throw new ImportInterrupted(TAKEN_OVER);
}

async function endFailed(run: Run, reason: VaultError, { code, message }: VaultError): Promise<void> {
  const place = placeOf(run.order);
  await run.job.finish(
    reason instanceof JobCancelled
      ? {
          phase: 'cancelled',
          message: `Import into ${place} was cancelled; ${run.written} rows that it had written stay`,
        }
      : { phase: 'failed', code, detail: message, message: `Import into ${place} failed` },
  );
}
