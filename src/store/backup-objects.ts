import { dataKey, indexKey, receiptKey, tmpPrefix } from './object-keys.ts';
import type { ObjectStore } from './object-store.ts';

/** Deletes every object of a backup. Objects that do not exist are no error. */
export async function removeBackupObjects(store: ObjectStore, backupId: string): Promise<void> {
  await store.remove([receiptKey(backupId), dataKey(backupId), indexKey(backupId)]);
  await store.removeAll(tmpPrefix(backupId));
}
