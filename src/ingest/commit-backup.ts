import { type Backup, insertBackup, receiptOf } from '../catalogue/backups.ts';
import { utf8 } from '../shared/bytes.ts';
import { receiptKey } from '../store/object-keys.ts';
import type { ObjectStore } from '../store/object-store.ts';

/** The receipt, then the row: a row never names what is not there. May be done again after a lost answer. */
export async function commitBackup(
  { store, catalogue }: { readonly store: ObjectStore; readonly catalogue: D1Database },
  backup: Backup,
): Promise<void> {
  await store.put(receiptKey(backup.backup_id), utf8(JSON.stringify(receiptOf(backup))));
  await insertBackup(catalogue, backup);
}
