/** The vocabulary of progress: what a job says, what a run of it tells. Pure, and shared with the page. */

export type Phase = 'waiting' | 'receiving' | 'storing' | 'verifying' | 'importing' | 'done' | 'failed';

/**
 * What a run does: makes a backup, reads one back, or puts rows into a database. Only an upload leaves something behind
 * when it dies that has to be removed.
 */
export type Task = 'upload' | 'verify' | 'import';

/** Which run has a job. An upload makes the backup and has its id; others have one of their own. */
export type TaskRun =
  | {
      readonly task?: 'upload';
      readonly backup_id: string;
      readonly run_id?: undefined;
      /** It comes in pieces and may rest between them: somebody else watches over it, and tells its end. */
      readonly rests?: true;
    }
  | { readonly task: 'verify'; readonly backup_id: string; readonly run_id: string }
  /** With the backup that it restores, if it is one. */
  | { readonly task: 'import'; readonly backup_id?: string | undefined; readonly run_id: string };

/** One frame of `GET /ws/backup/{job_id}`, and the body of `GET /jobs/{job_id}`. */
export interface JobMessage {
  readonly job_id: string;
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
  | { readonly phase: 'failed'; readonly code: string; readonly detail: string; readonly message: string };

/** A multipart upload that storage holds open until it is completed or aborted. */
export interface OpenUpload {
  readonly key: string;
  readonly upload_id: string;
}

/** After these a job says no more, and its sockets close. */
export function isEnd(phase: Phase): boolean {
  return phase === 'done' || phase === 'failed';
}

/** Two decimals, 0 to 100; 0 while `total` is 0; 100 only once all is there. */
export function percentage(current: number, total: number): number {
  if (total <= 0) return 0;
  if (current >= total) return 100;
  return Math.min(99.99, Math.round((current / total) * 10_000) / 100);
}
