import { releaseLinksOf } from '../catalogue/upload-links.ts';
import type { ObjectStore, OpenUpload } from '../store/object-store.ts';
import { rollBack } from './commit-backup.ts';

/** What a job knows of an upload that stopped giving signs of life. */
export interface DeadUpload {
  readonly backup_id: string;
  readonly open?: OpenUpload | undefined;
}

/**
 * Called by the job's alarm. A committed backup is kept. Of any other nothing is kept, not even where a receipt exists:
 * its sender was never answered, and will send it again. Rejects where the storage cannot be reached; the alarm then
 * retries.
 */
export async function reclaim(
  store: ObjectStore,
  catalogue: D1Database,
  dead: DeadUpload,
): Promise<'removed' | 'kept'> {
  const open = dead.open ? [dead.open] : [];
  if ((await rollBack({ store, catalogue }, dead.backup_id, open)) === 'kept') return 'kept';
  await releaseLinksOf(catalogue, dead.backup_id);
  return 'removed';
}
