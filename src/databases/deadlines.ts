import { TimedOut, withinTime } from '../shared/abort.ts';
import { VaultError } from '../shared/errors.ts';
import { DATABASE_CALL_MS } from '../shared/limits.ts';

class DatabaseSilent extends VaultError {
  constructor(cause: unknown) {
    super('storage-failed', 'The database did not answer in time. Try again in a moment.', { cause });
  }
}

const CALLS = new Set<unknown>(['first', 'run', 'all', 'raw', 'batch', 'exec']);
/** What makes a statement: it is wrapped as well. */
const MAKERS = new Set<unknown>(['prepare', 'bind']);

/**
 * The same database, of which every call ends within `deadlineMs`: past it the caller gets a 502 `storage-failed`, and the
 * call, which cannot be cancelled, goes on without a listener. Whether it was carried out is unknown then, as after a lost
 * answer.
 */
export function withDeadlines(database: D1Database, deadlineMs = DATABASE_CALL_MS): D1Database {
  /** The statements themselves: `batch` takes no others. */
  const own = new WeakMap<object, object>();

  function wrap<T extends object>(target: T): T {
    const wrapped = new Proxy(target, {
      get(object, name) {
        const member: unknown = Reflect.get(object, name);
        if (typeof member !== 'function') return member;
        if (MAKERS.has(name)) return (...args: unknown[]) => wrap(Object(Reflect.apply(member, object, args)));
        if (CALLS.has(name)) return (...args: unknown[]) => inTime(Reflect.apply(member, object, args.map(unwrap)));
        return member.bind(object);
      },
    });
    own.set(wrapped, target);
    return wrapped;
  }

  function unwrap(argument: unknown): unknown {
    if (!Array.isArray(argument)) return argument;
    return argument.map((statement: unknown) => own.get(Object(statement)) ?? statement);
  }

  function inTime(call: Promise<unknown>): Promise<unknown> {
    return withinTime(call, deadlineMs, 'the database did not answer').catch((error: unknown) => {
      throw error instanceof TimedOut ? new DatabaseSilent(error) : error;
    });
  }

  return wrap(database);
}
