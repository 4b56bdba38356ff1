import { createRoute } from '@hono/zod-openapi';
import { exportPage } from '../../catalogue/export-page.ts';
import { VaultError } from '../../shared/errors.ts';
import { EXPORT_PAGE_ROWS } from '../../shared/limits.ts';
import { pumpPieces } from '../../shared/streams.ts';
import { exportRows } from '../../transfer/export-rows.ts';
import type { App } from '../app-env.ts';
import { needs } from '../auth.ts';
import { problems } from '../openapi.ts';
import { ExportQuery } from '../schemas.ts';

const ROWS: Record<string, { schema: { type: 'array' | 'string' } }> = {
  'application/json': { schema: { type: 'array' } },
  'application/x-ndjson': { schema: { type: 'string' } },
};

const exportRoute = createRoute({
  method: 'get',
  path: '/export/stream',
  summary: 'The rows of a table as JSON, while they are read',
  tags: ['Databases'],
  middleware: needs('admin'),
  request: { query: ExportQuery },
  responses: {
    200: { description: 'One JSON array, or one object a line', content: ROWS },
    ...problems(400, 401, 403),
  },
});

export function exportRoutes(app: App): void {
  app.openapi(exportRoute, async (c) => {
    const { format, table, database } = c.req.valid('query');
    if (database !== undefined) {
      throw new VaultError('invalid-option', 'database: this vault exports its own tables only; leave it out.');
    }
    const { catalogue } = c.get('services');
    const rows = exportRows({ format, pages: (after) => exportPage(catalogue, table, after, EXPORT_PAGE_ROWS) });
    const { readable, writable } = new IdentityTransformStream();
    c.executionCtx.waitUntil(
      pumpPieces(rows, writable).catch((cause: unknown) => {
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
