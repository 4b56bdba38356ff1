import { createRoute } from '@hono/zod-openapi';
import { type Backup, deleteBackup, getBackup, listBackups } from '../../catalogue/backups.ts';
import { reindex } from '../../ingest/reindex.ts';
import { VaultError } from '../../shared/errors.ts';
import { PAGE_ROWS } from '../../shared/limits.ts';
import { removeBackupObjects } from '../../store/backup-objects.ts';
import { receiptKey } from '../../store/object-keys.ts';
import type { App, AppContext } from '../app-env.ts';
import { BACKUP, BACKUP_PAGE, REINDEXED } from '../examples.ts';
import { forToken, json, problems } from '../openapi.ts';
import { BackupPageSchema, BackupParam, BackupSchema, PageQuery, ReindexSchema } from '../schemas.ts';
import { backupView } from '../views.ts';

class BackupNotFound extends VaultError {
  constructor() {
    super('not-found', 'There is no such backup. List those there are: GET /backup.');
  }
}

export async function knownBackup(c: AppContext, backupId: string): Promise<Backup> {
  const backup = await getBackup(c.get('services').catalogue, backupId);
  if (!backup) throw new BackupNotFound();
  return backup;
}

const listRoute = createRoute({
  method: 'get',
  path: '/backup',
  operationId: 'listBackups',
  summary: 'List backups',
  description: 'Newest first. There are more pages as long as `cursor` is not null.',
  tags: ['Downloads'],
  ...forToken('read'),
  request: { query: PageQuery },
  responses: { 200: json(BackupPageSchema, 'A page of backups', BACKUP_PAGE), ...problems(400, 401, 403) },
});

const getRoute = createRoute({
  method: 'get',
  path: '/backup/{backup_id}',
  operationId: 'getBackup',
  summary: 'Get the receipt of a backup',
  description: 'What the vault stored, under which checksum, and what the last verification found.',
  tags: ['Downloads'],
  ...forToken('read'),
  request: { params: BackupParam },
  responses: { 200: json(BackupSchema, 'The receipt', BACKUP), ...problems(401, 403, 404) },
});

const deleteRoute = createRoute({
  method: 'delete',
  path: '/backup/{backup_id}',
  operationId: 'deleteBackup',
  summary: 'Delete a backup',
  description: 'Deletes the stored bytes, the member index and the receipt. This cannot be undone.',
  tags: ['Downloads'],
  ...forToken('admin'),
  request: { params: BackupParam },
  responses: { 204: { description: 'The backup is deleted' }, ...problems(401, 403, 404, 502) },
});

const reindexRoute = createRoute({
  method: 'post',
  path: '/reindex',
  operationId: 'reindex',
  summary: 'Rebuild the catalogue',
  description: 'Reads every receipt in the bucket and writes the row of each backup that is missing.',
  tags: ['Service'],
  ...forToken('admin'),
  responses: { 200: json(ReindexSchema, 'The receipts that were found', REINDEXED), ...problems(401, 403, 502) },
});

export function backupRoutes(app: App): void {
  app.openapi(listRoute, async (c) => {
    const { prefix, cursor, limit } = c.req.valid('query');
    const page = await listBackups(c.get('services').catalogue, { prefix, cursor, limit: limit ?? PAGE_ROWS });
    return c.json({ backups: page.backups.map(backupView), cursor: page.cursor }, 200);
  });

  app.openapi(getRoute, async (c) => c.json(backupView(await knownBackup(c, c.req.valid('param').backup_id)), 200));

  app.openapi(deleteRoute, async (c) => {
    const { store, catalogue } = c.get('services');
    const backup = await knownBackup(c, c.req.valid('param').backup_id);
    // The receipt goes first, so that a reindex cannot bring back half a backup; the row goes last, so that a
    // deletion that failed midway can be asked for again.
    await store.remove([receiptKey(backup.backup_id)]);
    await removeBackupObjects(store, backup.backup_id);
    await deleteBackup(catalogue, backup.backup_id);
    return c.body(null, 204);
  });

  app.openapi(reindexRoute, async (c) => {
    const { store, catalogue } = c.get('services');
    return c.json(await reindex(store, catalogue), 200);
  });
}
