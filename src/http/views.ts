import type { z } from '@hono/zod-openapi';
import type { Backup } from '../catalogue/backups.ts';
import type { BackupSchema } from './schemas.ts';

/** A backup as clients see it. */
export function backupView(backup: Backup): z.infer<typeof BackupSchema> {
  const { stored_checksum: _, ...view } = backup;
  return { ...view, download_url: `/backup/${backup.backup_id}/download` };
}
