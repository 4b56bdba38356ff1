/** The last run of a job. Times are ISO 8601 (UTC); `ended_at` is null while it runs, `code` where it did not fail. */
export interface JobRecord {
  readonly job_id: string;
  readonly backup_id: string;
  readonly phase: string;
  readonly filename: string | null;
  readonly message: string;
  readonly code: string | null;
  readonly started_at: string;
  readonly ended_at: string | null;
}

export const JOB_COLUMNS = 'job_id, backup_id, phase, filename, message, code, started_at, ended_at';

/**
 * Notes a run of a job, in place of what was known of it. A run that was overtaken by a later one changes nothing: by
 * its id, whose order is age, because who cleans up after a dead run does not know when that began.
 */
export async function recordJob(db: D1Database, job: JobRecord): Promise<void> {
  await db
    .prepare(
      `INSERT INTO jobs (${JOB_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
       ON CONFLICT (job_id) DO UPDATE SET
         backup_id = excluded.backup_id, phase = excluded.phase, filename = excluded.filename,
         message = excluded.message, code = excluded.code,
         started_at = excluded.started_at, ended_at = excluded.ended_at
       WHERE excluded.backup_id >= jobs.backup_id`,
    )
    .bind(job.job_id, job.backup_id, job.phase, job.filename, job.message, job.code, job.started_at, job.ended_at)
    .run();
}

/** Forgets jobs that ended before `before` (ISO 8601). Gives how many. */
export async function purgeJobs(db: D1Database, before: string): Promise<number> {
  const { meta } = await db.prepare('DELETE FROM jobs WHERE ended_at < ?1').bind(before).run();
  return meta.changes;
}
