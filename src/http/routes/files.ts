import { createRoute, z } from '@hono/zod-openapi';
import { decodeCursor, encodeCursor, listPage } from '../../archive/index-page.ts';
import type { Member } from '../../archive/member.ts';
import type { MemberIndex } from '../../archive/member-index.ts';
import type { Backup } from '../../catalogue/backups.ts';
import { InvalidCursor } from '../../catalogue/pages.ts';
import { findDirectory, findMember, hasBytes, openIndex, requireOwner } from '../../delivery/archive.ts';
import { openDirectoryTar, openMember } from '../../delivery/member.ts';
import { checkFilename } from '../../ingest/filename.ts';
import { concat, utf8 } from '../../shared/bytes.ts';
import { MEMBER_NAME_CHARS, PAGE_ROWS } from '../../shared/limits.ts';
import { dataKey } from '../../store/object-keys.ts';
import type { App, AppContext } from '../app-env.ts';
import { needsOrLink } from '../auth.ts';
import { byteResponse, readerOf } from '../byte-response.ts';
import { attachment } from '../content-disposition.ts';
import { namedType } from '../content-type.ts';
import { MEMBER, MEMBER_PAGE } from '../examples.ts';
import { fileView, modifiedAt } from '../file-view.ts';
import { decodeMemberPath, pathText, withoutEndSlashes } from '../member-path.ts';
import { binary, describeHead, forToken, forTokenOrLink, json, problems } from '../openapi.ts';
import { BackupParam, FileQuery, FilesQuery } from '../request-schemas.ts';
import { FileListSchema, FileSchema } from '../response-schemas.ts';
import { checkQuery, OptionNotApplicable } from '../validation.ts';
import { knownBackup } from './backups.ts';

const listRoute = createRoute({
  method: 'get',
  path: '/backup/{backup_id}/files',
  operationId: 'listMembers',
  summary: 'List the members of a tar backup',
  description:
    'Ordered by the bytes of the path; also for a tar inside gzip or zstd. `delimiter=/` folds deeper paths into ' +
    '`prefixes`. A page may be shorter than `limit`: there are more pages as long as `cursor` is not null.',
  tags: ['Archives'],
  ...forToken('read'),
  request: { params: BackupParam, query: FilesQuery },
  responses: {
    200: json(FileListSchema, 'A page of members', MEMBER_PAGE),
    ...problems(
      'invalid-cursor',
      'not-found',
      'not-an-archive',
      'window-too-large',
      'backup-encrypted',
      'stored-data-lost',
      'index-too-new',
      'stored-data-corrupt',
      'storage-failed',
    ),
  },
});

const fileRoute = createRoute({
  method: 'get',
  path: '/backup/{backup_id}/files/{path}',
  operationId: 'downloadMember',
  summary: 'Download a member of a tar backup',
  description:
    'The bytes of a file; for a hard link, those of its target. A member without bytes (a directory, a symbolic link, a ' +
    'device) is answered with its entry as JSON and never followed. A path that ends in a slash is a directory: its page ' +
    'of the listing, or with `format=tar` everything below it as a new tar. Where the index ended early (`stopped` of the ' +
    'listing), the connection breaks at the end of that tar, and a path that is not listed is 409 `archive-incomplete`. ' +
    'Slashes need no encoding, except beside segments that are empty, "." or ".."; `url` of the listing is always right.',
  tags: ['Archives'],
  ...forTokenOrLink('read'),
  request: {
    params: BackupParam.extend({
      path: z.string().openapi({ description: 'The path of the member, percent-encoded', example: 'etc/hosts' }),
    }),
    query: FileQuery,
  },
  responses: {
    200: {
      description: 'The member',
      content: {
        'application/octet-stream': { schema: { type: 'string', format: 'binary' } },
        'application/json': { schema: FileSchema, example: { ...MEMBER, type: 'directory' as const, size: 0 } },
      },
    },
    206: binary('One range'),
    304: { description: 'The content has not changed' },
    ...problems(
      'too-many-transfers',
      'invalid-cursor',
      'invalid-filename',
      'not-found',
      'not-an-archive',
      'window-too-large',
      'archive-incomplete',
      'hard-link-unresolved',
      'backup-encrypted',
      'stored-data-lost',
      'precondition-failed',
      'range-not-satisfiable',
      'sparse-map-malformed',
      'sparse-map-too-large',
      'index-too-new',
      'stored-data-corrupt',
      'storage-failed',
      'busy',
    ),
  },
});

export function fileRoutes(app: App): void {
  describeHead(app, fileRoute);
  app.openapi(listRoute, async (c) => {
    const backup = await knownBackup(c, c.req.valid('param').backup_id);
    const query = c.req.valid('query');
    await checkData(c, backup);
    const index = await openIndex(c.get('services'), backup);
    return c.json(await listing(index, backup, { ...query, prefix: rawParam(c, 'prefix') }), 200);
  });

  const one = async (c: AppContext) => {
    const { backup_id, encoded } = addressOf(c);
    const backup = await knownBackup(c, backup_id);
    const query = checkQuery(c, FileQuery);
    const index = await openIndex(c.get('services'), backup);
    const path = withoutEndSlashes(decodeMemberPath(encoded));
    const isPage = query.format === undefined && (encoded === '' || encoded.endsWith('/'));
    checkApplicable(query, isPage);
    if (query.format === 'tar') return directory(c, backup, index, path, query.filename);
    if (isPage) return page(c, backup, index, path, query);
    return member(c, backup, index, await findMember(index, path), query.filename);
  };
  app.openapi(fileRoute, one);
  app.get('/backup/:backup_id/files/*', needsOrLink('read'), one);
}

/** For answers that are made of the index alone: what it lists must be there to be read. Throws StoredDataLost. */
function checkData(c: AppContext, { backup_id, stored_size }: Backup): Promise<void> {
  return c.get('services').store.requireSize(dataKey(backup_id), stored_size);
}

/** The path of the member as it stands in the URL: the router's own view of it is decoded. */
function addressOf(c: AppContext): { backup_id: string; encoded: string } {
  const [, backup_id = '', encoded = ''] = /^\/backup\/([^/]+)\/files\/(.*)$/s.exec(new URL(c.req.url).pathname) ?? [];
  return { backup_id, encoded };
}

/** A page has no filename, and bytes have no pages. */
function checkApplicable(query: z.infer<typeof FileQuery>, isPage: boolean): void {
  const stray = isPage ? (['filename'] as const) : (['cursor', 'limit'] as const);
  for (const name of stray) {
    if (query[name] !== undefined) throw new OptionNotApplicable(name, isPage ? 'on a listing' : 'on a download');
  }
}

export function filenameWithoutBytes({ type }: Member): OptionNotApplicable {
  return new OptionNotApplicable('filename', `on a ${type}, which has no bytes`);
}

/** The bytes of a parameter: a prefix need not be UTF-8. */
function rawParam(c: AppContext, name: string): Uint8Array {
  const pairs = new URL(c.req.url).search.slice(1).split('&');
  const value = pairs.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
  return decodeMemberPath(value.replaceAll('+', ' '));
}

interface ListingQuery {
  readonly prefix: Uint8Array;
  readonly delimiter?: '/' | undefined;
  readonly cursor?: string | undefined;
  readonly limit?: number | undefined;
}

async function listing(index: MemberIndex, backup: Backup, query: ListingQuery) {
  const { members, prefixes, next } = await listPage(index, {
    prefix: query.prefix,
    delimiter: query.delimiter === '/',
    after: query.cursor === undefined ? null : cursorOf(query.cursor),
    limit: query.limit ?? PAGE_ROWS,
  });
  return {
    files: members.map((member) => fileView(backup.backup_id, member)),
    ...(query.delimiter && { prefixes: prefixes.map(pathText) }),
    cursor: next && encodeCursor(next),
    stopped: index.stopped,
  };
}

function cursorOf(text: string) {
  try {
    return decodeCursor(text);
  } catch {
    throw new InvalidCursor();
  }
}

/** A directory's own page: what lies in it, and not deeper. */
async function page(
  c: AppContext,
  backup: Backup,
  index: MemberIndex,
  path: Uint8Array,
  query: z.infer<typeof FileQuery>,
): Promise<Response> {
  await checkData(c, backup);
  const found = await findDirectory(index, path);
  const prefix = found.length === 0 ? found : concat([found, utf8('/')]);
  return c.json(await listing(index, backup, { ...query, prefix, delimiter: '/' }), 200);
}

async function directory(
  c: AppContext,
  backup: Backup,
  index: MemberIndex,
  path: Uint8Array,
  filename: string | undefined,
): Promise<Response> {
  const found = await findDirectory(index, path);
  const name = filename === undefined ? `${lastSegment(found) || stem(backup.filename)}.tar` : checkFilename(filename);
  return byteResponse(c, {
    headers: describe({
      type: 'application/x-tar',
      name,
      // Weak: the next version of the vault may write its headers otherwise.
      etag: `W/"${backup.checksum}-tar"`,
      lastModified: new Date(backup.created_at),
      ranges: 'none',
    }),
    lastModified: new Date(backup.created_at),
    length: null,
    ranges: false,
    damage: backup.damage,
    check: () => checkData(c, backup),
    open: () => openDirectoryTar(c.get('services'), backup, index, found, readerOf(c)),
  });
}

async function member(
  c: AppContext,
  backup: Backup,
  index: MemberIndex,
  asked: Member,
  filename: string | undefined,
): Promise<Response> {
  const owner = await requireOwner(index, asked);
  if (!hasBytes(owner)) {
    if (filename !== undefined) throw filenameWithoutBytes(asked);
    await checkData(c, backup);
    c.header('cache-control', 'private, no-cache');
    c.header('coldstream-member-type', asked.type);
    return c.json(fileView(backup.backup_id, asked), 200);
  }
  const name = filename === undefined ? lastSegment(asked.path) : checkFilename(filename);
  const lastModified = lastModifiedOf(asked, backup);
  const headers = describe({
    type: namedType(name),
    name,
    // A member is one place of one content.
    etag: `"${backup.checksum}-${owner.headerOffset}"`,
    lastModified,
    ranges: 'bytes',
  });
  headers.set('coldstream-member-type', asked.type);
  return byteResponse(c, {
    headers,
    lastModified,
    length: owner.size,
    ranges: true,
    damage: backup.damage,
    check: () => checkData(c, backup),
    open: (span) =>
      openMember(c.get('services'), backup, index, owner, span ?? { offset: 0, length: owner.size }, readerOf(c)),
  });
}

interface Description {
  readonly type: string;
  readonly name: string;
  readonly etag: string;
  readonly lastModified: Date;
  readonly ranges: 'bytes' | 'none';
}

function describe({ type, name, etag, lastModified, ranges }: Description): Headers {
  return new Headers({
    'content-type': type,
    'content-disposition': attachment(name),
    'accept-ranges': ranges,
    etag,
    'last-modified': lastModified.toUTCString(),
    'cache-control': 'private, no-cache, no-transform',
  });
}

/**
 * The member's own time, so that a client can keep it. Never one that is still to come (RFC 9110, section 8.8.2.1), nor
 * one that an HTTP date of four digits cannot say.
 */
function lastModifiedOf(member: Member, backup: Backup): Date {
  const time = modifiedAt(member).getTime();
  return new Date(Math.min(Math.max(time, 0), Date.parse(backup.created_at)));
}

/**
 * What a member is to be called where it is saved. A name that is longer than those of file systems is cut at its
 * beginning: whole it could fill more of the header than clients read, and its suffix tells what it is.
 */
function lastSegment(path: Uint8Array): string {
  const text = pathText(path);
  return text.slice(text.lastIndexOf('/') + 1).slice(-MEMBER_NAME_CHARS);
}

/** A name without its suffixes of archives: what is in it, is named so. */
function stem(filename: string): string {
  return filename.replace(/(\.tar)?(\.\w+)?$/i, '') || filename;
}
