import { createRoute } from '@hono/zod-openapi';
import { exportPage } from '../../catalogue/export-page.ts';
import { readPage } from '../../databases/read-page.ts';
import type { Table } from '../../databases/table.ts';
import { VaultError } from '../../shared/errors.ts';
import { withShare } from '../../shared/isolate-budget.ts';
import { EXPORT_PAGE_ROWS, MEMORY, READER_STALL_MS } from '../../shared/limits.ts';
import { pumpPieces } from '../../shared/streams.ts';
import { type ExportOrder, exportRows } from '../../transfer/export-rows.ts';
import type { App } from '../app-env.ts';
import { databaseTable } from '../database-table.ts';
import { forToken, problems } from '../openapi.ts';
import { ExportQuery } from '../schemas.ts';

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
    ...problems('not-found', 'storage-failed', 'busy'),
  },
});

/** The vault's own tables. Their pages come as records. */
function ownPages(catalogue: D1Database, table: string): ExportOrder['pages'] {
  if (table !== 'backups' && table !== 'jobs') {
    throw new VaultError('invalid-option', 'table: one of backups, jobs; for others name their database.');
  }
  return async (after) => {
    const page = await exportPage(catalogue, table, after, EXPORT_PAGE_ROWS);
    return { rows: page.rows.map((row) => [JSON.stringify(row)]), after: page.after };
  };
}

function pagesOf(table: Table): ExportOrder['pages'] {
  return (after) => readPage(table, after, EXPORT_PAGE_ROWS);
}

export function exportRoutes(app: App): void {
  app.openapi(exportRoute, async (c) => {
    const { format, table, database } = c.req.valid('query');
    const { catalogue, databases, budget } = c.get('services');
    const pages =
      database === undefined
        ? ownPages(catalogue, table ?? 'backups')
        : pagesOf(await databaseTable(databases, database, table));
    const rows = exportRows({ format, pages });
    const { readable, writable } = new IdentityTransformStream();
    c.executionCtx.waitUntil(
      pumpPieces((signal) => withShare(budget, MEMORY.operations.export.budgetBytes, signal, rows), writable, {
        stallMs: READER_STALL_MS,
      }).catch((cause: unknown) => {
        console.error(
          JSON.stringify({ level: 'error', event: 'export-broken', id: c.get('requestId'), cause: String(cause) }),
        );
      }),
    );
    return new Response(readable, {
      headers: {
        'content-type': format === 'json' ? 'application/json' : 'application/x-ndjson',
        'content-disposition': `attachment; filename=export.${format}`,
        'cache-control': 'no-store',
      },
    });
  });
}
