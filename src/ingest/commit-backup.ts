import { type Backup, insertBackup, receiptOf } from '../catalogue/backups.ts';
import { deleteUnlisted } from '../catalogue/deleted-backups.ts';
import { utf8 } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import { removeBackupObjects } from '../store/backup-objects.ts';
import { receiptKey } from '../store/object-keys.ts';
import type { ObjectStore, OpenUpload } from '../store/object-store.ts';

export interface CommitDeps {
  readonly store: ObjectStore;
  readonly catalogue: D1Database;
}

/** A rollback, or a deletion of the backup by its id, came before the commit. */
export class DeletedBeforeCommit extends VaultError {
  constructor() {
    super('upload-cancelled', 'The backup was deleted while it was uploaded. Upload the file again.');
  }
}

/**
 * Makes a complete upload a backup: the receipt, then the row, so that a row never names what does not exist. The row is
 * the commit: once it is written, {@link rollBack} changes nothing. May be called again after a lost
 * answer. Throws {@link DeletedBeforeCommit}, and the reason of `signal` if it aborts before the row is sent; the receipt
 * may then be left, and the caller must call rollBack.
 */
export async function commitBackup(
  { store, catalogue }: CommitDeps,
  backup: Backup,
  signal?: AbortSignal,
): Promise<void> {
  await store.put(receiptKey(backup.backup_id), utf8(JSON.stringify(receiptOf(backup))));
  signal?.throwIfAborted();
  if (!(await insertBackup(catalogue, backup))) throw new DeletedBeforeCommit();
}

/**
 * Deletes what an upload left, unless it was committed. The upload itself and the alarm of its job may both call this, and
 * a commit may run beside them: the catalogue lets the first one win (`deleteUnlisted`), so that all get the same answer
 * and none undoes what another one reported. May be called again.
 *
 * @param open multipart uploads to abort; one that is still open could be completed after its object was deleted
 */
export async function rollBack(
  { store, catalogue }: CommitDeps,
  backupId: string,
  open: readonly OpenUpload[] = [],
): Promise<'kept' | 'removed'> {
  if ((await deleteUnlisted(catalogue, backupId, new Date().toISOString())) === 'listed') return 'kept';
  for (const each of open) await store.abortUpload(each);
  await removeBackupObjects(store, backupId);
  return 'removed';
}
