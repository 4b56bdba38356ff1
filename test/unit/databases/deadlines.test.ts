import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { withDeadlines } from '../../../src/databases/deadlines.ts';

const CALL_MS = 40;

/** A database whose calls give no answer before `until` has resolved. */
function silent(until: Promise<void>): D1Database {
  const wait = (target: object): object =>
    new Proxy(target, {
      get(object, name) {
        const member: unknown = Reflect.get(object, name);
        if (typeof member !== 'function') return member;
        if (name === 'prepare' || name === 'bind') {
          return (...args: unknown[]) => wait(Object(Reflect.apply(member, object, args)));
        }
        return () => until.then(() => []);
      },
    });
  return wait(env.CATALOGUE) as D1Database;
}

const CALLS: Record<string, (db: D1Database) => Promise<unknown>> = {
  first: (db) => db.prepare('SELECT 1').first(),
  'first of bound values': (db) => db.prepare('SELECT ?1').bind(1).first(),
  run: (db) => db.prepare('SELECT ?1').bind(1).run(),
  all: (db) => db.prepare('SELECT 1').all(),
  raw: (db) => db.prepare('SELECT 1').raw(),
  batch: (db) => db.batch([db.prepare('SELECT 1')]),
  exec: (db) => db.exec('SELECT 1'),
};

describe('a database with deadlines', () => {
  it.each(Object.entries(CALLS))('ends %s with storage-failed where no answer comes', async (_, call) => {
    const never = new Promise<void>(() => undefined);
    await expect(call(withDeadlines(silent(never), CALL_MS))).rejects.toMatchObject({ code: 'storage-failed' });
  });

  it.each(Object.entries(CALLS))('answers %s as the database does', async (_, call) => {
    const answer = (result: unknown) =>
      JSON.stringify(result, (key, value) => (key === 'meta' || key === 'duration' ? null : value));
    expect(answer(await call(withDeadlines(env.CATALOGUE)))).toBe(answer(await call(env.CATALOGUE)));
  });

  it('runs a batch of bound statements, and passes its errors on', async () => {
    const db = withDeadlines(env.CATALOGUE);
    const results = await db.batch<{ n: number }>([1, 2].map((n) => db.prepare('SELECT ?1 AS n').bind(n)));
    expect(results.map((result) => result.results)).toEqual([[{ n: 1 }], [{ n: 2 }]]);
    await expect(db.prepare('SELECT * FROM nothing_of_that_name').all()).rejects.toThrow(/no such table/);
  });
});
