import { backupIdInKey, dataKey, indexKey, type ObjectKind, receiptKey, tmpPrefix } from './object-keys.ts';
import type { ListedObject, ObjectStore } from './object-store.ts';

/** Keys of everything that belongs to a backup alone, but for those below its tmp/ prefix. */
export function backupKeys(backupId: string): string[] {
  return [receiptKey(backupId), dataKey(backupId), indexKey(backupId)];
}

/** Deletes every object of a backup, but for the marker of its deletion. Objects that do not exist are no error. */
export async function removeBackupObjects(store: ObjectStore, backupId: string): Promise<void> {
  await store.remove(backupKeys(backupId));
  await store.removeAll(tmpPrefix(backupId));
}

/** Whether any object of a backup exists; the marker of a deletion is none. */
export async function hasBackupObjects(store: ObjectStore, backupId: string): Promise<boolean> {
  const sizes = await Promise.all(backupKeys(backupId).map((key) => store.size(key)));
  if (sizes.some((size) => size !== null)) return true;
  for await (const _ of store.list(tmpPrefix(backupId), 1)) return true;
  return false;
}

/** What a bucket holds of one backup. */
export interface BackupObjects {
  readonly backupId: string;
  readonly objects: readonly (ListedObject & { readonly kind: ObjectKind })[];
}

type Found = { readonly backupId: string; readonly object: BackupObjects['objects'][number] };

/**
 * What the bucket holds, backup by backup, in the order of their ids. Each kind is one listing and all are read side by
 * side, so memory holds a page of each. The pages are not of one moment: an object that is written meanwhile may be
 * missing beside one that was written after it.
 *
 * @param onUnknown called with keys under the prefixes of the vault that the vault does not write
 */
export async function* listBackupObjects(
  store: ObjectStore,
  kinds: readonly ObjectKind[],
  onUnknown: (key: string) => void,
): AsyncGenerator<BackupObjects, void, undefined> {
  const listings = kinds.map((kind) => listKind(store, kind, onUnknown));
  const heads = await Promise.all(listings.map((listing) => listing.next()));
  for (;;) {
    const next = heads.flatMap(({ done, value }) => (done || !value ? [] : [value.backupId]));
    const [backupId] = next.sort();
    if (backupId === undefined) return;
    const objects: BackupObjects['objects'][number][] = [];
    for (const [i, listing] of listings.entries()) {
      for (let head = heads[i]; head?.value?.backupId === backupId; head = heads[i]) {
        objects.push(head.value.object);
        heads[i] = await listing.next();
      }
    }
    yield { backupId, objects };
  }
}

async function* listKind(
  store: ObjectStore,
  kind: ObjectKind,
  onUnknown: (key: string) => void,
): AsyncGenerator<Found, void, undefined> {
  for await (const object of store.list(`${kind}/`)) {
    const backupId = backupIdInKey(kind, object.key);
    if (backupId === null) onUnknown(object.key);
    else yield { backupId, object: { ...object, kind } };
  }
}
