import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { openTable, type Table } from '../../../src/databases/table.ts';
import type { JobState } from '../../../src/progress/messages.ts';
import { type JobPublisher, type JobRooms, jobRooms } from '../../../src/progress/publisher.ts';
import { utf8 } from '../../../src/shared/bytes.ts';
import { VaultError } from '../../../src/shared/errors.ts';
import { isolateMemory } from '../../../src/shared/isolate-memory.ts';
import { untilAborted } from '../../../src/shared/streams.ts';
import {
  type ImportOrder,
  type ImportResult,
  type ImportRooms,
  importRows,
} from '../../../src/transfer/import-rows.ts';
import { chunked, collect } from '../codec/bytes.ts';

const db = env.DATABASE_SAMPLE;
const memory = isolateMemory();
const rooms: ImportRooms = { jobs: jobRooms(env.JOBS), memory };

beforeEach(async () => {
  await db.prepare('DELETE FROM items').run();
});

/** Lines of rows with the ids from 1 on, a hundred a piece; each piece is told before it is given. */
async function* lines(count: number, onPiece: (piece: number) => void = () => undefined) {
  for (let from = 1; from <= count; from += 100) {
    onPiece((from - 1) / 100);
    let text = '';
    for (let id = from; id < from + 100 && id <= count; id++) text += `{"id":${id},"name":"row ${id}"}\n`;
    yield utf8(text);
  }
}

let jobs = 0;

async function order(
  content: ImportOrder['content'],
  over: Partial<ImportOrder> & { db?: D1Database } = {},
): Promise<ImportOrder> {
  const { db: its = db, ...rest } = over;
  const table = (await openTable(its, 'items')) as Table;
  return {
    job_id: `import-${jobs++}`,
    database: 'sample',
    table,
    mode: 'insert',
    dry_run: false,
    max_errors: 100,
    format: 'auto',
    max_queries: 1000,
    total: 0,
    exact: false,
    operation: 'import',
    content,
    ...rest,
  };
}

/** The database, with something done before each transaction; the first is 0. */
function beforeBatch(work: (n: number) => Promise<void> | void): D1Database {
  let transactions = 0;
  return new Proxy(db, {
    get(target, name) {
      if (name === 'batch') {
        return async (statements: D1PreparedStatement[]) => {
          // The first two read the schema.
          await work(transactions++ - 2);
          return target.batch(statements);
        };
      }
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

/** What it rejects with, and what is told with that. */
async function stopped(importing: Promise<ImportResult>): Promise<VaultError & { facts: Record<string, unknown> }> {
  const error: unknown = await importing.then(
    (result) => {
      throw new Error(`it came to its end: ${JSON.stringify(result)}`);
    },
    (reason: unknown) => reason,
  );
  if (!(error instanceof VaultError)) throw error;
  return error;
}

async function count(): Promise<number> {
  return (await db.prepare('SELECT count(*) AS n FROM items').first<number>('n')) ?? Number.NaN;
}

async function job(jobId: string): Promise<JobState> {
  return rooms.jobs.snapshot(jobId);
}

describe('an import', () => {
  it('writes batches of three hundred, one after the other, and holds a share for their text only', async () => {
    let inWork = 0;
    let most = 0;
    const slow = beforeBatch(async (n) => {
      if (n < 0) return;
      most = Math.max(most, ++inWork);
      expect(memory.batches.used).toBeLessThanOrEqual(300 * 200);
      await scheduler.wait(5);
      inWork -= 1;
    });
    const given = await order(lines(1000), { db: slow, max_queries: 4 });
    expect(await importRows(rooms, given)).toEqual({
      job_id: given.job_id,
      dry_run: false,
      read: 1000,
      written: 1000,
      refused: [],
    });
    expect(most).toBe(1);
    expect(memory.batches.used).toBe(0);
    expect(await job(given.job_id)).toMatchObject({ phase: 'done', message: expect.stringContaining('1000 written') });
  });

  it('reads no more than the batches in work, and the one that is gathered', async () => {
    const gate = Promise.withResolvers<void>();
    const shut = beforeBatch((n) => (n < 0 ? undefined : gate.promise));
    let pulled = 0;
    const content = lines(3000, (piece) => {
      pulled = piece + 1;
    });
    const running = importRows(rooms, await order(content, { db: shut }));
    await vi.waitFor(() => expect(pulled).toBeGreaterThanOrEqual(6));
    await scheduler.wait(50);
    expect(pulled).toBeLessThanOrEqual(7);
    gate.resolve();
    expect(await running).toMatchObject({ read: 3000, written: 3000 });
  });

  it('of rows of a megabyte writes them alone, and larger ones than a row may be it refuses', async () => {
    async function* large() {
      for (let id = 1; id <= 4; id++) yield utf8(`{"id":${id},"name":"${'x'.repeat(id * 600_000)}"}\n`);
    }
    const result = await importRows(rooms, await order(large()));
    expect(result).toMatchObject({ read: 4, written: 3, refused: [{ index: 3 }] });
    expect(await count()).toBe(3);
  });
});

describe('rows that no table could have', () => {
  const many = (member: (i: number) => string) => Array.from({ length: 200_000 }, (_, i) => member(i)).join(',');

  it.each<[string, string, string]>([
    ['of keys', `{${many((i) => `"${i}":0`)}}`, 'it has 200001 values, more than a row can have'],
    ['of one key', `{${many(() => '"id":2')}}`, 'it has 200001 values, more than a row can have'],
    ['of an array', `{"id":2,"name":[${many(String)}]}`, 'it has 200003 values, more than a row can have'],
    ['of a BLOB', `{"id":2,"data":{${many((i) => `"${i}":0`)}}}`, 'it has 200003 values, more than a row can have'],
    ['a key', `{"${'k'.repeat(2_000_000)}":1}`, `the table has no column "${'k'.repeat(100)}…"`],
    ['two keys', `{"${'k'.repeat(999)}":1,"${'k'.repeat(999)}":1}`, `its key "${'k'.repeat(100)}…" stands twice`],
  ])('for the length %s are refused without being taken apart, in few words', async (_, row, reason) => {
    const content = chunked(utf8(`{"id":1}\n${row}\n{"id":3}\n`), 65_536);
    expect(await importRows(rooms, await order(content))).toMatchObject({
      written: 2,
      refused: [{ index: 1, offset: 9, reason }],
    });
  });
});

describe('a sender that stalls', () => {
  /** Gives the pieces, and then nothing, for ever. */
  async function* stalling(pieces: AsyncIterable<Uint8Array>) {
    yield* pieces;
    await new Promise(() => undefined);
  }

  it.each<[string, string, Partial<ImportOrder>, (n: number) => void]>([
    [
      'a database that fails',
      'storage-failed',
      {},
      (n) => {
        if (n === 1) throw new Error('D1_ERROR: away');
      },
    ],
    ['too many refused rows', 'too-many-errors', { mode: 'insert', max_errors: 0 }, () => undefined],
  ])('does not keep %s from ending the import', async (_, code, over, work) => {
    await db.prepare('INSERT INTO items (id) VALUES (150)').run();
    const content = (signal: AbortSignal) => untilAborted(stalling(lines(300)), signal);
    const given = await order(lines(0), { ...over, content, db: beforeBatch(work) });
    const error = await stopped(importRows(rooms, given));
    expect(error.code).toBe(code);
    expect(error.facts).toMatchObject({ written: (await count()) - 1 });
    expect(await job(given.job_id)).toMatchObject({ phase: 'failed', code });
    expect(memory.batches.used).toBe(0);
  });
});

describe('a sender that breaks off', () => {
  it.each([0, 1, 2, 5, 9])('in piece %i leaves what is written, and a job that failed', async (at) => {
    const content = lines(1000, (piece) => {
      if (piece === at) throw new Error('the cable was pulled');
    });
    const given = await order(content);
    const error = await stopped(importRows(rooms, given));
    expect(error.code).toBe('import-interrupted');
    expect(error.message).toContain('Start it again with mode=upsert.');
    expect(error.facts).toMatchObject({ read: at * 100, written: await count() });
    expect(await job(given.job_id)).toMatchObject({
      phase: 'failed',
      code: 'import-interrupted',
      detail: error.message,
    });
    expect(memory.batches.used).toBe(0);
  });

  it('is told from one that ends too early by what it announced', async () => {
    const text = await collect(lines(3));
    const whole = await order(chunked(text, 64), { total: text.length, exact: true });
    expect(await importRows(rooms, whole)).toMatchObject({ written: 3 });
    await db.prepare('DELETE FROM items').run();
    const cut = await order(chunked(text, 64), { total: text.length + 1, exact: true });
    expect((await stopped(importRows(rooms, cut))).code).toBe('import-interrupted');
    const wrong = await order(chunked(text.subarray(0, 40), 64), { total: 0, exact: false, mode: 'upsert' });
    expect((await stopped(importRows(rooms, wrong))).code).toBe('malformed-json');
  });

  it('whose reading failed for a reason of its own is told that', async () => {
    async function* failing() {
      yield* lines(100);
      throw new VaultError('storage-failed', 'The storage is away.');
    }
    const error = await stopped(importRows(rooms, await order(failing())));
    expect(error.code).toBe('storage-failed');
    expect(error.message).toContain('The storage is away. Of the rows, 100 were read');
  });
});

describe('the bound of queries', () => {
  it.each([
    [3, {}, 900],
    [2, {}, 600],
    [12, { dry_run: true }, 900],
    [11, { dry_run: true }, 600],
  ])('of %i statements with %j is enough for %i rows', async (max_queries, over, rows) => {
    const importing = importRows(rooms, await order(lines(900), { max_queries, ...over }));
    if (rows === 900) expect(await importing).toMatchObject({ written: 900 });
    else {
      const error = await stopped(importing);
      expect(error.code).toBe('too-many-rows');
      expect(error.facts).toMatchObject({ written: rows });
    }
    expect(await count()).toBe('dry_run' in over ? 0 : rows);
  });

  it('counts what is written while refused rows are looked for', async () => {
    await db.prepare(`INSERT INTO items (id) VALUES (100)`).run();
    const error = await stopped(importRows(rooms, await order(lines(100), { max_queries: 3 })));
    expect(error.code).toBe('too-many-rows');
    expect(error.facts).toMatchObject({ read: 100, written: 50 });
    expect(await count()).toBe(51);
  });

  it('may be the platform’s own', async () => {
    const bounded = beforeBatch((n) => {
      if (n >= 2) throw new Error('Too many API requests by single worker invocation.');
    });
    const error = await stopped(importRows(rooms, await order(lines(1000), { db: bounded })));
    expect(error.code).toBe('too-many-rows');
    expect(error.facts).toMatchObject({ written: 600 });
  });
});

describe('a database that fails', () => {
  it.each([0, 1, 2, 3])('at transaction %i stops the import, which tells what is written', async (at) => {
    let left = false;
    async function* content() {
      try {
        yield* lines(1000);
      } finally {
        left = true;
      }
    }
    const failing = beforeBatch((n) => {
      if (n === at) throw new Error('D1_ERROR: Internal error while starting up D1 DB storage');
    });
    const given = await order(content(), { db: failing });
    const error = await stopped(importRows(rooms, given));
    expect(error.code).toBe('storage-failed');
    expect(error.message).toContain('may be there uncounted. Try again with mode=upsert.');
    expect(error.facts).toMatchObject({ written: await count(), refused: [] });
    expect(await count()).toBe(at * 300);
    expect(left).toBe(true);
    expect(await job(given.job_id)).toMatchObject({ phase: 'failed', code: 'storage-failed' });
  });

  it('when the last rows before malformed JSON are written is what is told', async () => {
    async function* content() {
      yield* lines(50);
      yield utf8('x');
    }
    const failing = beforeBatch((n) => {
      if (n === 0) throw new Error('D1_ERROR: away');
    });
    expect((await stopped(importRows(rooms, await order(content(), { db: failing })))).code).toBe('storage-failed');
    expect(
      await stopped(
        importRows(
          rooms,
          await order(
            (async function* () {
              yield* lines(50);
              yield utf8('x');
            })(),
          ),
        ),
      ),
    ).toMatchObject({ code: 'malformed-json', facts: { read: 50, written: 50 } });
  });
});

describe('too many refused rows', () => {
  it('stop the reading', async () => {
    let pulled = 0;
    let left = false;
    async function* content() {
      try {
        for (; pulled < 1000; pulled++) yield utf8('1\n'.repeat(100));
      } finally {
        left = true;
      }
    }
    const error = await stopped(importRows(rooms, await order(content(), { max_errors: 150 })));
    expect(error.code).toBe('too-many-errors');
    expect(error.facts.refused).toHaveLength(151);
    expect(left).toBe(true);
    expect(pulled).toBeLessThan(20);
  });
});

describe('a job', () => {
  /** Rooms whose publisher is of a run that was taken over after so many updates. */
  function takenOver(after: number): JobRooms {
    return {
      ...rooms.jobs,
      publisher(jobId, runId): JobPublisher {
        const publisher = rooms.jobs.publisher(jobId, runId);
        let updates = 0;
        return {
          ...publisher,
          publish: (update) => {
            updates += 1;
            publisher.publish(update);
          },
          alive: () => updates < after,
        };
      },
    };
  }

  it.each([1, 3])('that is taken over after %i updates ends the import', async (after) => {
    const given = await order(lines(1000));
    const error = await stopped(importRows({ ...rooms, jobs: takenOver(after) }, given));
    expect(error.code).toBe('import-interrupted');
    expect(error.facts).toMatchObject({ written: await count() });
    expect(await count()).toBeLessThan(1000);
  });
});

describe('memory', () => {
  it('is lent for a batch, so an import whose sender is idle leaves all of it to another', async () => {
    const gate = Promise.withResolvers<void>();
    async function* stopping() {
      yield* lines(750);
      await gate.promise;
    }
    const waiting = importRows(rooms, await order(stopping()));
    await vi.waitFor(async () => expect(await count()).toBe(600));
    await vi.waitFor(() => expect(memory.batches.used).toBe(0));
    gate.resolve();
    expect(await waiting).toMatchObject({ read: 750, written: 750 });
    expect(memory.heldRows.used).toBe(0);
  });

  it('is lent for all rows of a dry run, which ends where they are too many', async () => {
    async function* large() {
      for (let id = 1; id <= 8; id++) yield utf8(`{"id":${id},"name":"${'x'.repeat(900_000)}"}\n`);
    }
    const error = await stopped(importRows(rooms, await order(large(), { dry_run: true })));
    expect(error.code).toBe('too-many-rows');
    expect(error.message).toContain('A dry run checks at most 6 MiB of rows');
    expect(memory.heldRows.used).toBe(0);
    expect(await count()).toBe(0);
  });
});
