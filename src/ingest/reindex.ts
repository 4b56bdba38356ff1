import { z } from 'zod';
import { type BackupReceipt, upsertBackups } from '../catalogue/backups.ts';
import { inBatches, parallelBatches } from '../shared/batches.ts';
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
/** Rows of one statement: what is known of so many receipts is held at once. */
const ROWS_AT_ONCE = 100;

/** Rebuilds the catalogue's rows from the receipts in the bucket. Rows without a receipt stay. */
export async function reindex(store: ObjectStore, catalogue: D1Database): Promise<ReindexResult> {
  let receipts = 0;
  let indexed = 0;
  const refused: string[] = [];
  const read = async ([id = '']: readonly string[]) => ({ id, receipt: await readReceipt(store, id) });
  const found = parallelBatches(receiptIds(store), 1, read, { concurrency: READS_AT_ONCE });
  for await (const batch of inBatches(found, ROWS_AT_ONCE)) {
    const good = batch.flatMap(({ receipt }) => receipt ?? []);
    await upsertBackups(catalogue, good);
    receipts += batch.length;
    indexed += good.length;
    for (const { id, receipt } of batch) if (!receipt) refused.push(id);
  }
  return { receipts, indexed, refused };
}

/** Of all backups whose receipt is in the bucket, in their order. */
async function* receiptIds(store: ObjectStore): AsyncGenerator<string, void, undefined> {
  let cursor: string | undefined;
  do {
    const page = await store.list(cursor);
    yield* page.keys.map(backupOfReceiptKey).filter((id) => id !== null);
    cursor = page.cursor;
  } while (cursor);
}

async function readReceipt(store: ObjectStore, id: string): Promise<BackupReceipt | null> {
  const { data: receipt } = Receipt.safeParse(await store.readJson(receiptKey(id)).catch(() => null));
  if (receipt?.backup_id !== id) return null;
  return (await store.size(dataKey(id))) === receipt.stored_size ? receipt : null;
}
