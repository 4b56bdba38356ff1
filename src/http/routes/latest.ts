import { createRoute, type z } from '@hono/zod-openapi';
import { type Backup, getLatest } from '../../catalogue/backups.ts';
import { signLink } from '../../links/signed-link.ts';
import { utf8 } from '../../shared/bytes.ts';
import { VaultError } from '../../shared/errors.ts';
import type { App, AppContext } from '../app-env.ts';
import { BACKUP, LATEST_LINK, LINK_REQUEST } from '../examples.ts';
import { encodeMemberPath, withoutEndSlashes } from '../member-path.ts';
import { decodeName, encodeName } from '../name-path.ts';
import { describeHead, forTokenAndJson, forTokenOrLink, header, json, jsonBody, problems } from '../openapi.ts';
import { LatestQuery, LinkRequest, NameParam, NoQuery } from '../request-schemas.ts';
import { LinkSchema } from '../response-schemas.ts';
import { OptionNotApplicable } from '../validation.ts';
import { addressOf, downloadParams, LINK_CODES, signedUrl } from './links.ts';

class NoVersion extends VaultError {
  constructor() {
    super('not-found', 'There is no undamaged backup of this name. List the versions: GET /backup?name=NAME.');
  }
}

const latestRoute = createRoute({
  method: 'get',
  path: '/latest/{name}',
  operationId: 'getLatest',
  summary: 'Redirect to the newest version of a name',
  description:
    'The newest version that no verification found damaged, by the time at which its upload began. A signed URL redirects ' +
    'to a signed URL that expires at the same time.',
  tags: ['Downloads'],
  ...forTokenOrLink('read'),
  request: { params: NameParam, query: LatestQuery },
  responses: {
    307: {
      description: 'The address of the download, or of a member',
      headers: {
        Location: header('Relative', BACKUP.download_url),
        'Coldstream-Backup-Id': header('The id of the version', BACKUP.backup_id),
      },
    },
    ...problems('invalid-filename', 'not-found'),
  },
});

const latestLinkRoute = createRoute({
  method: 'post',
  path: '/latest/{name}/links',
  operationId: 'createLatestLink',
  summary: 'Sign a link to the newest version of a name',
  description:
    'The URL redirects to whatever version is the newest when it is opened, without a token until it expires.',
  tags: ['Links'],
  ...forTokenAndJson('read'),
  request: { params: NameParam, query: NoQuery, body: jsonBody(LinkRequest, LINK_REQUEST) },
  responses: { 200: json(LinkSchema, 'The link', LATEST_LINK), ...problems(...LINK_CODES) },
});

/**
 * Routes are matched with paths in which the slashes of such a name are encoded (app.ts), so the name is one segment; it is
 * read from the URL itself, because the router decodes.
 */
export function latestRoutes(app: App): void {
  describeHead(app, latestRoute);
  app.openapi(latestRoute, async (c) => {
    const query = c.req.valid('query');
    const backup = await latestOf(c, nameIn(c));
    const address = `/backup/${backup.backup_id}/${addressIn(query)}`;
    const params = await credentialed(c, address, downloadParams(query));
    c.header('coldstream-backup-id', backup.backup_id);
    c.header('cache-control', 'no-store');
    return c.redirect(params.size > 0 ? `${address}?${params}` : address, 307);
  });

  app.openapi(latestLinkRoute, async (c) => {
    const order = c.req.valid('json');
    const name = nameIn(c).replace(/\/links$/, '');
    await addressOf(c, await latestOf(c, name), order);
    const params = downloadParams(order);
    if (order.path !== undefined) params.set('path', order.path);
    return c.json(await signedUrl(c, 'GET', `/latest/${encodeName(name)}`, params, order.expires_in), 200);
  });
}

/** Names are in NFC, whatever the client's file system has. */
function nameIn(c: AppContext): string {
  const path = new URL(c.req.url).pathname.slice('/latest/'.length);
  return decodeName(path.replace(/\/$/, '')).normalize('NFC');
}

async function latestOf(c: AppContext, name: string): Promise<Backup> {
  const backup = await getLatest(c.get('services').catalogue, name);
  if (!backup) throw new NoVersion();
  return backup;
}

/** Where in a backup a request leads. Nothing is read for it: what is not there is 404 at that address. */
function addressIn({ path, format }: z.infer<typeof LatestQuery>): string {
  if (path === undefined && format !== 'tar') return 'download';
  if (path !== undefined && format !== undefined && format !== 'tar') {
    throw new OptionNotApplicable('format', 'with "path" unless it is "tar": a member goes out as it is');
  }
  const member = encodeMemberPath(withoutEndSlashes(utf8(path ?? '')));
  return format === 'tar' && member !== '' ? `files/${member}/` : `files/${member}`;
}

/**
 * The parameters of the address that a link is redirected to: signed with the key of the link, so that both end with it,
 * and until the time of the link. A token is sent again by the client.
 */
async function credentialed(c: AppContext, path: string, params: URLSearchParams): Promise<URLSearchParams> {
  const { key_id, expires, signature } = c.req.query();
  const key = signature === undefined ? undefined : c.get('services').signingKeys.find(({ id }) => id === key_id);
  return key ? signLink(key, { method: 'GET', path, params, expires: Number(expires) }) : params;
}
