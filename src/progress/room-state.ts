import { JOB_LEASE_MS, JOB_MISSED_LEASES, PROGRESS_INTERVAL_MS, RESTING_JOB_LEASE_MS } from '../shared/limits.ts';
import {
  isEnd,
  type JobEnd,
  type JobMessage,
  type JobUpdate,
  type OpenUpload,
  type Phase,
  percentage,
  type TaskRun,
} from './messages.ts';

/** What a room remembers of its job, and what it stores. Times are milliseconds since the epoch. */
export type JobRecord = TaskRun & {
  readonly job_id: string;
  /** The newest state, sent or not. */
  readonly message: JobMessage;
  /** Leases in a row without a sign of life; from {@link JOB_MISSED_LEASES} on the room has taken the job over. */
  readonly missed: number;
  readonly open?: OpenUpload;
  readonly ended_at?: number;
};

/** What a run says at its start. */
export type JobStart = TaskRun & {
  readonly job_id: string;
  readonly message: string;
  readonly total: number;
};

export type Begun = { readonly kind: 'running' } | { readonly kind: 'started'; readonly record: JobRecord };

/** `changed`: there is something new to send; `phaseChanged`: and to store. */
export type Moved =
  | { readonly kind: 'superseded' }
  | {
      readonly kind: 'accepted';
      readonly record: JobRecord;
      readonly changed: boolean;
      readonly phaseChanged: boolean;
    };

/** The state of a job that nobody has started. */
export function waitingMessage(jobId: string, now: number): JobMessage {
  return stateOf(jobId, { phase: 'waiting', current: 0, total: 0, message: 'Waiting for the job to start' }, now);
}

/** Starts the job anew unless a run has it; a run that repeats its own start (a lost answer) gets the same answer. */
export function beginJob(record: JobRecord | null, start: JobStart, now: number): Begun {
  if (record && !hasEnded(record)) {
    return ownedBy(record, runOf(start)) ? { kind: 'started', record } : { kind: 'running' };
  }
  const { job_id, total, message: said, ...run } = start;
  const phase = FIRST_PHASE[start.task ?? 'upload'];
  const message = stateOf(job_id, { phase, current: 0, total, message: said }, now);
  return { kind: 'started', record: { ...run, job_id, message, missed: 0 } };
}

const FIRST_PHASE = { upload: 'receiving', verify: 'verifying', import: 'importing' } as const;

/** The id by which a run is told from others. */
export function runOf(run: TaskRun): string {
  return run.run_id === undefined ? run.backup_id : run.run_id;
}

/** Takes an update (or, without one, a sign of life) of the run `runId`. */
export function moveJob(record: JobRecord | null, runId: string, update: JobUpdate | null, now: number): Moved {
  if (!record || !ownedBy(record, runId)) return { kind: 'superseded' };
  const before = record.message;
  // A run ends only through endJob, which knows what an end must carry.
  if (!update || isEnd(update.phase)) return { kind: 'accepted', record, changed: false, phaseChanged: false };
  const phaseChanged = update.phase !== before.phase;
  const current = phaseChanged ? update.current : Math.max(before.current, update.current);
  const message = stateOf(record.job_id, { ...update, current }, now);
  if (sameState(before, message)) return { kind: 'accepted', record, changed: false, phaseChanged: false };
  return { kind: 'accepted', record: { ...record, message }, changed: true, phaseChanged };
}

/** Ends the run `runId`; an end that is told twice (a lost answer) is accepted twice and changes nothing. */
export function endJob(record: JobRecord | null, runId: string, end: JobEnd, now: number): Moved {
  if (record && hasEnded(record) && runOf(record) === runId && record.message.phase === end.phase) {
    return { kind: 'accepted', record, changed: false, phaseChanged: false };
  }
  if (!record || !ownedBy(record, runId)) return { kind: 'superseded' };
  return { kind: 'accepted', record: ended(record, end, now), changed: true, phaseChanged: true };
}

/** Remembers what storage holds open for the run `runId`; null when the job is no longer its own. */
export function noteOpen(record: JobRecord | null, runId: string, open: OpenUpload): JobRecord | null {
  if (!record || !ownedBy(record, runId)) return null;
  return { ...record, open };
}

/** How long a lease of the job is. */
export function leaseMs(record: JobRecord): number {
  return record.task !== 'verify' && record.task !== 'import' && record.rests ? RESTING_JOB_LEASE_MS : JOB_LEASE_MS;
}

/** The record after one lease of a running job. */
export function passLease(record: JobRecord, heard: boolean): JobRecord {
  // Once taken over it stays so: the run was told, and its leavings may be half removed.
  if (isTakenOver(record)) return record;
  const missed = heard ? 0 : record.missed + 1;
  return missed === record.missed ? record : { ...record, missed };
}

/** A sign of life between leases: what was missed before no longer counts. */
export function heardFrom(record: JobRecord): JobRecord {
  return record.missed === 0 || isTakenOver(record) ? record : { ...record, missed: 0 };
}

/**
 * The end of a job that was taken over: `kept` means that its backup was complete and only the news was lost. What a
 * verification would have found, or an import written, nobody knows, so these never end as done.
 */
export function reclaimedJob(record: JobRecord, outcome: 'removed' | 'kept', now: number): JobRecord {
  if (record.task === 'verify') return ended(record, VERIFY_INTERRUPTED, now);
  if (record.task === 'import') return ended(record, IMPORT_INTERRUPTED, now);
  const { current, total, stored } = record.message;
  if (outcome === 'removed') return ended(record, INTERRUPTED, now);
  const whole = Math.max(current, total);
  const message = 'Stored';
  const { backup_id } = record;
  return ended(record, { phase: 'done', backup_id, current: whole, total: whole, stored: stored ?? 0, message }, now);
}

const INTERRUPTED: JobEnd = {
  phase: 'failed',
  code: 'upload-interrupted',
  detail: 'The upload stopped without a word and what it left behind was removed; upload the file again.',
  message: 'The upload was interrupted',
};

const VERIFY_INTERRUPTED: JobEnd = {
  phase: 'failed',
  code: 'verify-interrupted',
  detail: 'The verification stopped without a word; the backup is as it was. Start the verification again.',
  message: 'The verification was interrupted',
};

const IMPORT_INTERRUPTED: JobEnd = {
  phase: 'failed',
  code: 'import-interrupted',
  detail: 'The import stopped without a word; rows that it had written stay. Start it again with mode=upsert.',
  message: 'The import was interrupted',
};

export function hasEnded(record: JobRecord): boolean {
  return record.ended_at !== undefined;
}

export function isTakenOver(record: JobRecord): boolean {
  return !hasEnded(record) && record.missed >= JOB_MISSED_LEASES;
}

/** Messages that sockets may get in any second (shared/api.md, "Watch"). */
const MESSAGES_A_SECOND = 1000 / PROGRESS_INTERVAL_MS;

/** Those of the `sent` times that still count against the present second. */
export function withinSecond(sent: readonly number[], now: number): number[] {
  return sent.filter((time) => now - time < 1000);
}

/**
 * Milliseconds until a message may go out after those `sent` within the second, oldest first; 0 for now. One place is kept
 * for the last message of the job.
 */
export function waitToSend(sent: readonly number[], phase: Phase, now: number): number {
  const [oldest] = sent;
  if (oldest === undefined || isEnd(phase) || sent.length < MESSAGES_A_SECOND - 1) return 0;
  return oldest + 1000 - now;
}

function ownedBy(record: JobRecord, runId: string): boolean {
  return runOf(record) === runId && !hasEnded(record) && !isTakenOver(record);
}

function ended(record: JobRecord, end: JobEnd, now: number): JobRecord {
  const { open: _, ...rest } = record;
  return { ...rest, message: endMessage(record, end, now), missed: 0, ended_at: now };
}

function endMessage(record: JobRecord, end: JobEnd, now: number): JobMessage {
  if (end.phase === 'done') {
    const { backup_id } = end;
    return { ...stateOf(record.job_id, end, now), ...(backup_id !== undefined && { backup_id }) };
  }
  const { current, total, stored } = record.message;
  const last = { phase: end.phase, current, total, message: end.message, ...(stored !== undefined && { stored }) };
  return { ...stateOf(record.job_id, last, now), code: end.code, detail: end.detail };
}

function stateOf(jobId: string, update: JobUpdate, now: number): JobMessage {
  const current = wholeBytes(update.current);
  const total = wholeBytes(update.total);
  return {
    job_id: jobId,
    phase: update.phase,
    current,
    total,
    percentage: percentage(current, total),
    message: update.message,
    timestamp: new Date(now).toISOString(),
    ...(update.stored !== undefined && { stored: wholeBytes(update.stored) }),
  };
}

function sameState(a: JobMessage, b: JobMessage): boolean {
  return (
    a.phase === b.phase &&
    a.current === b.current &&
    a.total === b.total &&
    a.stored === b.stored &&
    a.message === b.message
  );
}

function wholeBytes(value: number): number {
  return Number.isFinite(value) && value > 0 ? Math.floor(value) : 0;
}
