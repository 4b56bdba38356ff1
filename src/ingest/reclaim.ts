import { deleteBackup, getBackup } from '../catalogue/backups.ts';
import { recordJob } from '../catalogue/jobs.ts';
import { releaseLinksOf } from '../catalogue/upload-links.ts';
import { removeBackupObjects } from '../store/backup-objects.ts';
import type { ObjectStore, OpenUpload } from '../store/object-store.ts';

/** What a job knows of an upload that stopped giving signs of life. */
export interface DeadUpload {
  readonly task?: 'upload';
  readonly job_id: string;
  readonly backup_id: string;
  readonly open?: OpenUpload | undefined;
}

/**
 * Called by the job's alarm. A backup with a row is whole (rows come last): it is kept. Of any other nothing is kept,
 * not even what a receipt tells: its sender was never answered, and will send it again. Rejects where the storage
 * cannot be reached; the alarm then tries again.
 */
export async function reclaim(
  store: ObjectStore,
  catalogue: D1Database,
  dead: DeadUpload,
): Promise<'removed' | 'kept'> {
  if (await getBackup(catalogue, dead.backup_id)) return 'kept';
  if (dead.open) await store.abortUpload(dead.open);
  await removeBackupObjects(store, dead.backup_id);
  // A row may have come between; its objects are gone, so it goes too.
  await deleteBackup(catalogue, dead.backup_id);
  await releaseLinksOf(catalogue, dead.backup_id);
  const now = new Date().toISOString();
  await recordJob(catalogue, {
    job_id: dead.job_id,
    backup_id: dead.backup_id,
    filename: null,
    phase: 'failed',
    message: 'The upload stopped before its end; what had arrived was removed.',
    code: 'upload-interrupted',
    started_at: now,
    ended_at: now,
  });
  return 'removed';
}
