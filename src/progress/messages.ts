/** The vocabulary of progress: what a job says, what a run of it tells. Pure, and shared with the page. */

export const PHASES = [
  'waiting',
  'receiving',
  'storing',
  'verifying',
  'importing',
  'done',
  'failed',
  'cancelled',
] as const;
export type Phase = (typeof PHASES)[number];

/**
 * What a run does: makes a backup, reads one back, or puts rows into a database (`restore`: rows of a backup). Only an
 * upload leaves something behind when it dies that has to be removed.
 */
export const TASKS = ['upload', 'verify', 'import', 'restore'] as const;
export type Task = (typeof TASKS)[number];

/** Which run has a job. An upload makes the backup and has its id; others have one of their own. */
export type TaskRun =
  | {
      readonly task?: 'upload';
      readonly backup_id: string;
      readonly run_id?: undefined;
      /**
       * Milliseconds since the epoch; set for a resumable upload, which may be idle between its requests until then. Its
       * upload object reports its end.
       */
      readonly expires_at?: number;
    }
  | { readonly task: 'verify'; readonly backup_id: string; readonly run_id: string }
  /** `backup_id`: of a restore, the backup whose rows it reads. */
  | { readonly task: 'import' | 'restore'; readonly backup_id?: string | undefined; readonly run_id: string };

/** One frame of `GET /ws/backup/{job_id}`. */
export interface JobMessage {
  readonly job_id: string;
  /** Absent while no run of the job is known. */
  readonly task?: Task;
  readonly phase: Phase;
  /** Bytes; never goes back within a phase. */
  readonly current: number;
  /** Bytes; 0 while unknown. */
  readonly total: number;
  /** 0 to 100 with two decimals; 0 while `total` is 0. */
  readonly percentage: number;
  readonly message: string;
  /** ISO 8601, UTC. */
  readonly timestamp: string;
  /** Bytes that storage has taken so far. */
  readonly stored?: number;
  /** With `done`; an import has one only where it restores a backup. */
  readonly backup_id?: string;
  /** With `failed`. */
  readonly code?: string;
  readonly detail?: string;
}

/** The run that has the job, or had it last. Times are ISO 8601 (UTC). */
export interface JobRun {
  readonly run_id: string;
  readonly task: Task;
  /** The backup that the run makes or works on; of a resumable upload also its upload id. */
  readonly backup_id: string | null;
  /** Of the token that began it; null where a signed link did. */
  readonly token_id: string | null;
  readonly started_at: string;
  readonly ended_at: string | null;
  /** Since when a resumable upload has had no open request; null while it has one, and for other runs. */
  readonly idle_since: string | null;
  /** When a resumable upload expires; null for other runs. */
  readonly expires_at: string | null;
}

/** The body of `GET /jobs/{job_id}`: the newest message, and the run that it is about, if any is known. */
export type JobState = Omit<JobMessage, 'backup_id'> & Partial<JobRun>;

/** Why a job cannot begin: the run that has it, and when to ask again. */
export interface JobHolder extends JobRun {
  readonly retry_after_seconds: number;
}

/** The row of a run in the catalogue. Times are ISO 8601 (UTC). */
export interface RunRow {
  readonly run_id: string;
  readonly job_id: string;
  readonly task: Task;
  readonly phase: Phase;
  readonly backup_id: string | null;
  readonly filename: string | null;
  readonly message: string;
  readonly code: string | null;
  readonly token_id: string | null;
  readonly started_at: string;
  readonly ended_at: string | null;
  readonly expires_at: string | null;
}

/** How far a run is. `total` is 0 while unknown. */
export interface JobUpdate {
  readonly phase: Phase;
  readonly current: number;
  readonly total: number;
  readonly stored?: number;
  readonly message: string;
}

/** How a run ended. */
export type JobEnd =
  | {
      readonly phase: 'done';
      /** All but an import have one. */
      readonly backup_id?: string | undefined;
      readonly current: number;
      readonly total: number;
      /** Of an upload. */
      readonly stored?: number;
      readonly message: string;
    }
  | { readonly phase: 'failed'; readonly code: string; readonly detail: string; readonly message: string }
  | { readonly phase: 'cancelled'; readonly message: string };

/** A multipart upload that storage holds open until it is completed or aborted. */
export interface OpenUpload {
  readonly key: string;
  readonly upload_id: string;
}

/** After these a job says no more, and its sockets close. */
export function isEnd(phase: Phase): boolean {
  return phase === 'done' || phase === 'failed' || phase === 'cancelled';
}

/** Two decimals, 0 to 100; 0 while `total` is 0; 100 only once all is there. */
export function percentage(current: number, total: number): number {
  if (total <= 0) return 0;
  if (current >= total) return 100;
  return Math.min(99.99, Math.round((current / total) * 10_000) / 100);
}
