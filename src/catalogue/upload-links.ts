/** A link for one upload, taken by the backup that is being made of it. `expires_at` is ISO 8601 (UTC). */
export interface LinkClaim {
  readonly link_id: string;
  readonly backup_id: string;
  readonly expires_at: string;
}

/**
 * Takes a link for a backup, in one statement, so that of two uploads at once exactly one gets it. True for the one
 * that got it, also when it asks again after a lost answer; false where another backup has it.
 */
export async function claimLink(db: D1Database, claim: LinkClaim): Promise<boolean> {
  const { meta } = await db
    .prepare(
      `INSERT INTO upload_links (link_id, backup_id, expires_at) VALUES (?1, ?2, ?3)
       ON CONFLICT (link_id) DO UPDATE SET expires_at = excluded.expires_at
       WHERE upload_links.backup_id = excluded.backup_id`,
    )
    .bind(claim.link_id, claim.backup_id, claim.expires_at)
    .run();
  return meta.changes > 0;
}

/** Makes a link usable again, because its upload failed. */
export async function releaseLink(db: D1Database, linkId: string): Promise<void> {
  await db.prepare('DELETE FROM upload_links WHERE link_id = ?1').bind(linkId).run();
}

/** The same by backup: for who cleans up after an upload that died and never knew its link. */
export async function releaseLinksOf(db: D1Database, backupId: string): Promise<void> {
  await db.prepare('DELETE FROM upload_links WHERE backup_id = ?1').bind(backupId).run();
}

/** Forgets links that expired before `before` (ISO 8601): their signature refuses them by then. Gives how many. */
export async function purgeLinks(db: D1Database, before: string): Promise<number> {
  const { meta } = await db.prepare('DELETE FROM upload_links WHERE expires_at < ?1').bind(before).run();
  return meta.changes;
}
