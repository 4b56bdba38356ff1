import { type Page, pageOf, placeIn } from './pages.ts';

/** A run of a job. Times are ISO 8601 (UTC). */
export interface RunRecord {
  /** A ULID, so its order is age: that of an upload is its backup's. */
  readonly run_id: string;
  readonly job_id: string;
  readonly task: string;
  /** The phase that it is in, or `done`, `failed`, `cancelled`. */
  readonly phase: string;
  /** The backup that the run makes, or works on; null of an import. */
  readonly backup_id: string | null;
  readonly filename: string | null;
  readonly message: string;
  /** Why it failed; null where it did not. */
  readonly code: string | null;
  /** Of the token that began it; null where a signed link did. */
  readonly token_id: string | null;
  readonly started_at: string;
  /** Null while it runs. */
  readonly ended_at: string | null;
  /** When a resumable upload expires; null for other runs. */
  readonly expires_at: string | null;
}

export const RUN_COLUMNS =
  'run_id, job_id, task, phase, backup_id, filename, message, code, token_id, started_at, ended_at, expires_at';

/** Writes the row of a run, over the one that is there. The job object alone does, in order. */
export async function recordRun(db: D1Database, run: RunRecord): Promise<void> {
  await db
    .prepare(
      `INSERT INTO jobs (${RUN_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
       ON CONFLICT (run_id) DO UPDATE SET
         phase = excluded.phase, message = excluded.message, code = excluded.code, ended_at = excluded.ended_at`,
    )
    .bind(
      run.run_id,
      run.job_id,
      run.task,
      run.phase,
      run.backup_id,
      run.filename,
      run.message,
      run.code,
      run.token_id,
      run.started_at,
      run.ended_at,
      run.expires_at,
    )
    .run();
}

export interface RunQuery {
  readonly task?: string | undefined;
  readonly phase?: string | undefined;
  readonly cursor?: string | undefined;
  /** Rows of the page, at least 1. */
  readonly limit: number;
}

/** A page of runs, newest first. Throws InvalidCursor. */
export async function listRuns(db: D1Database, { task, phase, cursor, limit }: RunQuery): Promise<Page<RunRecord>> {
  const { results } = await db
    .prepare(
      `SELECT ${RUN_COLUMNS} FROM jobs
       WHERE (?1 IS NULL OR run_id < ?1) AND (?2 IS NULL OR task = ?2) AND (?3 IS NULL OR phase = ?3)
       ORDER BY run_id DESC LIMIT ?4`,
    )
    .bind(placeIn(cursor), task ?? null, phase ?? null, limit + 1)
    .all<RunRecord>();
  return pageOf(results, limit, ({ run_id }) => run_id);
}

export interface OpenUploadQuery {
  /** Only uploads that this token began; null: all. */
  readonly token_id: string | null;
  readonly cursor?: string | undefined;
  /** Rows of the page, at least 1. */
  readonly limit: number;
}

/** A page of resumable uploads that have not ended, newest first. Throws InvalidCursor. */
export async function listOpenUploads(
  db: D1Database,
  { token_id, cursor, limit }: OpenUploadQuery,
): Promise<Page<RunRecord>> {
  // The condition is that of the partial index: https://www.sqlite.org/partialindex.html, section 3.
  const { results } = await db
    .prepare(
      `SELECT ${RUN_COLUMNS} FROM jobs
       WHERE ended_at IS NULL AND expires_at IS NOT NULL
         AND (?1 IS NULL OR run_id < ?1) AND (?2 IS NULL OR token_id = ?2)
       ORDER BY run_id DESC LIMIT ?3`,
    )
    .bind(placeIn(cursor), token_id, limit + 1)
    .all<RunRecord>();
  return pageOf(results, limit, ({ run_id }) => run_id);
}

/** Which of these backups an upload that has not ended is making. */
export async function uploadingAmong(db: D1Database, backupIds: readonly string[]): Promise<Set<string>> {
  // The run of an upload has the id of its backup, which is the key of the table.
  const { results } = await db
    .prepare(`SELECT run_id FROM jobs WHERE run_id IN (SELECT value FROM json_each(?1)) AND ended_at IS NULL`)
    .bind(JSON.stringify(backupIds))
    .all<{ run_id: string }>();
  return new Set(results.map(({ run_id }) => run_id));
}

/** Deletes rows of runs that ended before `before` (ISO 8601). Resolves with their number. */
export async function purgeJobs(db: D1Database, before: string): Promise<number> {
  const { meta } = await db.prepare('DELETE FROM jobs WHERE ended_at < ?1').bind(before).run();
  return meta.changes;
}
