import { ulid } from 'ulidx';
import { type Backup, recordVerification, type Verification } from '../catalogue/backups.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { JobCancelled, type JobPublisher, type JobRooms, JobRunning } from '../progress/publisher.ts';
import { VaultError } from '../shared/errors.ts';
import { type IsolateMemory, sharesInTurn } from '../shared/isolate-memory.ts';
import { dataKey } from '../store/object-keys.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { StoredDataLost } from '../store/stored-data-lost.ts';
import { CHECK_BYTES, checkStored, type Fault, type StoredCheck } from './check-stored.ts';

export interface VerifyRooms {
  readonly store: ObjectStore;
  readonly catalogue: D1Database;
  readonly jobs: JobRooms;
  readonly engine: ZstdEngine;
  readonly memory: Pick<IsolateMemory, 'turns' | 'windows'>;
}

export interface VerifyOrder {
  readonly job_id: string;
  readonly token_id?: string | null;
  /** Ends it early, as interrupted. */
  readonly signal?: AbortSignal;
}

export interface VerifyResult extends Verification {
  readonly backup_id: string;
  readonly job_id: string;
  readonly ok: boolean;
  readonly frames_checked: number;
  readonly broken_frames: number;
}

export class VerifyInterrupted extends VaultError {
  constructor(options?: ErrorOptions) {
    super('verify-interrupted', 'The verification was interrupted; the backup is as it was. Start it again.', options);
  }
}

/** The stored bytes are not those that were uploaded. The facts are a {@link VerifyResult}. */
export class BackupDamaged extends VaultError {
  constructor(detail: string, found: VerifyResult) {
    super('stored-data-corrupt', detail, { facts: { ...found } });
  }
}

/** The backup was deleted meanwhile. */
export class BackupRemoved extends VaultError {
  constructor() {
    super('not-found', 'The backup was removed while it was verified.');
  }
}

/**
 * Reads a backup back and records the result with it. Resolves if the backup is whole. Throws {@link BackupDamaged}, or
 * StoredDataLost if the object is missing, once the damage is recorded. Any other error (storage, a job that another run
 * took over, the signal) ends the reading early and records nothing.
 */
export async function verifyBackup(rooms: VerifyRooms, backup: Backup, order: VerifyOrder): Promise<VerifyResult> {
  const run = await beginRun(rooms, backup, order);
  const { check, found } = await checkAndRecord(rooms, run);
  const { backup_id } = backup;
  if (check.missing) throw new StoredDataLost('missing', dataKey(backup_id));
  const { frames_checked, broken_frames } = check;
  const ok = found.damage === null;
  const result = { backup_id, job_id: order.job_id, ok, ...found, frames_checked, broken_frames };
  if (check.fault) throw new BackupDamaged(damageDetail(check, check.fault), result);
  return result;
}

async function checkAndRecord(rooms: VerifyRooms, run: Run): Promise<{ check: StoredCheck; found: Verification }> {
  try {
    const check = await checkInTurns(rooms, run);
    if (!run.job.alive()) throw new VerifyInterrupted();
    run.job.signal.throwIfAborted();
    const now = new Date().toISOString();
    const found: Verification = check.fault
      ? { verified_at: null, damage: { found_at: now, ...check.fault } }
      : { verified_at: now, damage: null };
    if (!(await recordVerification(rooms.catalogue, run.backup.backup_id, found))) throw new BackupRemoved();
    await (check.fault ? endDamaged(run, check, check.fault) : endWhole(run, check));
    return { check, found };
  } catch (error) {
    await endFailed(run, error);
    throw error;
  }
}

interface Run {
  readonly backup: Backup;
  readonly job_id: string;
  readonly run_id: string;
  readonly job: JobPublisher;
  readonly signal: AbortSignal | undefined;
}

async function beginRun(
  { jobs }: VerifyRooms,
  backup: Backup,
  { job_id, token_id = null, signal }: VerifyOrder,
): Promise<Run> {
  const run_id = ulid();
  const { backup_id, filename, stored_size } = backup;
  const message = `Waiting to verify ${filename}`;
  const start = { task: 'verify', job_id, backup_id, run_id, filename, token_id, total: stored_size, message } as const;
  const begun = await jobs.begin(start);
  if (begun.kind === 'running') throw new JobRunning(job_id, begun.holder);
  return { backup, job_id, run_id, job: jobs.publisher(job_id, run_id, 'verify'), signal };
}

async function checkInTurns(deps: VerifyRooms, run: Run): Promise<StoredCheck> {
  const { turns, windows } = deps.memory;
  try {
    const share = await windows.acquire(HOLDER, run.signal, CHECK_BYTES);
    try {
      const turn = sharesInTurn(() => turns.acquire(HOLDER, run.signal));
      return await checkStored({ ...deps, turn }, run.backup, (bytes) => onRead(run, bytes));
    } finally {
      share.release();
    }
  } catch (error) {
    throw run.signal?.aborted ? new VerifyInterrupted({ cause: error }) : error;
  }
}

/** Verifications share turns as one: together they never take more of the isolate than one client does. */
const HOLDER = 'verify';

function onRead({ backup, job, signal }: Run, bytes: number): void {
  signal?.throwIfAborted();
  if (!job.alive()) throw new VerifyInterrupted();
  job.signal.throwIfAborted();
  const { filename, stored_size } = backup;
  const total = Math.max(stored_size, bytes);
  job.publish({ phase: 'verifying', current: bytes, total, message: `Verifying ${filename}` });
}

async function endWhole(run: Run, { frames_checked }: StoredCheck): Promise<void> {
  const { backup_id, filename, stored_size } = run.backup;
  // Of what is encrypted no frame was seen.
  const agreeing = frames_checked === 0 ? 'the SHA-256 agrees' : 'every frame and the SHA-256 agree';
  const message = `Verified ${filename}: ${agreeing}`;
  await run.job.finish({ phase: 'done', backup_id, current: stored_size, total: stored_size, message });
}

async function endDamaged(run: Run, check: StoredCheck, fault: Fault): Promise<void> {
  const detail = damageDetail(check, fault);
  const code = check.missing ? 'stored-data-lost' : 'stored-data-corrupt';
  await run.job.finish({ phase: 'failed', code, detail, message: `${run.backup.filename} is damaged` });
}

/** A sentence or two: what is broken, and where. */
function damageDetail({ frames_checked, broken_frames }: StoredCheck, { reason, frame, offset }: Fault): string {
  if (frame === null) {
    return `The backup is damaged${offset === null ? '' : ` at byte ${offset} of the stored object`}: ${reason}.`;
  }
  const count = `${broken_frames} of ${frames_checked} frames that were checked ${broken_frames === 1 ? 'is' : 'are'} broken`;
  return `Frame ${frame}, which begins at byte ${offset} of the stored object, is broken: ${reason}. ${count}.`;
}

async function endFailed(run: Run, error: unknown): Promise<void> {
  const { code, message } =
    error instanceof VaultError
      ? error
      : { code: 'internal-error' as const, message: 'The verification failed. Start it again.' };
  const { filename } = run.backup;
  await run.job.finish(
    error instanceof JobCancelled
      ? { phase: 'cancelled', message: `Verification of ${filename} was cancelled` }
      : { phase: 'failed', code, detail: message, message: `Verification of ${filename} failed` },
  );
}
