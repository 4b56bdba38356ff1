import { createRoute } from '@hono/zod-openapi';
import type { Backup } from '../../catalogue/backups.ts';
import { openDownload } from '../../delivery/download.ts';
import { acceptsZstd, type Representation, representationOf } from '../../delivery/representation.ts';
import { checkFilename } from '../../ingest/filename.ts';
import type { App, AppContext } from '../app-env.ts';
import { needsOrLink } from '../auth.ts';
import { byteResponse } from '../byte-response.ts';
import { attachment } from '../content-disposition.ts';
import { binary, problems } from '../openapi.ts';
import { BackupParam, DownloadQuery } from '../schemas.ts';
import { knownBackup } from './backups.ts';

const download = createRoute({
  method: 'get',
  path: '/backup/{backup_id}/download',
  summary: 'The bytes that were uploaded',
  description: 'Also HEAD. A client that takes zstd gets the stored frames with Content-Encoding: zstd.',
  tags: ['Out'],
  middleware: needsOrLink('read'),
  request: { params: BackupParam, query: DownloadQuery },
  responses: {
    200: binary('The whole'),
    206: binary('A range'),
    304: { description: 'Not modified' },
    ...problems(400, 401, 403, 404, 406, 412, 416, 500, 502),
  },
});

export function downloadRoutes(app: App): void {
  app.openapi(download, async (c) => {
    const { backup_id } = c.req.valid('param');
    const { format, filename } = c.req.valid('query');
    const name = filename === undefined ? undefined : checkFilename(filename);
    const backup = await knownBackup(c, backup_id);
    const asksRange = c.req.header('range') !== undefined;
    const takesZstd = !asksRange && acceptsZstd(clientAcceptEncoding(c));
    const representation = representationOf(backup, format ?? 'identity', takesZstd);
    return byteResponse(c, {
      headers: headersOf(backup, representation, name),
      lastModified: new Date(backup.created_at),
      length: representation.length,
      ranges: representation.ranges,
      open: (span) =>
        openDownload(c.get('services'), backup, representation, span, (pump) => c.executionCtx.waitUntil(pump)),
    });
  });
}

function headersOf(backup: Backup, representation: Representation, filename: string | undefined): Headers {
  const headers = new Headers({
    'content-type': representation.contentType,
    'content-disposition': attachment(filename ?? representation.filename),
    // Of a backup some representation always has ranges; of gzip, made anew each time, none ever will.
    'accept-ranges': representation.way === 'gzip' ? 'none' : 'bytes',
    etag: representation.etag,
    'last-modified': new Date(backup.created_at).toUTCString(),
    'cache-control': 'private, no-cache, no-transform',
  });
  if (representation.reprDigest) headers.set('repr-digest', representation.reprDigest);
  if (representation.contentEncoding) headers.set('content-encoding', representation.contentEncoding);
  if (representation.varies) headers.set('vary', 'Accept-Encoding');
  return headers;
}

/** What the client said itself: the header is rewritten on its way (platform). */
function clientAcceptEncoding(c: AppContext): string | null {
  const said: unknown = c.req.raw.cf?.clientAcceptEncoding;
  return typeof said === 'string' ? said : null;
}
