/** Keys of a backup's objects. The id is ours (a ULID): nothing of a client's ever stands in a key. */
export function dataKey(backupId: string): string {
  return `${backupId}/data`;
}

export function receiptKey(backupId: string): string {
  return `${backupId}/receipt`;
}

/** The id in a receipt's key, or null where the key is not a receipt's. */
export function backupOfReceiptKey(key: string): string | null {
  return /^([0-9A-HJKMNP-TV-Z]{26})\/receipt$/.exec(key)?.[1] ?? null;
}
