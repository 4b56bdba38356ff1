import type { SessionView } from '../../ingest/resumable/upload-session.ts';
import { isSigned } from '../../links/signed-link.ts';
import { VaultError } from '../../shared/errors.ts';
import type { App, AppContext } from '../app-env.ts';
import { needsOrLink, UPLOAD_KEY, uploadAccess } from '../auth.ts';
import { checkNotEncoded } from '../body-headers.ts';
import { nearMiss } from '../nearest.ts';
import { TusQuery, UPLOAD_OPTION_NAMES } from '../request-schemas.ts';
import {
  appendPiece,
  checkNoDigests,
  chunkDigests,
  createSession,
  openUploads,
  orTerminate,
  sessionHeaders,
  sessionStatus,
  terminateSession,
  uploadIdOf,
} from '../resumable.ts';
import {
  announcedLength,
  bytesIn,
  InvalidUploadHeader,
  parseChecksum,
  parseMetadata,
  TUS_CHECKSUMS,
  TUS_EXTENSIONS,
  TUS_MEDIA_TYPE,
  TUS_VERSION,
  textOf,
} from '../tus-headers.ts';
import { oneName } from '../upload-order.ts';
import { UnknownOption } from '../validation.ts';
import { describeTus, listUploads } from './tus-openapi.ts';

class TusVersionUnsupported extends VaultError {
  constructor() {
    super('tus-version-unsupported', `Send "Tus-Resumable: ${TUS_VERSION}".`);
  }
}

class NotAPiece extends VaultError {
  constructor() {
    super('unsupported-media-type', `A piece comes as "Content-Type: ${TUS_MEDIA_TYPE}".`);
  }
}

const ENCODING_ADVICE =
  'A chunk is sent as it is. If the whole file is encoded, create the upload with content_encoding in Upload-Metadata.';

const OF_AN_UPLOAD = 'GET, HEAD, PATCH, DELETE, OPTIONS';

/** tus 1.0.0, a thin adapter of upload sessions. In the order of the protocol: core, then its extensions. */
export function tusRoutes(app: App): void {
  describeTus(app);
  app.options('/tus', (c) => c.body(null, 204, { allow: 'GET, HEAD, POST, OPTIONS' }));
  app.options('/tus/:upload_id', (c) => c.body(null, 204, { allow: OF_AN_UPLOAD }));
  app.openapi(listUploads, async (c) => c.json(await openUploads(c, c.req.valid('query')), 200));
  app.post('/tus', checkVersion, needsOrLink('write'), create);
  // HEAD comes to the routes of GET, which is not of tus.
  app.get('/tus/:upload_id', (c, next) => (c.req.raw.method === 'HEAD' ? checkVersion(c, next) : next()), headOrStatus);
  app.patch('/tus/:upload_id', checkVersion, patch);
  app.delete('/tus/:upload_id', checkVersion, terminateSession);
  app.post('/tus/:upload_id', checkVersion, overridden);
}

/** What goes with every answer under /tus. "Tus-Version" and the like belong to OPTIONS; a preflight is one too. */
export async function withTusHeaders(c: AppContext, next: () => Promise<void>): Promise<void> {
  c.header('tus-resumable', TUS_VERSION);
  await next();
  if (c.req.method !== 'OPTIONS') return;
  c.header('tus-resumable', TUS_VERSION);
  c.header('tus-version', TUS_VERSION);
  c.header('tus-extension', TUS_EXTENSIONS);
  c.header('tus-checksum-algorithm', TUS_CHECKSUMS.join(','));
  c.header('tus-max-size', String(c.get('services').config.maxFileBytes));
}

/** "Tus-Resumable": of another version nothing is processed. */
async function checkVersion(c: AppContext, next: () => Promise<void>): Promise<void> {
  if (c.req.header('tus-resumable') !== TUS_VERSION) {
    c.header('tus-version', TUS_VERSION);
    throw new TusVersionUnsupported();
  }
  await next();
}

function checkMediaType(c: AppContext): void {
  if (c.req.header('content-type') !== TUS_MEDIA_TYPE) throw new NotAPiece();
}

async function create(c: AppContext): Promise<Response> {
  const length = announcedLength(c.req.header('upload-length'), c.req.header('upload-defer-length'));
  const given = c.req.header('upload-metadata');
  const metadata = parseMetadata(given);
  checkKeys(metadata);
  const withPiece = c.req.raw.body !== null && c.req.header('content-length') !== '0';
  if (withPiece) checkMediaType(c);
  checkNotEncoded(c.req.raw.headers, ENCODING_ADVICE);
  const digests = [...parseChecksum(c.req.header('upload-checksum')), ...chunkDigests(c)];
  if (!withPiece) checkNoDigests(digests);
  const named = (key: string) => textOf(metadata, key);
  const { view, secret } = await createSession(c, {
    name: oneName(c.req.query(), 'invalid-option') ?? named('name') ?? named('filename'),
    content_type: named('filetype'),
    options: Object.fromEntries(UPLOAD_OPTION_NAMES.map((name) => [name, named(name)])),
    query: TusQuery,
    client_metadata: given ?? null,
    content_encoding: named('content_encoding'),
    length,
  });
  const id = view.backup_id;
  const piece = { offset: 0, length: null, digests };
  const after = withPiece ? await orTerminate(c, id, appendPiece(c, id, { kind: 'granted' }, piece)) : view;
  const address = `/tus/${id}`;
  c.header('location', isSigned(new URL(c.req.url)) ? `${address}?${UPLOAD_KEY}=${secret}` : address);
  c.header('coldstream-upload-secret', secret);
  // Also without a piece: tus-js-client 4.3 asks for it where the length comes later.
  c.header('upload-offset', String(after.offset));
  return answer(c, 201, after);
}

const METADATA_KEYS = ['content_encoding', 'filename', 'name', 'filetype', ...UPLOAD_OPTION_NAMES];

/** Keys of the metadata are the client's own, so only a near miss of one that the vault reads is taken for a slip. */
function checkKeys(metadata: ReadonlyMap<string, unknown>): void {
  for (const key of metadata.keys()) {
    if (nearMiss(key, METADATA_KEYS) !== null) throw new UnknownOption(key, METADATA_KEYS);
  }
}

async function head(c: AppContext): Promise<Response> {
  const access = await uploadAccess(c);
  const view = await c.get('services').uploads.describe(uploadIdOf(c), access);
  c.header('upload-offset', String(view.offset));
  if (view.length === null) c.header('upload-defer-length', '1');
  else c.header('upload-length', String(view.length));
  if (view.client_metadata !== null) c.header('upload-metadata', view.client_metadata);
  c.header('cache-control', 'no-store');
  return answer(c, 200, view);
}

async function headOrStatus(c: AppContext): Promise<Response> {
  if (c.req.raw.method === 'HEAD') return head(c);
  const access = await uploadAccess(c);
  const view = await c.get('services').uploads.describe(uploadIdOf(c), access);
  c.header('cache-control', 'no-store');
  return c.json(await sessionStatus(c, view));
}

async function patch(c: AppContext): Promise<Response> {
  const access = await uploadAccess(c);
  checkNotEncoded(c.req.raw.headers, ENCODING_ADVICE);
  checkMediaType(c);
  const offset = bytesIn('Upload-Offset', c.req.header('upload-offset'));
  if (offset === null) throw new InvalidUploadHeader('Upload-Offset: say where the piece begins.');
  const length = bytesIn('Upload-Length', c.req.header('upload-length'));
  const digests = [...parseChecksum(c.req.header('upload-checksum')), ...chunkDigests(c)];
  const piece = { offset, length, digests };
  const view = await appendPiece(c, uploadIdOf(c), access, piece);
  c.header('upload-offset', String(view.offset));
  return answer(c, 204, view);
}

/** "X-HTTP-Method-Override": for environments that know but GET and POST. */
async function overridden(c: AppContext): Promise<Response> {
  switch (c.req.header('x-http-method-override')?.toUpperCase()) {
    case 'PATCH':
      return patch(c);
    case 'DELETE':
      return terminateSession(c);
    case 'HEAD':
      return head(c);
    default:
      c.header('allow', OF_AN_UPLOAD);
      throw new VaultError(
        'method-not-allowed',
        'An upload takes PATCH, HEAD, GET and DELETE; POST creates one at /tus.',
      );
  }
}

/** "Upload-Expires", as long as the upload may go on, and what the vault has to say beside. */
function answer(c: AppContext, status: 200 | 201 | 204, view: SessionView): Response {
  sessionHeaders(c, view);
  if (view.phase === 'receiving') c.header('upload-expires', new Date(view.expires_at).toUTCString());
  return c.body(null, status);
}
