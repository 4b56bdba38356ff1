import { printable } from './amounts.ts';
import { CommandFailed } from './failures.ts';
import { isEnd, type JobUpdate, jobUpdates } from './job-updates.ts';
import { print, printJson } from './output.ts';
import { Patience, waitFor } from './patience.ts';
import type { Session } from './session.ts';
import type { Transfer } from './transfer-view.ts';
import { isPassing } from './vault-client.ts';

export interface WatchOptions {
  readonly retryFor: number;
}

/** Shows a job until it ends, also one that is still to come. Throws CommandFailed with the job's own words if it failed. */
export async function watch(session: Session, jobId: string, { retryFor }: WatchOptions): Promise<void> {
  const end = await lastUpdate(session, jobId, retryFor, session.view.begin(jobId, null));
  session.view.close();
  if (end.phase === 'failed') throw new CommandFailed(`The job failed: ${printable(end.detail ?? '')} (${end.code})`);
  if (end.phase === 'cancelled') throw new CommandFailed(`The job was cancelled: ${printable(end.message)}`);
  if (!session.json && end.backup_id) await print(`${end.backup_id}\n`);
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
      const waitMs = isPassing(error) ? patience.nextWaitMs() : null;
      if (waitMs === null) throw error;
      session.view.note(`${(error as Error).message} Trying again.`);
      await waitFor(waitMs, session.signal);
    }
  }
}
