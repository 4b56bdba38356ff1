import { createRoute } from '@hono/zod-openapi';
import { exportPage } from '../../catalogue/export-page.ts';
import { checkReadable, readPage } from '../../databases/read-page.ts';
import type { Table } from '../../databases/table.ts';
import { openBody } from '../../delivery/body.ts';
import { VaultError } from '../../shared/errors.ts';
import { sharesInTurn } from '../../shared/isolate-memory.ts';
import { EXPORT_PAGE_ROWS } from '../../shared/limits.ts';
import { type ExportOrder, exportRows } from '../../transfer/export-rows.ts';
import type { App } from '../app-env.ts';
import { readerOf } from '../byte-response.ts';
import { databaseTable } from '../database-table.ts';
import { forToken, problems } from '../openapi.ts';
import { ExportQuery } from '../request-schemas.ts';

const ROWS: Record<
  string,
  { schema: { type: 'array'; items: { type: 'object' } } | { type: 'string' }; example: unknown }
> = {
  'application/json': {
    schema: { type: 'array', items: { type: 'object' } },
    example: [{ id: 1, name: 'pump', price: 12.5 }],
  },
  'application/x-ndjson': { schema: { type: 'string' }, example: '{"id":1,"name":"pump","price":12.5}\n' },
};

const exportRoute = createRoute({
  method: 'get',
  path: '/export/stream',
  operationId: 'exportRows',
  summary: 'Export the rows of a table',
  description: 'Streams the rows as JSON while it reads them, a page at a time.',
  tags: ['Databases'],
  ...forToken('admin'),
  request: { query: ExportQuery },
  responses: {
    200: { description: 'One JSON array, or one object a line', content: ROWS },
    ...problems(
      'not-found',
      'table-unsupported',
      'table-too-wide',
      'too-many-transfers',
      'storage-failed',
      'stored-data-corrupt',
      'busy',
    ),
  },
});

/** The vault's own tables. Their pages come as records. */
function ownPages(catalogue: D1Database, table: string): ExportOrder['pages'] {
  if (table !== 'backups' && table !== 'jobs') {
    throw new VaultError('invalid-option', 'table: one of backups, jobs; for others name their database.');
  }
  return async (after) => {
    const page = await exportPage(catalogue, table, after, EXPORT_PAGE_ROWS);
    const rows = page.rows.map(({ key, record }) => ({ key, text: [JSON.stringify(record)] }));
    return { rows, after: page.after };
  };
}

function pagesOf(table: Table): ExportOrder['pages'] {
  checkReadable(table);
  return (after) => readPage(table, after, EXPORT_PAGE_ROWS);
}

export function exportRoutes(app: App): void {
  app.openapi(exportRoute, async (c) => {
    const { format, table, database } = c.req.valid('query');
    const { catalogue, databases, memory, readerLimits } = c.get('services');
    const pages =
      database === undefined
        ? ownPages(catalogue, table ?? 'backups')
        : pagesOf(await databaseTable(databases, database, table));
    const headers = {
      'content-type': format === 'json' ? 'application/json' : 'application/x-ndjson',
      'content-disposition': `attachment; filename=export.${format}`,
      'cache-control': 'no-store',
    };
    if (c.req.raw.method === 'HEAD') return new Response(null, { headers });
    const { holder, keepAlive } = readerOf(c);
    const pieces = (signal: AbortSignal) =>
      exportRows({ format, pages, share: sharesInTurn(() => memory.pages.acquire(holder, signal)) });
    const log = { event: 'export-broken', id: c.get('requestId') };
    const body = await openBody(readerLimits, { log, length: null, pieces }, keepAlive);
    return new Response(body, { headers });
  });
}
