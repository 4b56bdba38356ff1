/**
 * Keys of a backup's objects. The kind comes first, so that R2's own lifecycle and lock rules, which apply to a prefix,
 * can tell the kinds apart (docs/decisions/0020-object-keys.md). The id is a ULID made by the vault: no text of a client
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

/** Prefix of everything that only a running upload needs; the keys below it are `tmp/{backup_id}/…`. */
export function tmpPrefix(backupId: string): string {
  return `tmp/${backupId}/`;
}

/** A sorted run of members, while an index is made of more than memory holds. */
export function indexRunKey(backupId: string, run: number): string {
  return `${tmpPrefix(backupId)}index-run/${run}`;
}

/** The id in a receipt's key, or null where the key is not a receipt's. */
export function backupOfReceiptKey(key: string): string | null {
  return /^receipt\/([0-9A-HJKMNP-TV-Z]{26})$/.exec(key)?.[1] ?? null;
}
