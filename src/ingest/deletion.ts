/**
 * Deleting a backup, in three steps of which each holds what the one before could lose:
 *
 *     1. the marker `deleted/{id}`     holds where the catalogue is lost, restored to an earlier time or rebuilt
 *     2. the row, and the id in        holds beside everything that writes rows while the catalogue lives: a running
 *        `deleted_backups` (one step)  `reindex` and the commit of an upload
 *     3. the objects                   may take several tries
 *
 * A DELETE is answered 204 after step 3. Why it stays deleted then:
 *
 * - A row is only ever written by a statement that leaves out ids in `deleted_backups`, and D1 runs one write at a time.
 *   Whoever read the receipt before, and whenever it writes: its statement comes before step 2, which deletes the row, or
 *   after it, and writes none. So it makes no difference where in between a `reindex` looks, or where it dies.
 * - If the catalogue is lost, so is `deleted_backups`, but the marker is not. `reindex` lists markers beside receipts, and
 *   puts ids with a marker into `deleted_backups`, never into `backups`. A marker that its listing missed is newer than
 *   the listing, so its DELETE has yet to reach step 2, in the catalogue that is being rebuilt.
 * - If an earlier state of the catalogue is restored, it has the row again until the next `reindex` or daily run, which
 *   delete it because of the marker; its bytes are gone, so until then a download is answered 410.
 *
 * A DELETE that dies before step 2 changed nothing that a client sees; one that dies later has deleted the row. Neither
 * was answered. {@link finishDeletions} takes both through steps 2 and 3, as does another DELETE of the same id.
 *
 * A backup that expires is deleted in the same steps by the scheduled run (expiry.ts). Until then its row hides it.
 *
 * A marker goes {@link DELETION_KEPT_MS} after the deletion, in the run that has just deleted the objects once more. By
 * then nothing that the vault does can bring back a row or a byte: an upload lives 6 days at most, its multipart upload
 * 7, and the catalogue can be restored to a time at most 30 days ago (D1 Time Travel). A copy of the bucket that is
 * older than the marker and is put back by hand does bring the backup back.
 */
import { getBackup } from '../catalogue/backups.ts';
import { deleteBackups, purgeDeleted } from '../catalogue/deleted-backups.ts';
import { inBatches, parallelBatches } from '../shared/batches.ts';
import { utf8 } from '../shared/bytes.ts';
import { DELETION_KEPT_MS } from '../shared/limits.ts';
import {
  type BackupObjects,
  backupKeys,
  hasBackupObjects,
  listBackupObjects,
  removeBackupObjects,
} from '../store/backup-objects.ts';
import { deletedKey, isBackupId } from '../store/object-keys.ts';
import type { ObjectStore } from '../store/object-store.ts';

export interface DeletionDeps {
  readonly store: ObjectStore;
  readonly catalogue: D1Database;
}

/**
 * Deletes a backup, also one that has no row or lacks some of its objects. Returns whether there was anything to delete.
 * May be called again after a failure.
 */
export async function deleteBackup({ store, catalogue }: DeletionDeps, backupId: string): Promise<boolean> {
  if (!isBackupId(backupId)) return false;
  if (!(await getBackup(catalogue, backupId)) && !(await hasBackupObjects(store, backupId))) return false;
  const deleted_at = new Date().toISOString();
  await putMarker(store, backupId, deleted_at);
  await deleteBackups(catalogue, [backupId], deleted_at);
  await removeBackupObjects(store, backupId);
  return true;
}

async function putMarker(store: ObjectStore, backup_id: string, deleted_at: string): Promise<void> {
  await store.put(deletedKey(backup_id), utf8(JSON.stringify({ backup_id, deleted_at })));
}

/** Backups whose deletions are finished together: one statement, and one call of the storage for their keys. */
export const DELETIONS_AT_ONCE = 250;
/** Markers written at once; six connections is what the platform gives a request. */
const MARKING = { concurrency: 6 };

/** Deletes committed backups, at most {@link DELETIONS_AT_ONCE}, in the same three steps. May be called again after a failure. */
export async function deleteMarked(deps: DeletionDeps, backupIds: readonly string[], now: number): Promise<void> {
  const deleted_at = new Date(now).toISOString();
  const mark = async ([id = '']: readonly string[]) => putMarker(deps.store, id, deleted_at);
  for await (const _ of parallelBatches(backupIds, 1, mark, MARKING));
  const marked = backupIds.map((backupId) => ({ backupId, objects: [] }));
  await finishDeletions(deps, marked, now);
}

/** The daily run: finishes interrupted deletions, and forgets those of long ago. */
export async function tidyDeletions(deps: DeletionDeps, now = Date.now()): Promise<void> {
  const marked = filtered(
    listBackupObjects(deps.store, ['deleted', 'tmp'], () => undefined),
    isDeleted,
  );
  for await (const batch of inBatches(marked, DELETIONS_AT_ONCE)) await finishDeletions(deps, batch, now);
  await purgeDeleted(deps.catalogue, new Date(now - DELETION_KEPT_MS).toISOString());
}

/** Whether the bucket holds the marker of the backup's deletion. */
export function isDeleted({ objects }: BackupObjects): boolean {
  return objects.some(({ kind }) => kind === 'deleted');
}

/**
 * Takes the deletions of backups with a marker to their end, and deletes markers that have had their time. Which objects
 * are left need not be known, but for those below tmp/.
 */
export async function finishDeletions(
  { store, catalogue }: DeletionDeps,
  marked: readonly BackupObjects[],
  now: number,
): Promise<void> {
  if (marked.length === 0) return;
  const ids = marked.map(({ backupId }) => backupId);
  await deleteBackups(catalogue, ids, new Date(now).toISOString());
  const objects = marked.flatMap((backup) => backup.objects);
  const tmp = objects.flatMap(({ kind, key }) => (kind === 'tmp' ? [key] : []));
  await store.remove([...ids.flatMap(backupKeys), ...tmp]);
  const expired = objects.filter(({ kind, uploaded }) => kind === 'deleted' && now - +uploaded > DELETION_KEPT_MS);
  await store.remove(expired.map(({ key }) => key));
}

async function* filtered<T>(items: AsyncIterable<T>, passes: (item: T) => boolean): AsyncGenerator<T, void, undefined> {
  for await (const item of items) if (passes(item)) yield item;
}
