import { createRoute } from '@hono/zod-openapi';
import type { Backup } from '../../catalogue/backups.ts';
import { openDownload } from '../../delivery/download.ts';
import { acceptsZstd, type Representation, representationOf } from '../../delivery/representation.ts';
import { checkFilename } from '../../ingest/filename.ts';
import { VaultError } from '../../shared/errors.ts';
import type { ByteSpan } from '../../shared/seek-points.ts';
import type { App, AppContext } from '../app-env.ts';
import { needsOrLink } from '../auth.ts';
import { evaluateConditions } from '../conditional.ts';
import { attachment } from '../content-disposition.ts';
import { binary, problems } from '../openapi.ts';
import { parseRange } from '../range.ts';
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
    ...problems(400, 401, 403, 404, 406, 412, 416),
  },
});

class PreconditionFailed extends VaultError {
  constructor() {
    super('precondition-failed', 'The backup is not the version that the request asks for.');
  }
}

export function downloadRoutes(app: App): void {
  app.openapi(download, async (c) => {
    const { backup_id } = c.req.valid('param');
    const { format, filename } = c.req.valid('query');
    const name = filename === undefined ? undefined : checkFilename(filename);
    const backup = await knownBackup(c, backup_id);
    const asksRange = c.req.header('range') !== undefined;
    const takesZstd = !asksRange && acceptsZstd(clientAcceptEncoding(c));
    const representation = representationOf(backup, format ?? 'identity', takesZstd);
    const headers = headersOf(backup, representation, name);
    const verdict = evaluateConditions({
      method: c.req.raw.method,
      headers: c.req.raw.headers,
      etag: representation.etag,
      lastModified: new Date(backup.created_at),
    });
    if (verdict.kind === 'failed') throw new PreconditionFailed();
    if (verdict.kind === 'not-modified') return notModified(headers);
    return answer(c, backup, representation, headers, verdict.useRange);
  });
}

async function answer(
  c: AppContext,
  backup: Backup,
  representation: Representation,
  headers: Headers,
  useRange: boolean,
): Promise<Response> {
  const { length } = representation;
  const range = parseRange(useRange && representation.ranges ? (c.req.header('range') ?? null) : null, length ?? 0);
  if (range.kind === 'unsatisfiable') {
    c.header('content-range', `bytes */${length}`);
    throw new VaultError('range-not-satisfiable', `The file has ${length} bytes; the range begins after its end.`);
  }
  let span: ByteSpan | undefined;
  if (range.kind === 'part') {
    span = range;
    headers.set('content-range', `bytes ${range.offset}-${range.offset + range.length - 1}/${length}`);
  }
  const bodyBytes = span?.length ?? length;
  if (bodyBytes !== null) headers.set('content-length', String(bodyBytes));
  const status = span ? 206 : 200;
  if (c.req.raw.method === 'HEAD') return new Response(null, { status, headers });
  const body = await openDownload(c.get('services'), backup, representation, span, (pump) =>
    c.executionCtx.waitUntil(pump),
  );
  // 'manual': the frames are encoded already; without it the runtime would encode them.
  return new Response(body, { status, headers, encodeBody: representation.contentEncoding ? 'manual' : 'automatic' });
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

/** RFC 9110, section 15.4.5: what a cache needs, and nothing that describes a body. */
function notModified(headers: Headers): Response {
  const kept = new Headers();
  for (const name of ['etag', 'last-modified', 'cache-control', 'vary']) {
    const value = headers.get(name);
    if (value) kept.set(name, value);
  }
  return new Response(null, { status: 304, headers: kept });
}

/** What the client said itself: the header is rewritten on its way (platform). */
function clientAcceptEncoding(c: AppContext): string | null {
  const said: unknown = c.req.raw.cf?.clientAcceptEncoding;
  return typeof said === 'string' ? said : null;
}
