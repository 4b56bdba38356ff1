/** Keys of a backup's objects. The id is ours (a ULID): nothing of a client's ever stands in a key. */
export function dataKey(backupId: string): string {
  return `${backupId}/data`;
}

export function receiptKey(backupId: string): string {
  return `${backupId}/receipt`;
}

/** The index of an archive's members. */
export function indexKey(backupId: string): string {
  return `${backupId}/index`;
}

/** A sorted run of members, while an index is made of more than memory holds. */
export function indexRunKey(backupId: string, run: number): string {
  return `${backupId}/index-run/${run}`;
}

/** What the keys of all objects of a backup begin with. */
export function backupPrefix(backupId: string): string {
  return `${backupId}/`;
}

/** The id in a receipt's key, or null where the key is not a receipt's. */
export function backupOfReceiptKey(key: string): string | null {
  return /^([0-9A-HJKMNP-TV-Z]{26})\/receipt$/.exec(key)?.[1] ?? null;
}
