import { listExpired } from '../catalogue/backups.ts';
import { EXPIRED_PER_RUN } from '../shared/limits.ts';
import { DELETIONS_AT_ONCE, type DeletionDeps, deleteMarked } from './deletion.ts';

/** When a backup expires: so many seconds after it was stored, or at a time (ISO 8601, UTC). */
export type Expiry =
  | { readonly kind: 'after'; readonly seconds: number }
  | { readonly kind: 'at'; readonly time: string };

/**
 * `expires_at` of a receipt: ISO 8601 (UTC); null: the backup does not expire.
 *
 * @param createdAt of the receipt. Not of the upload's beginning, since a resumable upload may take days
 */
export function expiresAt(expiry: Expiry | null, createdAt: string): string | null {
  if (expiry === null) return null;
  if (expiry.kind === 'at') return expiry.time;
  return new Date(Date.parse(createdAt) + expiry.seconds * 1000).toISOString();
}

/**
 * The scheduled run: deletes backups that have expired, the longest expired first. The catalogue hides them from the
 * moment they expire, so when this runs makes no difference to clients. Resolves with how many were deleted.
 */
export async function deleteExpired(deps: DeletionDeps, now = Date.now()): Promise<number> {
  let deleted = 0;
  while (deleted < EXPIRED_PER_RUN) {
    const ids = await listExpired(deps.catalogue, now, DELETIONS_AT_ONCE);
    if (ids.length === 0) break;
    await deleteMarked(deps, ids, now);
    deleted += ids.length;
  }
  return deleted;
}
