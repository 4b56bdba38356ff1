import { BACKUP_COLUMNS, type Backup, type BackupRow, backupOf } from './backups.ts';
import { RUN_COLUMNS, type RunRecord } from './jobs.ts';

/** The tables that may leave the vault, but for backups that have expired. Tokens and links may not. */
export type ExportTable = 'backups' | 'jobs';

export interface ExportRow {
  readonly key: string;
  readonly record: Backup | RunRecord;
}

export interface ExportPage {
  readonly rows: ExportRow[];
  /** The key of the last row, to ask for the next page with; null where this is the last page. */
  readonly after: string | null;
}

/**
 * The rows of a table whose keys come after `after` (null: from the first), at most `limit`, in the order of their
 * keys. By key and not by OFFSET: the cost of a page does not grow, and a row deleted meanwhile moves no other.
 */
export async function exportPage(
  db: D1Database,
  table: ExportTable,
  after: string | null,
  limit: number,
): Promise<ExportPage> {
  const rows = table === 'backups' ? await backupsAfter(db, after, limit) : await jobsAfter(db, after, limit);
  return { rows, after: rows.length < limit ? null : (rows.at(-1)?.key ?? null) };
}

async function backupsAfter(db: D1Database, after: string | null, limit: number): Promise<ExportRow[]> {
  const { results } = await db
    .prepare(
      `SELECT ${BACKUP_COLUMNS} FROM backups
       WHERE backup_id > ?1 AND (expires_at IS NULL OR expires_at > ?3) ORDER BY backup_id LIMIT ?2`,
    )
    .bind(after ?? '', limit, new Date().toISOString())
    .all<BackupRow>();
  return results.map((row) => ({ key: row.backup_id, record: backupOf(row) }));
}

async function jobsAfter(db: D1Database, after: string | null, limit: number): Promise<ExportRow[]> {
  const { results } = await db
    .prepare(`SELECT ${RUN_COLUMNS} FROM jobs WHERE run_id > ?1 ORDER BY run_id LIMIT ?2`)
    .bind(after ?? '', limit)
    .all<RunRecord>();
  return results.map((record) => ({ key: record.run_id, record }));
}
