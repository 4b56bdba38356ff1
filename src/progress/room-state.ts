import {
  IDLE_JOB_HELD_MS,
  IDLE_JOB_HELD_SAME_TOKEN_MS,
  JOB_KEPT_MS,
  JOB_LEASE_MS,
  JOB_MISSED_LEASES,
  JOB_RETRY_AFTER_SECONDS,
  PROGRESS_INTERVAL_MS,
  SESSION_KEPT_MS,
} from '../shared/limits.ts';
import {
  isEnd,
  type JobEnd,
  type JobHolder,
  type JobMessage,
  type JobRun,
  type JobState,
  type JobUpdate,
  type OpenUpload,
  type Phase,
  percentage,
  type RunRow,
  type Task,
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
  readonly started_at: number;
  readonly ended_at?: number;
  readonly filename: string | null;
  readonly token_id: string | null;
  /** When its run gave the last sign of life. */
  readonly heard_at: number;
  /** Since when a resumable upload has had no open request; null while it has one. */
  readonly idle_since: number | null;
  /** It was cancelled: its run, or the alarm, ends it. */
  readonly cancelling?: true;
};

/** What a run says at its start. */
export type JobStart = TaskRun & {
  readonly job_id: string;
  readonly message: string;
  readonly total: number;
  readonly filename?: string | undefined;
  /** Of the token that began it; null, or absent, where a signed link did. */
  readonly token_id?: string | null;
};

/** `superseded`: the resumable upload that had the job until now, as it ends. */
export type Begun =
  | { readonly kind: 'running'; readonly holder: JobHolder }
  | { readonly kind: 'started'; readonly record: JobRecord; readonly superseded: JobRecord | null };

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
  return stateOf(jobId, null, { phase: 'waiting', current: 0, total: 0, message: 'Waiting for the job to start' }, now);
}

/**
 * Starts the job anew unless a run has it; a run that repeats its own start (a lost answer) gets the same answer. A new
 * upload supersedes a resumable one that has been idle for long enough: a sender that died must not lock the next one out.
 */
export function beginJob(record: JobRecord | null, start: JobStart, now: number): Begun {
  let superseded: JobRecord | null = null;
  if (record && !hasEnded(record)) {
    if (ownedBy(record, runOf(start))) return { kind: 'started', record, superseded };
    const waitMs = heldForMs(record, start, now);
    if (waitMs > 0) {
      return { kind: 'running', holder: { ...runView(record), retry_after_seconds: Math.ceil(waitMs / 1000) } };
    }
    superseded = ended(record, SUPERSEDED, now);
  }
  const { job_id, total, message: said, filename = null, token_id = null, ...run } = start;
  const task = start.task ?? 'upload';
  const message = stateOf(job_id, task, { phase: FIRST_PHASE[task], current: 0, total, message: said }, now);
  const idle_since = run.task === undefined && run.expires_at !== undefined ? now : null;
  const begun = { job_id, message, missed: 0, started_at: now, filename, token_id, heard_at: now, idle_since };
  return { kind: 'started', record: { ...run, ...begun }, superseded };
}

const FIRST_PHASE = { upload: 'receiving', verify: 'verifying', import: 'importing', restore: 'importing' } as const;

/** How long `record` still keeps the job from `start`; 0: no longer. */
function heldForMs(record: JobRecord, start: JobStart, now: number): number {
  const busyMs = JOB_RETRY_AFTER_SECONDS * 1000;
  const isUpload = start.task === undefined || start.task === 'upload';
  // An upload that has all its bytes becomes a backup without its sender.
  if (!isUpload || expiryOf(record) === null || record.message.phase !== 'receiving') return busyMs;
  const since = idleSince(record, now);
  if (since === null) return busyMs;
  const sameToken = record.token_id !== null && record.token_id === start.token_id;
  return Math.max(0, since + (sameToken ? IDLE_JOB_HELD_SAME_TOKEN_MS : IDLE_JOB_HELD_MS) - now);
}

/** A request that died with its runtime never reported that it ended: its silence says so. */
function idleSince(record: JobRecord, now: number): number | null {
  if (expiryOf(record) === null || record.idle_since !== null) return record.idle_since;
  return now - record.heard_at > JOB_LEASE_MS ? record.heard_at : null;
}

function expiryOf(record: TaskRun): number | null {
  return (taskOf(record) === 'upload' && 'expires_at' in record && record.expires_at) || null;
}

export function taskOf(run: TaskRun): Task {
  return run.task ?? 'upload';
}

/** The run of the job as clients see it. */
export function runView(record: JobRecord, now = Date.now()): JobRun {
  return {
    run_id: runOf(record),
    task: taskOf(record),
    backup_id: record.backup_id ?? null,
    token_id: record.token_id,
    started_at: isoTime(record.started_at),
    ended_at: isoTimeOrNull(record.ended_at ?? null),
    idle_since: hasEnded(record) ? null : isoTimeOrNull(idleSince(record, now)),
    expires_at: isoTimeOrNull(expiryOf(record)),
  };
}

export function jobState(record: JobRecord): JobState {
  return { ...runView(record), ...record.message };
}

/** The row of the run as it is now. */
export function runRow(record: JobRecord): RunRow {
  const { idle_since: _, ...run } = runView(record);
  const { phase, message, code = null, detail } = record.message;
  return { ...run, job_id: record.job_id, phase, filename: record.filename, message: detail ?? message, code };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

function isoTimeOrNull(ms: number | null): string | null {
  return ms === null ? null : isoTime(ms);
}

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
  const message = stateOf(record.job_id, taskOf(record), { ...update, current }, now);
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

/** When the alarm has to look at the job again. */
export function alarmAt(record: JobRecord, now: number): number {
  if (record.ended_at !== undefined) return record.ended_at + JOB_KEPT_MS;
  return isTakenOver(record) ? now + JOB_LEASE_MS : (silentUntil(record) ?? now + JOB_LEASE_MS);
}

/** Silence says nothing of a resumable upload before then: its upload object has reported the end by that time. */
function silentUntil(record: JobRecord): number | null {
  const expiry = expiryOf(record);
  return expiry === null ? null : expiry + SESSION_KEPT_MS;
}

/** The record after one lease of a running job. */
export function passLease(record: JobRecord, heard: boolean, now: number): JobRecord {
  // Once taken over it stays so: the run was told, and its leavings may be half removed.
  if (isTakenOver(record)) return record;
  const until = silentUntil(record);
  if (until !== null) return now < until ? record : { ...record, missed: JOB_MISSED_LEASES };
  const missed = heard ? 0 : record.missed + 1;
  return missed === record.missed ? record : { ...record, missed };
}

/** A sign of life: leases missed before no longer count. `idle`: the request that sends it has ended. */
export function heardFrom(record: JobRecord, now: number, idle = false): JobRecord {
  if (isTakenOver(record)) return record;
  return { ...record, missed: 0, heard_at: now, idle_since: idle && expiryOf(record) !== null ? now : null };
}

/**
 * The end of a job that was taken over: `kept` means that its backup was complete and only the news was lost. What a
 * verification would have found, or an import written, nobody knows, so these never end as done.
 */
export function reclaimedJob(record: JobRecord, outcome: 'removed' | 'kept', now: number): JobRecord {
  const task = taskOf(record);
  if (record.cancelling && (task !== 'upload' || outcome === 'removed')) {
    return ended(record, { phase: 'cancelled', message: CANCELLED[task] }, now);
  }
  if (task === 'verify') return ended(record, VERIFY_INTERRUPTED, now);
  if (task !== 'upload') return ended(record, IMPORT_INTERRUPTED, now);
  const { current, total, stored } = record.message;
  if (outcome === 'removed') return ended(record, INTERRUPTED, now);
  const whole = Math.max(current, total);
  const message = 'Stored';
  const { backup_id } = record;
  return ended(record, { phase: 'done', backup_id, current: whole, total: whole, stored: stored ?? 0, message }, now);
}

/** The last message of a cancelled run. */
export const CANCELLED = {
  upload: 'The upload was cancelled',
  verify: 'The verification was cancelled',
  import: 'The import was cancelled; rows that it had written stay',
  restore: 'The restore was cancelled; rows that it had written stay',
} as const satisfies Record<Task, string>;

/** The end of a resumable upload that another upload of the job superseded. */
const SUPERSEDED: JobEnd = {
  phase: 'failed',
  code: 'job-superseded',
  detail: 'A newer upload took over the job, because this one had no open request. Nothing of it was kept.',
  message: 'The upload was superseded',
};

/** A run that was cancelled ends itself when it hears of it; the alarm ends one that is dead. */
export function cancelJob(record: JobRecord | null, runId: string): JobRecord | null {
  if (!record || !ownedBy(record, runId)) return null;
  return { ...record, cancelling: true };
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
  const task = taskOf(record);
  if (end.phase === 'done') {
    const { backup_id } = end;
    return { ...stateOf(record.job_id, task, end, now), ...(backup_id !== undefined && { backup_id }) };
  }
  const { current, total, stored } = record.message;
  const last = { phase: end.phase, current, total, message: end.message, ...(stored !== undefined && { stored }) };
  const state = stateOf(record.job_id, task, last, now);
  return end.phase === 'failed' ? { ...state, code: end.code, detail: end.detail } : state;
}

function stateOf(jobId: string, task: Task | null, update: JobUpdate, now: number): JobMessage {
  const current = wholeBytes(update.current);
  const total = wholeBytes(update.total);
  return {
    job_id: jobId,
    ...(task !== null && { task }),
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
