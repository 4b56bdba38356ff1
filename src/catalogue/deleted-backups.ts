/**
 * Which ids may have no row in `backups`. D1 runs one write at a time, so between a statement that inserts a row unless
 * its id is deleted and one that deletes an id, one is first, and the outcome is the same for everybody who asks later.
 */

/**
 * Deletes the rows of backups, and keeps them deleted: {@link insertBackup} and {@link upsertBackups} leave these ids out
 * from now on. Ids without a row, or deleted before, are no error.
 *
 * @param at ISO 8601 (UTC); ids deleted before keep their time
 */
export async function deleteBackups(db: D1Database, backupIds: readonly string[], at: string): Promise<void> {
  const ids = JSON.stringify(backupIds);
  await db.batch([
    db
      .prepare(
        `INSERT INTO deleted_backups (backup_id, deleted_at) SELECT value, ?2 FROM json_each(?1) WHERE true
         ON CONFLICT (backup_id) DO NOTHING`,
      )
      .bind(ids, at),
    db.prepare('DELETE FROM backups WHERE backup_id IN (SELECT value FROM json_each(?1))').bind(ids),
  ]);
}

/**
 * Deletes an id unless it has a row: the one decision between an upload that commits and a rollback of it. Returns
 * which of the two came first; a later call returns the same.
 */
export async function deleteUnlisted(db: D1Database, backupId: string, at: string): Promise<'listed' | 'deleted'> {
  const [, row] = await db.batch([
    db
      .prepare(
        `INSERT INTO deleted_backups (backup_id, deleted_at)
         SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM backups WHERE backup_id = ?1)
         ON CONFLICT (backup_id) DO NOTHING`,
      )
      .bind(backupId, at),
    db.prepare('SELECT 1 FROM backups WHERE backup_id = ?1').bind(backupId),
  ]);
  return row?.results.length ? 'listed' : 'deleted';
}

/** Which of these ids were deleted. */
export async function deletedAmong(db: D1Database, backupIds: readonly string[]): Promise<Set<string>> {
  const { results } = await db
    .prepare('SELECT backup_id FROM deleted_backups WHERE backup_id IN (SELECT value FROM json_each(?1))')
    .bind(JSON.stringify(backupIds))
    .all<{ backup_id: string }>();
  return new Set(results.map(({ backup_id }) => backup_id));
}

/** Forgets ids deleted before `before` (ISO 8601). Returns how many. */
export async function purgeDeleted(db: D1Database, before: string): Promise<number> {
  const { meta } = await db.prepare('DELETE FROM deleted_backups WHERE deleted_at < ?1').bind(before).run();
  return meta.changes;
}
