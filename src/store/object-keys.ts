/**
 * Keys of a backup's objects. The kind comes first, so that R2's own lifecycle and lock rules, which apply to a prefix,
 * can distinguish the kinds (docs/decisions/0020-object-keys.md). The id is a ULID made by the vault: no text of a client
 * is part of a key.
 */
export function dataKey(backupId: string): string {
  return `data/${backupId}`;
}

export function receiptKey(backupId: string): string {
  return `receipt/${backupId}`;
}

/** The index of an archive's members. */
export function indexKey(backupId: string): string {
  return `index/${backupId}`;
}

/** The marker of a deletion: it is written before anything is deleted, and outlives all of it. */
export function deletedKey(backupId: string): string {
  return `deleted/${backupId}`;
}

/** Prefix of everything that only a running upload needs; the keys below it are `tmp/{backup_id}/…`. */
export function tmpPrefix(backupId: string): string {
  return `tmp/${backupId}/`;
}

/** The bytes of a resumable upload as they were sent, where they encode the file. */
export function sentKey(backupId: string): string {
  return `${tmpPrefix(backupId)}sent`;
}

/** Unfinished bytes of an upload that memory had no room for. */
export function asideKey(backupId: string, segment: number): string {
  return `${tmpPrefix(backupId)}aside/${segment}`;
}

/** A sorted run of members, while an index is made of more than memory holds. */
export function indexRunKey(backupId: string, run: number): string {
  return `${tmpPrefix(backupId)}index-run/${run}`;
}

export const OBJECT_KINDS = ['data', 'receipt', 'index', 'deleted', 'tmp'] as const;
export type ObjectKind = (typeof OBJECT_KINDS)[number];

/** The id in a key of that kind, or null where the vault writes no such key. */
export function backupIdInKey(kind: ObjectKind, key: string): string | null {
  const [first, id = '', ...rest] = key.split('/');
  if (first !== kind || rest.length > 0 !== (kind === 'tmp')) return null;
  return isBackupId(id) ? id : null;
}

/** Whether it has the form of a ULID. */
export function isBackupId(text: string): boolean {
  return /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(text);
}
