/** A statement that was run: what it was, and how many rows D1 counted as read for it. */
export interface RecordedStatement {
  readonly sql: string;
  readonly values: readonly unknown[];
  readonly rowsRead: number;
}

/** The same database, which records each statement that reads. `first` is run as `all`, since only that counts rows. */
export function recordingDatabase(db: D1Database): {
  readonly database: D1Database;
  readonly statements: RecordedStatement[];
} {
  const statements: RecordedStatement[] = [];
  const prepare = (sql: string, values: readonly unknown[] = []): D1PreparedStatement => {
    const all = async () => {
      const result = await db
        .prepare(sql)
        .bind(...values)
        .all<Record<string, unknown>>();
      statements.push({ sql, values, rowsRead: result.meta.rows_read });
      return result;
    };
    const first = async (column?: string) => {
      const row = (await all()).results[0] ?? null;
      return column === undefined || row === null ? row : row[column];
    };
    return Object.assign(Object.create(db.prepare(sql)), {
      bind: (...given: unknown[]) => prepare(sql, given),
      all,
      first,
    });
  };
  return {
    database: new Proxy(db, { get: (target, name) => (name === 'prepare' ? prepare : Reflect.get(target, name)) }),
    statements,
  };
}
