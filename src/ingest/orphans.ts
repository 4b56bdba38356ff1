import { listedAmong } from '../catalogue/backups.ts';
import { uploadingAmong } from '../catalogue/jobs.ts';
import { CHECKED_ORPHANS, LISTED_ORPHANS, ORPHAN_KEPT_MS } from '../shared/limits.ts';
import type { BackupObjects } from '../store/backup-objects.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { rollBack } from './commit-backup.ts';
import type { UploadSessions } from './resumable/upload-sessions.ts';

export interface OrphanDeps {
  readonly store: ObjectStore;
  readonly catalogue: D1Database;
  readonly uploads: Pick<UploadSessions, 'isOpen'>;
}

/** Objects that no backup and no upload has. */
export interface Orphans {
  readonly data: number;
  /** Of uploads that were rolled back. */
  readonly receipt: number;
  readonly index: number;
  /** Leftovers of uploads, below tmp/. */
  readonly tmp: number;
  /** Keys, or their first segments, that the vault does not write. They are never swept. */
  readonly unknown: number;
  /** Of all but the unknown ones. */
  readonly bytes: number;
  /** The first {@link LISTED_ORPHANS}. */
  readonly keys: string[];
  /** Objects of these that were deleted. */
  readonly swept: number;
}

/**
 * Finds orphans, and sweeps the old ones if asked to. An object of a backup without row and receipt is one, unless the
 * backup's upload is open; so is what lies below tmp/ beside a row or receipt, which the upload needs no more.
 *
 * Nothing is swept that could still become a backup: an orphan is swept {@link ORPHAN_KEPT_MS} after the newest object of
 * its backup, when neither the row of its run nor its upload object says that the upload is open, and through `rollBack`,
 * so that a commit that comes all the same is refused and not left without its data.
 */
export class OrphanSearch {
  readonly #deps: OrphanDeps;
  readonly #sweep: boolean;
  readonly #now: number;
  readonly #counts = { data: 0, receipt: 0, index: 0, tmp: 0, unknown: 0, bytes: 0, swept: 0 };
  readonly #keys: string[] = [];
  #checks = 0;

  /** @param now milliseconds since the epoch */
  constructor(deps: OrphanDeps, sweep: boolean, now: number) {
    this.#deps = deps;
    this.#sweep = sweep;
    this.#now = now;
  }

  get found(): Orphans {
    return { ...this.#counts, keys: this.#keys };
  }

  addUnknown(key: string): void {
    this.#counts.unknown += 1;
    this.#list(key);
  }

  /**
   * Looks at backups without a marker. Those whose receipts are good must have been indexed before.
   *
   * @param withReceipt ids of those whose receipt counts
   */
  async lookAt(backups: readonly BackupObjects[], withReceipt: ReadonlySet<string>): Promise<void> {
    const ids = backups.map(({ backupId }) => backupId);
    const listed = await listedAmong(this.#deps.catalogue, ids);
    const uploading = await uploadingAmong(this.#deps.catalogue, ids);
    for (const backup of backups) {
      const owned = listed.has(backup.backupId) || withReceipt.has(backup.backupId);
      if (owned) await this.#lookAtLeftovers(backup.objects.filter(({ kind }) => kind === 'tmp'));
      else if (!uploading.has(backup.backupId)) await this.#lookAtUnlisted(backup);
    }
  }

  async #lookAtLeftovers(leftovers: BackupObjects['objects']): Promise<void> {
    this.#count(leftovers);
    if (!this.#isSwept(leftovers)) return;
    await this.#deps.store.remove(leftovers.map(({ key }) => key));
    this.#counts.swept += leftovers.length;
  }

  async #lookAtUnlisted({ backupId, objects }: BackupObjects): Promise<void> {
    this.#checks += 1;
    const checked = this.#checks <= CHECKED_ORPHANS;
    if (checked && (await this.#deps.uploads.isOpen(backupId))) return;
    this.#count(objects);
    if (!checked || !this.#isSwept(objects)) return;
    if ((await rollBack(this.#deps, backupId)) === 'removed') this.#counts.swept += objects.length;
  }

  #isSwept(objects: BackupObjects['objects']): boolean {
    return this.#sweep && objects.every(({ uploaded }) => this.#now - +uploaded > ORPHAN_KEPT_MS);
  }

  #count(objects: BackupObjects['objects']): void {
    for (const { kind, key, size } of objects) {
      if (kind !== 'deleted') this.#counts[kind] += 1;
      this.#counts.bytes += size;
      this.#list(key);
    }
  }

  #list(key: string): void {
    if (this.#keys.length < LISTED_ORPHANS) this.#keys.push(key);
  }
}
