/** The last run of a job. Times are ISO 8601 (UTC); `ended_at` is null while it runs, `code` where it did not fail. */
export interface JobRecord {
  readonly job_id: string;
  /** The backup that the run made, or worked on; null of an import that restores none. */
  readonly backup_id: string | null;
  readonly phase: string;
  readonly filename: string | null;
  readonly message: string;
  readonly code: string | null;
  readonly started_at: string;
  readonly ended_at: string | null;
  /** A ULID: that of an upload is its backup's. */
  readonly run_id: string;
}

/** A run as its task tells it. */
export type JobRun = Omit<JobRecord, 'run_id' | 'backup_id'> &
  (Pick<JobRecord, 'run_id' | 'backup_id'> | { readonly backup_id: string; readonly run_id?: undefined });

export const JOB_COLUMNS = 'job_id, backup_id, phase, filename, message, code, started_at, ended_at, run_id';

/**
 * Notes a run of a job, in place of what was known of it; without a `run_id` it is the upload that made the backup. A
 * run that was overtaken by a later one changes nothing: by its id, whose order is age, because who cleans up after a
 * dead run does not know when that began.
 */
export async function recordJob(db: D1Database, job: JobRun): Promise<void> {
  await db
    .prepare(
      `INSERT INTO jobs (${JOB_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
       ON CONFLICT (job_id) DO UPDATE SET
         backup_id = excluded.backup_id, phase = excluded.phase, filename = excluded.filename,
         message = excluded.message, code = excluded.code,
         started_at = excluded.started_at, ended_at = excluded.ended_at, run_id = excluded.run_id
       WHERE excluded.run_id >= jobs.run_id`,
    )
    .bind(
      job.job_id,
      job.backup_id,
      job.phase,
      job.filename,
      job.message,
      job.code,
      job.started_at,
      job.ended_at,
      job.run_id ?? job.backup_id,
    )
    .run();
}

/** How a run ended. */
export interface JobEnding {
  readonly phase: 'done' | 'failed';
  readonly message: string;
  readonly code: string | null;
}

/**
 * Notes that a run has ended, now. The row is for exports; the job itself is the truth, so that a failure here is only
 * logged.
 */
export async function noteJob(
  db: D1Database,
  run: Pick<JobRecord, 'job_id' | 'run_id' | 'backup_id' | 'filename' | 'started_at'>,
  ending: JobEnding,
): Promise<void> {
  const { job_id } = run;
  await recordJob(db, { ...run, ...ending, ended_at: new Date().toISOString() }).catch((cause: unknown) =>
    console.error(JSON.stringify({ level: 'error', event: 'job-row-not-written', job_id, cause: String(cause) })),
  );
}

/** Forgets jobs that ended before `before` (ISO 8601). Gives how many. */
export async function purgeJobs(db: D1Database, before: string): Promise<number> {
  const { meta } = await db.prepare('DELETE FROM jobs WHERE ended_at < ?1').bind(before).run();
  return meta.changes;
}
