import { z } from 'zod';
import { type BackupReceipt, upsertBackups } from '../catalogue/backups.ts';
import { deletedAmong } from '../catalogue/deleted-backups.ts';
import { inBatches, parallelBatches } from '../shared/batches.ts';
import { type BackupObjects, listBackupObjects } from '../store/backup-objects.ts';
import { dataKey, OBJECT_KINDS, receiptKey } from '../store/object-keys.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { finishDeletions, isDeleted } from './deletion.ts';
import { type OrphanDeps, OrphanSearch, type Orphans } from './orphans.ts';

export interface ReindexResult {
  /** Receipts found in the bucket, but for those of deleted backups and of uploads that were rolled back. */
  readonly receipts: number;
  /** Rows written, new or again. */
  readonly indexed: number;
  /** Receipts that cannot be read, or whose data is missing or of another size: their ids. */
  readonly refused: string[];
  /** Interrupted deletions of which something was left. */
  readonly deletions_finished: number;
  readonly orphans: Orphans;
}

const size = z.number().int().nonnegative();
const checksum = z.string().regex(/^[0-9a-f]{64}$/);

/** A receipt as it stands in the bucket: whatever is there was written by a version of ours, or is refused. */
const Receipt = z
  .object({
    backup_id: z.string(),
    job_id: z.string(),
    // The filename was the whole name before names were paths.
    name: z.string().optional(),
    filename: z.string(),
    content_type: z.string(),
    file_size: size,
    checksum,
    stored_size: size,
    stored_checksum: checksum,
    compression: z.union([
      z.object({
        codec: z.literal('zstd'),
        level: size.nullable(),
        lowest_level: size.optional(),
        engine: z.enum(['native', 'wasm', 'client']),
        frames: size,
      }),
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
    // Receipts did not always have these two.
    created_by: z.string().nullable().default(null),
    expires_at: z.iso.datetime().nullable().default(null),
  })
  .transform((receipt) => ({ ...receipt, name: receipt.name ?? receipt.filename })) satisfies z.ZodType<BackupReceipt>;

/** Receipts read at once; six connections is what the platform gives a request. */
const READING = { concurrency: 6 };
/** Backups whose rows are one statement, and that are held at once. */
const BACKUPS_AT_ONCE = 100;

/**
 * Rebuilds the catalogue's rows from the receipts in the bucket, but for deleted backups (deletion.ts says why they stay
 * deleted), and looks for objects that no backup has. Rows without a receipt stay.
 *
 * @param sweep whether old orphans are deleted
 */
export async function reindex(
  deps: OrphanDeps,
  { sweep }: { readonly sweep: boolean },
  now = Date.now(),
): Promise<ReindexResult> {
  const { store, catalogue } = deps;
  const search = new OrphanSearch(deps, sweep, now);
  const refused: string[] = [];
  let receipts = 0;
  let indexed = 0;
  let deletions_finished = 0;
  const backups = listBackupObjects(store, OBJECT_KINDS, (key) => search.addUnknown(key));
  for await (const batch of inBatches(backups, BACKUPS_AT_ONCE)) {
    const deleted = batch.filter(isDeleted);
    await finishDeletions(deps, deleted, now);
    deletions_finished += deleted.filter(({ objects }) => objects.length > 1).length;
    const others = batch.filter((backup) => !isDeleted(backup));
    // A receipt of an upload that was rolled back: its put was answered late, after the rollback.
    const rolledBack = await deletedAmong(catalogue, idsOf(others));
    const found = others.filter((backup) => hasReceipt(backup) && !rolledBack.has(backup.backupId));
    const good: BackupReceipt[] = [];
    for await (const { id, receipt } of parallelBatches(found, 1, read, READING)) {
      receipts += 1;
      if (receipt) good.push(receipt);
      else refused.push(id);
    }
    indexed += await upsertBackups(catalogue, good);
    await search.lookAt(others, new Set(idsOf(found)));
  }
  for (const prefix of await store.prefixes()) if (!PREFIXES.has(prefix)) search.addUnknown(prefix);
  return { receipts, indexed, refused, deletions_finished, orphans: search.found };

  async function read([backup]: readonly BackupObjects[]) {
    return { id: backup?.backupId ?? '', receipt: backup ? await readReceipt(store, backup) : null };
  }
}

const PREFIXES = new Set(OBJECT_KINDS.map((kind) => `${kind}/`));

function hasReceipt({ objects }: BackupObjects): boolean {
  return objects.some(({ kind }) => kind === 'receipt');
}

function idsOf(backups: readonly BackupObjects[]): string[] {
  return backups.map(({ backupId }) => backupId);
}

/** The data's size is as it was listed, unless that differs: the listings of receipts and data are not of one moment. */
async function readReceipt(store: ObjectStore, { backupId, objects }: BackupObjects): Promise<BackupReceipt | null> {
  const { data: receipt } = Receipt.safeParse(await store.readJson(receiptKey(backupId)).catch(() => null));
  if (receipt?.backup_id !== backupId) return null;
  const listed = objects.find(({ kind }) => kind === 'data')?.size;
  if (listed === receipt.stored_size) return receipt;
  return (await store.size(dataKey(backupId))) === receipt.stored_size ? receipt : null;
}
