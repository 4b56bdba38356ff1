import { createRoute, type z } from '@hono/zod-openapi';
import { ulid } from 'ulidx';
import type { Backup } from '../../catalogue/backups.ts';
import { findDirectory, findMember, hasBytes, openIndex, requireOwner } from '../../delivery/archive.ts';
import { representationOf } from '../../delivery/representation.ts';
import { checkFilename } from '../../ingest/filename.ts';
import { signLink } from '../../links/signed-link.ts';
import { utf8 } from '../../shared/bytes.ts';
import { VaultError } from '../../shared/errors.ts';
import type { App, AppContext } from '../app-env.ts';
import { LINK, LINK_REQUEST, UPLOAD_LINK, UPLOAD_LINK_REQUEST, WATCH_LINK, WATCH_LINK_REQUEST } from '../examples.ts';
import { encodeMemberPath, withoutEndSlashes } from '../member-path.ts';
import { encodeName } from '../name-path.ts';
import { forTokenAndJson, json, jsonBody, problems } from '../openapi.ts';
import {
  BackupParam,
  JobParam,
  LinkRequest,
  NoQuery,
  UploadLinkRequest,
  WatchLinkRequest,
} from '../request-schemas.ts';
import { LinkSchema, UploadLinkSchema } from '../response-schemas.ts';
import { oneName, orderOf } from '../upload-order.ts';
import { OptionNotApplicable } from '../validation.ts';
import { knownBackup } from './backups.ts';
import { filenameWithoutBytes } from './files.ts';

class LinksNotConfigured extends VaultError {
  constructor() {
    super('links-not-configured', 'This vault has no LINK_SIGNING_KEYS, so it cannot make links. Ask its operator.');
  }
}

/** What signing a link to a backup may answer. */
export const LINK_CODES = [
  'invalid-filename',
  'not-found',
  'format-unavailable',
  'not-an-archive',
  'window-too-large',
  'archive-incomplete',
  'hard-link-unresolved',
  'backup-encrypted',
  'links-not-configured',
] as const;

class NoLinkName extends VaultError {
  constructor() {
    super('invalid-request', 'name: it is missing. Give the name that the upload gets, e.g. "web1/etc.tar".');
  }
}

const downloadLink = createRoute({
  method: 'post',
  path: '/backup/{backup_id}/links',
  operationId: 'createDownloadLink',
  summary: 'Sign a download link',
  description: 'The URL downloads the backup, or one member of an archive, without a token until it expires.',
  tags: ['Links'],
  ...forTokenAndJson('read'),
  request: { params: BackupParam, query: NoQuery, body: jsonBody(LinkRequest, LINK_REQUEST) },
  responses: { 200: json(LinkSchema, 'The link', LINK), ...problems(...LINK_CODES) },
});

const uploadLink = createRoute({
  method: 'post',
  path: '/backup/upload-links',
  operationId: 'createUploadLink',
  summary: 'Sign an upload link',
  description: 'The URLs store one file without a token: by PUT in one request, or in chunks by tus.',
  tags: ['Links'],
  ...forTokenAndJson('write'),
  request: { query: NoQuery, body: { required: true, ...jsonBody(UploadLinkRequest, UPLOAD_LINK_REQUEST) } },
  responses: {
    200: json(UploadLinkSchema, 'The links', UPLOAD_LINK),
    ...problems(
      'invalid-name',
      'invalid-option',
      'invalid-file-type',
      'invalid-recipient',
      'level-unsupported',
      'links-not-configured',
    ),
  },
});

const watchLink = createRoute({
  method: 'post',
  path: '/jobs/{job_id}/links',
  operationId: 'createWatchLink',
  summary: 'Sign a watch link',
  description: 'The URL opens the WebSocket of a job without a token until it expires.',
  tags: ['Links'],
  ...forTokenAndJson('read'),
  request: { params: JobParam, query: NoQuery, body: jsonBody(WatchLinkRequest, WATCH_LINK_REQUEST) },
  responses: { 200: json(LinkSchema, 'The link', WATCH_LINK), ...problems('links-not-configured') },
});

export function linkRoutes(app: App): void {
  app.openapi(uploadLink, async (c) => {
    const order = c.req.valid('json');
    const job_id = order.job_id ?? ulid();
    const options = { ...fixedOptions(order), job_id };
    // An upload that would be rejected with these options gets no link.
    const given = oneName(order, 'invalid-request');
    if (given === undefined) throw new NoLinkName();
    const { name } = orderOf(c, given, options, undefined, []);
    const params = new URLSearchParams({ ...options, link_id: ulid() });
    if (order.max_bytes !== undefined) params.set('max_bytes', String(order.max_bytes));
    const link = await signedUrl(c, 'PUT', `/backup/upload/${encodeName(name)}`, params, order.expires_in);
    params.set('name', name);
    const tus = await signedUrl(c, 'POST', '/tus', params, order.expires_in);
    const watch = await signedUrl(c, 'GET', `/ws/backup/${job_id}`, new URLSearchParams(), order.expires_in);
    const { url, expires_at } = link;
    return c.json({ url, tus_url: tus.url, watch_url: asWebSocket(watch.url), job_id, expires_at }, 200);
  });

  app.openapi(downloadLink, async (c) => {
    const order = c.req.valid('json');
    const backup = await knownBackup(c, c.req.valid('param').backup_id);
    const address = await addressOf(c, backup, order);
    const params = downloadParams(order);
    return c.json(await signedUrl(c, 'GET', `/backup/${backup.backup_id}/${address}`, params, order.expires_in), 200);
  });

  app.openapi(watchLink, async (c) => {
    const { expires_in } = c.req.valid('json');
    const { job_id } = c.req.valid('param');
    const { url, expires_at } = await signedUrl(c, 'GET', `/ws/backup/${job_id}`, new URLSearchParams(), expires_in);
    return c.json({ url: asWebSocket(url), expires_at }, 200);
  });
}

/** The options of an upload that its link fixes, as they stand in the query. Its sender cannot add others. */
function fixedOptions(order: z.infer<typeof UploadLinkRequest>) {
  const { level, compression, require, allow_empty, backup_expires_in, backup_expires_at, sha256, recipient } = order;
  return {
    ...(level !== undefined && { level: String(level) }),
    ...(compression !== undefined && { compression }),
    ...(require !== undefined && { require }),
    ...(backup_expires_in !== undefined && { expires_in: String(backup_expires_in) }),
    ...(backup_expires_at !== undefined && { expires_at: new Date(backup_expires_at).toISOString() }),
    ...(allow_empty !== undefined && { allow_empty: String(allow_empty) }),
    ...(sha256 !== undefined && { sha256 }),
    ...(recipient !== undefined && { recipient: recipient.join(',') }),
  };
}

/** What a link opens. It is looked for here, so that no link is made that cannot be opened. */
export async function addressOf(c: AppContext, backup: Backup, order: z.infer<typeof LinkRequest>): Promise<string> {
  const { path, format } = order;
  if (path === undefined && format !== 'tar') {
    representationOf(backup, { format: format ?? 'identity', takesZstd: false, decrypts: false });
    return 'download';
  }
  if (format !== undefined && format !== 'tar') {
    throw new OptionNotApplicable('format', 'with "path" unless it is "tar": a member goes out as it is');
  }
  const index = await openIndex(c.get('services'), backup);
  const asked = withoutEndSlashes(utf8(path ?? ''));
  if (format !== 'tar') {
    const member = await findMember(index, asked);
    const owner = await requireOwner(index, member);
    if (order.filename !== undefined && !hasBytes(owner)) throw filenameWithoutBytes(member);
    return `files/${encodeMemberPath(member.path)}`;
  }
  const directory = await findDirectory(index, asked);
  return directory.length === 0 ? 'files/' : `files/${encodeMemberPath(directory)}/`;
}

/** What a link says beside the address of what it opens. */
export function downloadParams({ format, filename }: Pick<z.infer<typeof LinkRequest>, 'format' | 'filename'>) {
  const params = new URLSearchParams();
  if (format) params.set('format', format);
  if (filename !== undefined) params.set('filename', checkFilename(filename));
  return params;
}

export async function signedUrl(
  c: AppContext,
  method: 'GET' | 'PUT' | 'POST',
  path: string,
  params: URLSearchParams,
  expiresIn: number,
) {
  const [newest] = c.get('services').signingKeys;
  if (!newest) throw new LinksNotConfigured();
  const expires = Math.floor(Date.now() / 1000) + expiresIn;
  const signed = await signLink(newest, { method, path, params, expires });
  const url = `${new URL(c.req.url).origin}${path}?${signed}`;
  return { url, expires_at: new Date(expires * 1000).toISOString() };
}

function asWebSocket(url: string): string {
  return url.replace(/^http/, 'ws');
}
