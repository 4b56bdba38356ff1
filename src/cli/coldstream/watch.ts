import { printable, showDuration } from './amounts.ts';
import { CommandFailed, TimedOut } from './failures.ts';
import { isEnd, type JobUpdate, jobUpdates } from './job-updates.ts';
import { print, printJson } from './output.ts';
import { Patience, waitFor } from './patience.ts';
import type { Session } from './session.ts';
import type { Transfer } from './transfer-view.ts';
import { isPassing } from './vault-client.ts';

export interface WatchOptions {
  readonly retryFor: number;
  /** Seconds until it gives up, also on a job that has not started. */
  readonly timeout?: number;
}

/**
 * Shows a job until it ends, also one that has not started. Throws CommandFailed with the reason of a job that failed, and
 * TimedOut.
 */
export async function watch(session: Session, jobId: string, { retryFor, timeout }: WatchOptions): Promise<void> {
  const late = new AbortController();
  const timedOut = () => late.abort(new TimedOut(`The job has not ended within ${showDuration(timeout ?? 0)}.`));
  const timer = timeout === undefined ? undefined : setTimeout(timedOut, timeout * 1000);
  try {
    const signal = AbortSignal.any([session.signal, late.signal]);
    const end = await lastUpdate({ ...session, signal }, jobId, retryFor, session.view.begin(jobId, null));
    session.view.close();
    if (end.phase === 'failed') throw new CommandFailed(`The job failed: ${printable(end.detail ?? '')} (${end.code})`);
    if (end.phase === 'cancelled') throw new CommandFailed(`The job was cancelled: ${printable(end.message)}`);
    if (!session.json && !session.quiet && end.backup_id) await print(`${end.backup_id}\n`);
  } finally {
    clearTimeout(timer);
  }
}

/** Over as many connections as it takes. */
async function lastUpdate(session: Session, jobId: string, retryFor: number, transfer: Transfer): Promise<JobUpdate> {
  const patience = new Patience(retryFor);
  while (true) {
    try {
      for await (const update of jobUpdates(session.client, jobId, session.signal)) {
        patience.renew();
        if (session.json) await printJson(update);
        transfer.phase(update.phase, update.total > 0 ? update.total : null);
        transfer.at(update.current);
        if (isEnd(update)) return update;
      }
    } catch (error) {
      if (session.signal.aborted) throw session.signal.reason;
      const waitMs = isPassing(error) ? patience.nextWaitMs() : null;
      if (waitMs === null) throw error;
      session.view.note(`${(error as Error).message} Trying again.`);
      await waitFor(waitMs, session.signal);
    }
  }
}
