import { createRoute } from '@hono/zod-openapi';
import { type Backup, getBackup } from '../../catalogue/backups.ts';
import { listBackups } from '../../catalogue/list-backups.ts';
import { deleteBackup } from '../../ingest/deletion.ts';
import { reindex } from '../../ingest/reindex.ts';
import { VaultError } from '../../shared/errors.ts';
import { PAGE_ROWS } from '../../shared/limits.ts';
import type { App, AppContext } from '../app-env.ts';
import { BACKUP, BACKUP_PAGE, REINDEXED } from '../examples.ts';
import { forToken, json, problems } from '../openapi.ts';
import { BackupParam, BackupsQuery, NoQuery, ReindexQuery } from '../request-schemas.ts';
import { BackupPageSchema, BackupSchema, ReindexSchema } from '../response-schemas.ts';
import { OptionNotApplicable } from '../validation.ts';
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
  description:
    'Newest first, by the time at which the upload began. With `delimiter=/` in the order of names, and the versions of a ' +
    'name newest first; a large folder may be listed although `before`, `after` or their expiry exclude all backups in it. ' +
    'A page may be shorter than `limit`: there are more pages as long as `cursor` is not null.',
  tags: ['Downloads'],
  ...forToken('read'),
  request: { query: BackupsQuery },
  responses: { 200: json(BackupPageSchema, 'A page of backups', BACKUP_PAGE), ...problems('invalid-cursor') },
});

const getRoute = createRoute({
  method: 'get',
  path: '/backup/{backup_id}',
  operationId: 'getBackup',
  summary: 'Get the receipt of a backup',
  description: 'What the vault stored, under which checksum, and what the last verification found.',
  tags: ['Downloads'],
  ...forToken('read'),
  request: { params: BackupParam, query: NoQuery },
  responses: { 200: json(BackupSchema, 'The receipt', BACKUP), ...problems('not-found') },
});

const deleteRoute = createRoute({
  method: 'delete',
  path: '/backup/{backup_id}',
  operationId: 'deleteBackup',
  summary: 'Delete a backup',
  description:
    'Deletes the stored bytes, the member index, the receipt and the row, also of a backup that lacks some of these. ' +
    'This cannot be undone: a marker in the bucket outlives the backup, so that no `reindex` lists it again. After a 502 ' +
    'the deletion may be incomplete; send the request again.',
  tags: ['Downloads'],
  ...forToken('admin'),
  request: { params: BackupParam, query: NoQuery },
  responses: { 204: { description: 'The backup is deleted' }, ...problems('not-found', 'storage-failed') },
});

const reindexRoute = createRoute({
  method: 'post',
  path: '/reindex',
  operationId: 'reindex',
  summary: 'Rebuild the catalogue',
  description:
    'Reads every receipt in the bucket and writes the row of each backup, but never of a deleted one. Finishes ' +
    'interrupted deletions, and reports orphans: objects that belong to no backup and to no open upload.',
  tags: ['Service'],
  ...forToken('admin'),
  request: { query: ReindexQuery },
  responses: { 200: json(ReindexSchema, 'What was found and done', REINDEXED), ...problems('storage-failed') },
});

function checkAloneWithName(others: Readonly<Record<string, string | undefined>>): void {
  for (const [option, value] of Object.entries(others)) {
    if (value !== undefined) throw new OptionNotApplicable(option, 'with "name", which is the whole name');
  }
}

export function backupRoutes(app: App): void {
  app.openapi(listRoute, async (c) => {
    const { name, prefix, limit = PAGE_ROWS, ...query } = c.req.valid('query');
    if (name !== undefined) checkAloneWithName({ prefix, delimiter: query.delimiter });
    // Names are in NFC, whatever the client's file system has.
    const names = { name: name?.normalize('NFC'), prefix: prefix?.normalize('NFC') };
    const page = await listBackups(c.get('services').catalogue, { ...query, ...names, limit });
    return c.json({ ...page, backups: page.backups.map(backupView) }, 200);
  });

  app.openapi(getRoute, async (c) => c.json(backupView(await knownBackup(c, c.req.valid('param').backup_id)), 200));

  app.openapi(deleteRoute, async (c) => {
    const deleted = await deleteBackup(c.get('services'), c.req.valid('param').backup_id);
    if (!deleted) throw new BackupNotFound();
    return c.body(null, 204);
  });

  app.openapi(reindexRoute, async (c) => {
    return c.json(await reindex(c.get('services'), c.req.valid('query')), 200);
  });
}
