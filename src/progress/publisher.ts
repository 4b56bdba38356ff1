import { ulid } from 'ulidx';
import { VaultError } from '../shared/errors.ts';
import { TooManyTransfers } from '../shared/holder-limit.ts';
import { HEARTBEAT_MS, JOB_TEXT_CHARS, PROGRESS_INTERVAL_MS } from '../shared/limits.ts';
import { retry } from '../shared/retry.ts';
import { callRoom } from './itty-room.ts';
import {
  isEnd,
  type JobEnd,
  type JobHolder,
  type JobState,
  type JobUpdate,
  type OpenUpload,
  type Task,
} from './messages.ts';
import type { BeginReply, CancelReply, RoomReply } from './progress-room.ts';
import { CANCELLED, type JobStart } from './room-state.ts';

/** The room of a job cannot be reached. */
export class JobUnavailable extends VaultError {
  readonly jobId: string;

  constructor(jobId: string, cause: unknown) {
    super('job-unavailable', `The progress of job "${jobId}" cannot be reached now; try again in a moment.`, { cause });
    this.jobId = jobId;
  }
}

/** A job has one run at a time. Its facts name the run that has it, and `Retry-After` says when to ask again. */
export class JobRunning extends VaultError {
  constructor(jobId: string, holder: JobHolder) {
    super('job-running', runningDetail(jobId, holder), { facts: { job_id: jobId, ...holder } });
  }
}

function runningDetail(
  jobId: string,
  { task, backup_id, run_id, started_at, token_id, idle_since }: JobHolder,
): string {
  const by = token_id === null ? 'a link' : `the token ${token_id}`;
  const idle = idle_since === null ? '' : ` It has been idle since ${idle_since}.`;
  return (
    `The job "${jobId}" is running: ${task} ${backup_id ?? run_id}, begun at ${started_at} by ${by}.${idle} ` +
    `Wait for its end, cancel it (POST /jobs/${jobId}/cancel), or use another job_id.`
  );
}

/** The run was cancelled. */
export class JobCancelled extends VaultError {
  constructor(task: Task) {
    const code = task === 'upload' ? 'upload-cancelled' : 'job-cancelled';
    super(code, `${CANCELLED[task]}.${task === 'upload' ? ' Nothing of it was kept.' : ''}`);
  }
}

/** The job belongs to another run, or was taken for dead and cleaned up. */
export class JobSuperseded extends VaultError {
  readonly jobId: string;

  constructor(jobId: string) {
    super('upload-superseded', `Job "${jobId}" was taken over while this upload ran; upload the file again.`);
    this.jobId = jobId;
  }
}

/** What one run tells its job. Publishing neither slows nor fails it: newest wins, one call at a time. */
export interface JobPublisher {
  /** Returns at once and never throws. */
  publish(update: JobUpdate): void;
  /** Durable before it resolves. Throws {@link JobUnavailable} or {@link JobSuperseded}. */
  noteOpen(open: OpenUpload): Promise<void>;
  /** False once the room has said that the job is no longer this run's. */
  alive(): boolean;
  /** Aborts with {@link JobSuperseded} or {@link JobCancelled} once the run has to stop; a cancelled run still ends its job. */
  readonly signal: AbortSignal;
  /**
   * Ends the job and stops the publisher. Never throws; false where the room stayed silent. Its alarm then finds the end
   * out, except that of a resumable upload: that must report it again.
   */
  finish(end: JobEnd): Promise<boolean>;
  /** Stops the publisher of a resumable upload, once the room knows the newest state, or did not answer: no request is open. */
  pause(): Promise<void>;
  /** Stops the publisher without an end: the job's alarm misses the signs of life and takes back what is left. */
  abandon(): void;
}

export interface JobRooms {
  /** Starts a job anew unless a run has it. Throws {@link JobUnavailable}. */
  begin(job: JobStart): Promise<BeginReply>;
  /** Sends signs of life from now until its `finish`. The run of an upload has the id of its backup. */
  publisher(jobId: string, runId: string, task?: Task): JobPublisher;
  /** The present state; an unknown job is `waiting` and stores nothing. Throws {@link JobUnavailable}. */
  snapshot(jobId: string): Promise<JobState>;
  /** Cancels a run that is no resumable upload: it ends when it hears of it. Throws {@link JobUnavailable}. */
  cancel(jobId: string, runId: string): Promise<CancelReply>;
  /**
   * The 101 whose `webSocket` belongs to the subscriber. Throws {@link JobUnavailable}, and TooManyTransfers where `holder`,
   * a token or a link, has `most` sockets in the isolate of the job.
   */
  subscribe(jobId: string, holder: string, most: number): Promise<Response>;
}

export function jobRooms(rooms: DurableObjectNamespace): JobRooms {
  async function surely<T>(jobId: string, call: () => Promise<T>): Promise<T> {
    try {
      return await retry(call, () => true);
    } catch (error) {
      throw new JobUnavailable(jobId, error);
    }
  }

  return {
    async begin(job) {
      const start = { ...job, message: clipped(job.message) };
      return surely(job.job_id, async () => (await callRoom(rooms, job.job_id, 'begin', start)).json());
    },
    publisher: (jobId, runId, task = 'upload') => startPublisher(rooms, jobId, runId, task, surely),
    cancel: (jobId, runId) =>
      surely(jobId, async () => (await callRoom(rooms, jobId, 'cancel', { run_id: runId })).json()),
    snapshot: (jobId) =>
      surely(jobId, async () => (await callRoom(rooms, jobId, 'snapshot', { job_id: jobId })).json()),
    async subscribe(jobId, holder, most) {
      const order = { job_id: jobId, holder, most };
      const answer = await surely(jobId, () => callRoom(rooms, jobId, 'subscribe', order, { upgrade: 'websocket' }));
      if (answer.status !== 101) throw new TooManyTransfers(most, 'sockets');
      return answer;
    },
  };
}

/** Tells a job that a run of it was refused before it began: somebody may be watching. A job that runs is left alone. */
export async function refuseRun(
  jobs: JobRooms,
  task: 'upload' | 'import' | 'restore',
  job_id: string,
  { code, message: detail }: VaultError,
): Promise<void> {
  // An idle upload keeps the job, too: a refused run supersedes none.
  const { phase } = await jobs.snapshot(job_id);
  if (phase !== 'waiting' && !isEnd(phase)) return;
  const id = ulid();
  const run = task === 'upload' ? { backup_id: id } : { task, run_id: id };
  const begun = await jobs.begin({ ...run, job_id, total: 0, message: 'Refused' });
  if (begun.kind === 'running') return;
  await jobs.publisher(job_id, id, task).finish({ phase: 'failed', code, detail, message: `The ${task} was refused` });
}

type Surely = <T>(jobId: string, call: () => Promise<T>) => Promise<T>;

function startPublisher(
  rooms: DurableObjectNamespace,
  jobId: string,
  runId: string,
  task: Task,
  surely: Surely,
): JobPublisher {
  const stopping = new AbortController();
  let newest: JobUpdate | null = null;
  let due = false;
  let calling = false;
  let finished = false;
  let superseded = false;
  let lastCallMs = Date.now();
  let lastPhase = '';

  async function call(method: string, facts: object): Promise<RoomReply> {
    const response = await callRoom(rooms, jobId, method, { run_id: runId, ...facts });
    const reply: RoomReply = await response.json();
    if (reply.kind === 'superseded') {
      superseded = true;
      clearInterval(timer);
      stopping.abort(new JobSuperseded(jobId));
    } else if (reply.kind === 'cancelled') stopping.abort(new JobCancelled(task));
    return reply;
  }

  async function send(): Promise<void> {
    calling = true;
    due = false;
    lastCallMs = Date.now();
    lastPhase = newest?.phase ?? lastPhase;
    try {
      await call('update', { update: newest });
    } catch {
      // The run matters more than the news of it: the newest state goes out with the next tick.
      due = newest !== null;
    } finally {
      calling = false;
    }
  }

  function sendIfTime(): void {
    if (calling || finished || superseded) return;
    const since = Date.now() - lastCallMs;
    const newPhase = due && newest?.phase !== lastPhase;
    if (newPhase || (due && since >= PROGRESS_INTERVAL_MS) || since >= HEARTBEAT_MS) void send();
  }

  const timer = setInterval(sendIfTime, PROGRESS_INTERVAL_MS);

  return {
    publish(update) {
      newest = { ...update, message: clipped(update.message) };
      due = true;
      sendIfTime();
    },
    async noteOpen(open) {
      const reply = await surely(jobId, () => call('noteOpen', { open }));
      if (reply.kind === 'superseded') throw new JobSuperseded(jobId);
    },
    alive: () => !superseded,
    signal: stopping.signal,
    abandon() {
      finished = true;
      clearInterval(timer);
    },
    async finish(end) {
      if (finished) return true;
      finished = true;
      clearInterval(timer);
      if (superseded) return true;
      return surely(jobId, () => call('finish', { end: clippedEnd(end) })).then(
        () => true,
        () => false,
      );
    },
    async pause() {
      if (finished) return;
      finished = true;
      clearInterval(timer);
      if (!superseded) await call('update', { update: newest, idle: true }).catch(() => undefined);
    },
  };
}

function clippedEnd(end: JobEnd): JobEnd {
  const message = clipped(end.message);
  return end.phase === 'failed' ? { ...end, message, detail: clipped(end.detail) } : { ...end, message };
}

function clipped(text: string): string {
  return text.length > JOB_TEXT_CHARS ? `${text.slice(0, JOB_TEXT_CHARS - 1)}…` : text;
}
