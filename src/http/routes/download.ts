import { createRoute } from '@hono/zod-openapi';
import type { Backup } from '../../catalogue/backups.ts';
import { checkIdentity } from '../../codec/age-keys.ts';
import { openDownload } from '../../delivery/download.ts';
import { acceptsZstd, type Representation, representationOf } from '../../delivery/representation.ts';
import { checkFilename } from '../../ingest/filename.ts';
import { dataKey } from '../../store/object-keys.ts';
import type { App, AppContext } from '../app-env.ts';
import { byteResponse, readerOf } from '../byte-response.ts';
import { attachment } from '../content-disposition.ts';
import { servedType } from '../content-type.ts';
import { binary, describeHead, forTokenOrLink, problems } from '../openapi.ts';
import { BackupParam, DownloadQuery, IdentityHeader } from '../request-schemas.ts';
import { knownBackup } from './backups.ts';

const download = createRoute({
  method: 'get',
  path: '/backup/{backup_id}/download',
  operationId: 'downloadBackup',
  summary: 'Download a backup',
  description:
    'The bytes that were uploaded, exactly. A client that accepts zstd gets the stored frames with ' +
    '`Content-Encoding: zstd`. An encrypted backup is answered as the stored age file (`name.zst.age`), with ranges. ' +
    'With an identity in `X-Age-Identity` it is decrypted for this request, without ranges. ' +
    'If a verification found damage, every answer names the first place: `Coldstream-Damage: frame 17, byte 71303168` ' +
    '(a byte of the stored object), or `place unknown`.',
  tags: ['Downloads'],
  ...forTokenOrLink('read'),
  request: { params: BackupParam, query: DownloadQuery, headers: IdentityHeader },
  responses: {
    200: binary('The whole content'),
    206: binary('One range'),
    304: { description: 'The content has not changed' },
    ...problems(
      'too-many-transfers',
      'invalid-filename',
      'invalid-identity',
      'wrong-identity',
      'not-found',
      'format-unavailable',
      'stored-data-lost',
      'precondition-failed',
      'range-not-satisfiable',
      'stored-data-corrupt',
      'storage-failed',
      'busy',
    ),
  },
});

export function downloadRoutes(app: App): void {
  describeHead(app, download);
  app.openapi(download, async (c) => {
    const { backup_id } = c.req.valid('param');
    const { format, filename } = c.req.valid('query');
    const name = filename === undefined ? undefined : checkFilename(filename);
    const backup = await knownBackup(c, backup_id);
    const asksRange = c.req.header('range') !== undefined;
    const takesZstd = !asksRange && acceptsZstd(clientAcceptEncoding(c));
    const identity = identityOf(c);
    const asked = { format: format ?? ('identity' as const), takesZstd, decrypts: identity !== null };
    const representation = representationOf(backup, asked);
    return byteResponse(c, {
      headers: headersOf(backup, representation, name),
      lastModified: new Date(backup.created_at),
      length: representation.length,
      ranges: representation.ranges,
      damage: backup.damage,
      check: () => c.get('services').store.requireSize(dataKey(backup_id), backup.stored_size),
      open: (span) => openDownload(c.get('services'), backup, representation, { span, identity }, readerOf(c)),
    });
  });
}

function headersOf(backup: Backup, representation: Representation, filename: string | undefined): Headers {
  const headers = new Headers({
    'content-type': servedType(representation.contentType, backup.filename),
    'content-disposition': attachment(filename ?? representation.filename),
    // Of a backup some representation always has ranges; of gzip, made anew each time, none ever will.
    'accept-ranges': representation.ranges || representation.varies === 'Accept-Encoding' ? 'bytes' : 'none',
    etag: representation.etag,
    'last-modified': new Date(backup.created_at).toUTCString(),
    'cache-control': 'private, no-cache, no-transform',
  });
  if (representation.reprDigest) headers.set('repr-digest', representation.reprDigest);
  if (representation.contentEncoding) headers.set('content-encoding', representation.contentEncoding);
  if (representation.varies) headers.set('vary', representation.varies);
  return headers;
}

/** What encrypted backups are opened with, for this request alone. */
export function identityOf(c: AppContext): string | null {
  const identity = c.req.header('x-age-identity');
  return identity === undefined ? null : checkIdentity(identity.trim());
}

/** What the client said itself: the header is rewritten on its way (platform). */
function clientAcceptEncoding(c: AppContext): string | null {
  const said: unknown = c.req.raw.cf?.clientAcceptEncoding;
  return typeof said === 'string' ? said : null;
}
