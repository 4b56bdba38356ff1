/**
 * Writes the rows of a document into a table, one transaction after the other. The outcome is that of one transaction in
 * which every row comes in its turn, whatever the batches: of two rows with the same key the first stays (`upsert` and
 * `replace`: the last), and a row may refer to any other of the document, before or behind it.
 *
 * A row that the table refuses would take the others of its statement along. Halves are tried then, and halves of these,
 * until the refused rows stand alone, each with what SQLite said of it. D1 has no savepoints, and OR IGNORE says neither
 * which row nor why. Of 300 rows with one refused that costs about 18 transactions.
 *
 * A row that refers to one of its own table which is not there waits, and so do rows that refer to it, and rows with its
 * key. Those that wait are written by one statement at the end, because SQLite checks references when a statement ends.
 * Of those, the ones with another fault are found by trying without a commit and without references.
 *
 * A dry run is the same with transactions that fail at their end: each begins with all rows accepted before.
 */
import { VaultError } from '../shared/errors.ts';
import { INSERT_BATCH_BYTES, MIB } from '../shared/limits.ts';
import { type QueryAllowance, RowLinks } from './row-links.ts';
import { NO_REFERENCE, type Refusal, refusalOf } from './row-refusal.ts';
import { type InsertMode, insertions, type Ready, RowMaker } from './row-statements.ts';
import { type JsonRow, RowRefused } from './row-values.ts';
import type { Table } from './table.ts';

export interface InsertOptions<T extends JsonRow> {
  readonly mode: InsertMode;
  /** Everything is checked and nothing is kept. */
  readonly dryRun: boolean;
  readonly queries: QueryAllowance;
  /** Told of rows as soon as they are written, so that they are known also where the rest fails. */
  readonly onWritten?: (rows: number) => void;
  readonly onRefused: (row: T, reason: string) => void;
  /** Called when more rows are held, with the bytes of all their JSON. It may wait for memory, or throw. */
  readonly onHeld?: (bytes: number) => Promise<void>;
}

export class NoPrimaryKey extends VaultError {
  constructor(table: string, mode: InsertMode) {
    super('invalid-option', `mode: ${mode} needs a primary key, and the table ${table} has none.`);
  }
}

/** No table can have such a path, and the message names it. */
const ROLLBACK = 'nothing of a dry run is kept';

/** A dry run tries so many rows together at least, and as many as it has accepted: their number doubles each time. */
const LEAST_DRY_ROWS = 300;
/** Waiting rows are tried before the end of the document when they have grown by so much, to hold less. */
const SETTLED_BYTES = MIB;

/**
 * One import into a table. The rows given to {@link add} are written in their order, except those that wait; {@link end}
 * writes these. What the rows themselves are to blame for goes to `onRefused`; anything else (the database is away, the
 * allowance is used up) is thrown, and what was written before stays.
 */
export class RowInsertion<T extends JsonRow> {
  readonly #table: Table;
  readonly #options: InsertOptions<T>;
  readonly #links: RowLinks<T>;
  readonly #maker: RowMaker<T>;
  #place = 0;
  /** Rows that refer to rows which are not there, and rows with the keys of those. */
  #waiting: Ready<T>[] = [];
  /** Keys of waiting rows, each with the place of the first row that has it. */
  readonly #waitingKeys = new Map<string, number>();
  #settleAtBytes = SETTLED_BYTES;
  /** Of a dry run: the rows that are accepted, which every transaction begins with, and what they can be referred to by. */
  readonly #accepted: Ready<T>[] = [];
  readonly #given = new Set<string>();
  /** Of a dry run: groups to be tried together. */
  #queued: Ready<T>[][] = [];

  private constructor(table: Table, links: RowLinks<T>, options: InsertOptions<T>) {
    this.#table = table;
    this.#links = links;
    this.#options = options;
    this.#maker = new RowMaker(table);
  }

  /** Throws {@link NoPrimaryKey}. */
  static async begin<T extends JsonRow>(table: Table, options: InsertOptions<T>): Promise<RowInsertion<T>> {
    const { mode } = options;
    if (mode !== 'insert' && table.primaryKey.length === 0) throw new NoPrimaryKey(table.name, mode);
    return new RowInsertion(table, await RowLinks.read<T>(table, options.queries), options);
  }

  /** Writes the rows, the next ones of the document. */
  async add(rows: readonly T[]): Promise<void> {
    for (const group of groupsOf(this.#made(rows))) {
      if (this.#options.dryRun) this.#queued.push(group);
      else await this.#write(group);
    }
    await this.#tellHeld();
    const dryRows = this.#queued.reduce((sum, group) => sum + group.length, 0);
    if (dryRows >= Math.max(LEAST_DRY_ROWS, this.#accepted.length)) await this.#writeQueued();
    if (bytesOf(this.#waiting) < this.#settleAtBytes) return;
    await this.#settle('wait');
    this.#settleAtBytes = bytesOf(this.#waiting) + SETTLED_BYTES;
  }

  /** The document has ended: writes the rows that waited, and refuses those whose references never came. */
  async end(): Promise<void> {
    await this.#writeQueued();
    await this.#settle('refuse');
  }

  #made(rows: readonly T[]): Ready<T>[] {
    const made: Ready<T>[] = [];
    for (const row of rows) {
      try {
        made.push(this.#maker.make(row, this.#place++));
      } catch (error) {
        if (!(error instanceof RowRefused)) throw error;
        this.#options.onRefused(row, error.message);
      }
    }
    return made;
  }

  async #writeQueued(): Promise<void> {
    const groups = this.#queued;
    this.#queued = [];
    await this.#tryTogether(groups);
  }

  /** Groups that pass in one transaction would pass one after the other. */
  async #tryTogether(groups: readonly Ready<T>[][]): Promise<void> {
    const [first] = groups;
    if (!first) return;
    if (groups.length === 1) return this.#write(first);
    if (this.#waiting.length === 0 && !(await this.#transact(groups))) {
      for (const group of groups) this.#accept(group);
      return;
    }
    const middle = groups.length >> 1;
    await this.#tryTogether(groups.slice(0, middle));
    await this.#tryTogether(groups.slice(middle));
  }

  /** Writes what can be written of the rows; the others wait or are refused. */
  async #write(given: readonly Ready<T>[]): Promise<void> {
    const rows = this.#withoutKept(given);
    const [first] = rows;
    if (!first) return;
    const refusal = await this.#transact([rows]);
    if (!refusal) return this.#accept(rows);
    const mayWait = refusal.isReference && this.#links.refer;
    if (rows.length === 1) {
      if (mayWait) this.#wait(first);
      else this.#options.onRefused(first.row, refusal.reason);
      return;
    }
    const unmet = mayWait ? await this.#unmet(rows) : new Set<Ready<T>>();
    for (const row of unmet) this.#wait(row);
    if (unmet.size > 0) return this.#write(rows.filter((row) => !unmet.has(row)));
    const middle = rows.length >> 1;
    await this.#write(rows.slice(0, middle));
    await this.#write(rows.slice(middle));
  }

  #wait(row: Ready<T>): void {
    this.#waiting.push(row);
    for (const key of this.#links.keysOf(row)) {
      this.#waitingKeys.set(key, Math.min(row.place, this.#waitingKeys.get(key) ?? row.place));
    }
  }

  /** The rows but those behind a waiting row with the same key: which of them stays is decided in their order. */
  #withoutKept(rows: readonly Ready<T>[]): readonly Ready<T>[] {
    if (this.#waiting.length === 0) return rows;
    return rows.filter((row) => {
      const isBehind = this.#links.keysOf(row).some((key) => (this.#waitingKeys.get(key) ?? row.place) < row.place);
      if (isBehind) this.#wait(row);
      return !isBehind;
    });
  }

  /** Writes the waiting rows that have all they refer to. The others go on waiting, or are refused. */
  async #settle(others: 'wait' | 'refuse'): Promise<void> {
    let rows = this.#waiting.sort((a, b) => a.place - b.place);
    this.#waiting = [];
    this.#waitingKeys.clear();
    const giveUp = (unmet: ReadonlySet<Ready<T>>) => {
      for (const row of unmet) {
        if (others === 'wait') this.#wait(row);
        else this.#options.onRefused(row.row, NO_REFERENCE);
      }
      rows = rows.filter((row) => !unmet.has(row));
    };
    while (rows.length > 0) {
      giveUp(await this.#unmet(rows));
      if (!(await this.#transact([rows]))) return this.#accept(rows);
      const refused = await this.#faultsBesideReferences(rows);
      const kept = rows.filter((row) => !refused.has(row));
      const orphans = await this.#orphans(kept, refused);
      if (orphans.size > 0) {
        // Without these, a row that was refused because of them may be written.
        giveUp(orphans);
        continue;
      }
      for (const [row, { reason }] of refused) this.#options.onRefused(row.row, reason);
      return this.#writeInPasses(kept);
    }
  }

  /**
   * Rows that refer to none that is kept. First only those that refer to no twin of a kept row either: without them that
   * twin may be written in the place of one of them.
   */
  async #orphans(kept: readonly Ready<T>[], refused: ReadonlyMap<Ready<T>, Refusal>): Promise<ReadonlySet<Ready<T>>> {
    const given = new Set(this.#given);
    for (const [row, { isTwin }] of refused) if (isTwin) for (const name of this.#links.givenBy(row)) given.add(name);
    const sure = await this.#unmet(kept, given);
    return sure.size > 0 ? sure : this.#unmet(kept);
  }

  /** Rows with all they refer to, as far as can be told: those that a statement of their own needs, in passes. */
  async #writeInPasses(rows: readonly Ready<T>[]): Promise<void> {
    let left = rows;
    for (let before = Number.POSITIVE_INFINITY; left.length > 0 && left.length < before; ) {
      before = left.length;
      left = await this.#writePass(left);
    }
    for (const { row } of left) this.#options.onRefused(row, NO_REFERENCE);
  }

  /** Returns the rows that refer to others still. */
  async #writePass(rows: readonly Ready<T>[]): Promise<Ready<T>[]> {
    const [first] = rows;
    if (!first) return [];
    const refusal = await this.#transact([rows]);
    if (!refusal) this.#accept(rows);
    if (!refusal) return [];
    if (rows.length === 1) {
      if (refusal.isReference) return [first];
      this.#options.onRefused(first.row, refusal.reason);
      return [];
    }
    const middle = rows.length >> 1;
    const left = await this.#writePass(rows.slice(0, middle));
    return [...left, ...(await this.#writePass(rows.slice(middle)))];
  }

  /** The rows, in their order, that are refused for another reason than a reference, each with it. */
  async #faultsBesideReferences(rows: readonly Ready<T>[]): Promise<Map<Ready<T>, Refusal>> {
    const faults = new Map<Ready<T>, Refusal>();
    const find = async (before: readonly Ready<T>[], part: readonly Ready<T>[]): Promise<readonly Ready<T>[]> => {
      const [first] = part;
      if (!first) return [];
      const refusal = await this.#tryWithoutReferences([...before, ...part]);
      if (!refusal) return part;
      if (part.length === 1) {
        faults.set(first, refusal);
        return [];
      }
      const middle = part.length >> 1;
      const left = await find(before, part.slice(0, middle));
      return [...left, ...(await find([...before, ...left], part.slice(middle)))];
    };
    await find([], rows);
    return faults;
  }

  #unmet(rows: readonly Ready<T>[], given: ReadonlySet<string> = this.#given): Promise<Set<Ready<T>>> {
    return this.#links.unmet(rows, given);
  }

  #accept(rows: readonly Ready<T>[]): void {
    this.#options.onWritten?.(rows.length);
    if (!this.#options.dryRun) return;
    for (const row of rows) {
      this.#accepted.push(row);
      if (this.#links.refer) for (const name of this.#links.givenBy(row)) this.#given.add(name);
    }
  }

  async #tellHeld(): Promise<void> {
    const rows = [...this.#waiting, ...this.#accepted, ...this.#queued.flat()];
    if (rows.length > 0) await this.#options.onHeld?.(bytesOf(rows));
  }

  /** All of the groups or none. Null where they are in (or would be), else what is wrong with one of their rows. */
  async #transact(groups: readonly (readonly Ready<T>[])[]): Promise<Refusal | null> {
    const { mode, dryRun } = this.#options;
    const statements = groups.flatMap((group) => insertions(this.#table, group, mode));
    if (statements.length === 0) return null;
    if (!dryRun) return this.#run(statements, 'commits');
    if (this.#accepted.length === 0) return this.#run(statements, 'rolls back');
    const before = insertions(this.#table, this.#accepted, mode);
    return this.#run([this.#deferred('on'), ...before, this.#deferred('off'), ...statements], 'rolls back');
  }

  /** Tries the rows and keeps nothing. References are checked at a commit, and there is none. */
  #tryWithoutReferences(rows: readonly Ready<T>[]): Promise<Refusal | null> {
    const statements = insertions(this.#table, [...this.#accepted, ...rows], this.#options.mode);
    return this.#run([this.#deferred('on'), ...statements], 'rolls back');
  }

  /** D1 has this pragma: "PRAGMA statements" of its documentation. It ends with the transaction. */
  #deferred(state: 'on' | 'off'): D1PreparedStatement {
    return this.#table.db.prepare(`PRAGMA defer_foreign_keys = ${state}`);
  }

  async #run(statements: D1PreparedStatement[], end: 'commits' | 'rolls back'): Promise<Refusal | null> {
    const { db } = this.#table;
    if (end === 'rolls back') statements.push(db.prepare('SELECT json_extract(?1, ?2)').bind('{}', ROLLBACK));
    this.#options.queries.take(statements.length);
    try {
      await db.batch(statements);
    } catch (error) {
      if (end === 'rolls back' && error instanceof Error && error.message.includes(ROLLBACK)) return null;
      const refusal = refusalOf(this.#table, error);
      if (refusal === null) throw error;
      return refusal;
    }
    if (end === 'rolls back') throw new Error('a transaction was not rolled back');
    return null;
  }
}

/** What one transaction takes. */
function groupsOf<T extends JsonRow>(rows: readonly Ready<T>[]): Ready<T>[][] {
  const groups: Ready<T>[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const row of rows) {
    if (bytes + row.bytes > INSERT_BATCH_BYTES) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)?.push(row);
    bytes += row.bytes;
  }
  return groups;
}

function bytesOf(rows: readonly Ready[]): number {
  return rows.reduce((sum, { bytes }) => sum + bytes, 0);
}
