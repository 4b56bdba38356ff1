import { z } from 'zod';
import { type BackupReceipt, upsertBackups } from '../catalogue/backups.ts';
import { backupOfReceiptKey, dataKey, receiptKey } from '../store/object-keys.ts';
import type { ObjectStore } from '../store/object-store.ts';

export interface ReindexResult {
  /** Receipts found in the bucket. */
  readonly receipts: number;
  /** Rows written, new or again. */
  readonly indexed: number;
  /** Receipts that cannot be read, or whose data is missing or of another size: their ids. */
  readonly refused: string[];
}

const size = z.number().int().nonnegative();
const checksum = z.string().regex(/^[0-9a-f]{64}$/);

/** A receipt as it stands in the bucket: whatever is there was written by a version of ours, or is refused. */
const Receipt = z.object({
  backup_id: z.string(),
  job_id: z.string(),
  filename: z.string(),
  content_type: z.string(),
  file_size: size,
  checksum,
  stored_size: size,
  stored_checksum: checksum,
  compression: z.union([
    z.object({ codec: z.literal('zstd'), level: size, engine: z.enum(['native', 'wasm']), frames: size }),
    z.object({ codec: z.literal('none') }),
  ]),
  // Nothing was encrypted before receipts spoke of it.
  encryption: z
    .object({ format: z.literal('age'), by: z.enum(['vault', 'sender']), recipients: z.array(z.string()) })
    .nullable()
    .default(null),
  // Receipts of backups that were stored before archives were looked into say nothing of it.
  archive: z
    .object({
      format: z.literal('tar'),
      members: size,
      stopped: z.object({ offset: size, reason: z.string() }).nullable(),
    })
    .nullable()
    .default(null),
  created_at: z.iso.datetime(),
}) satisfies z.ZodType<BackupReceipt>;

/** Receipts read at once; six connections is what the platform gives a request. */
const READS_AT_ONCE = 6;

/** Rebuilds the catalogue's rows from the receipts in the bucket, page by page. Rows without a receipt stay. */
export async function reindex(store: ObjectStore, catalogue: D1Database): Promise<ReindexResult> {
  let receipts = 0;
  let indexed = 0;
  const refused: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await store.list(cursor);
    const ids = page.keys.map(backupOfReceiptKey).filter((id) => id !== null);
    receipts += ids.length;
    for (let at = 0; at < ids.length; at += READS_AT_ONCE) {
      const batch = ids.slice(at, at + READS_AT_ONCE);
      const found = await Promise.all(batch.map((id) => readReceipt(store, id)));
      const good = found.filter((receipt) => receipt !== null);
      await upsertBackups(catalogue, good);
      indexed += good.length;
      for (const [i, receipt] of found.entries()) if (!receipt) refused.push(batch[i] ?? '');
    }
    cursor = page.cursor;
  } while (cursor);
  return { receipts, indexed, refused };
}

async function readReceipt(store: ObjectStore, id: string): Promise<BackupReceipt | null> {
  const { data: receipt } = Receipt.safeParse(await store.readJson(receiptKey(id)).catch(() => null));
  if (receipt?.backup_id !== id) return null;
  return (await store.size(dataKey(id))) === receipt.stored_size ? receipt : null;
}
