import { createRoute, z } from '@hono/zod-openapi';
import { ulid } from 'ulidx';
import { tokenHash } from '../../catalogue/token-lookup.ts';
import { deleteToken, insertToken, listTokens } from '../../catalogue/tokens.ts';
import { VaultError } from '../../shared/errors.ts';
import { PAGE_ROWS } from '../../shared/limits.ts';
import type { App } from '../app-env.ts';
import { NEW_TOKEN, TOKEN, TOKEN_REQUEST } from '../examples.ts';
import { forToken, forTokenAndJson, json, jsonBody, problems } from '../openapi.ts';
import { NoQuery, PageQuery, TokenRequest } from '../request-schemas.ts';
import { NewTokenSchema, TokenListSchema } from '../response-schemas.ts';

const makeRoute = createRoute({
  method: 'post',
  path: '/tokens',
  operationId: 'createToken',
  summary: 'Create a token',
  description: 'The answer contains the token. The vault stores a hash of it and cannot show it again.',
  tags: ['Tokens'],
  ...forTokenAndJson('admin'),
  request: { query: NoQuery, body: { required: true, ...jsonBody(TokenRequest, TOKEN_REQUEST) } },
  responses: { 201: json(NewTokenSchema, 'The token', NEW_TOKEN) },
});

const listRoute = createRoute({
  method: 'get',
  path: '/tokens',
  operationId: 'listTokens',
  summary: 'List tokens',
  description: 'Names, scopes and expiry, newest first. The secrets are not stored.',
  tags: ['Tokens'],
  ...forToken('admin'),
  request: { query: PageQuery },
  responses: { 200: json(TokenListSchema, 'A page', { tokens: [TOKEN], cursor: null }), ...problems('invalid-cursor') },
});

const revokeRoute = createRoute({
  method: 'delete',
  path: '/tokens/{id}',
  operationId: 'revokeToken',
  summary: 'Revoke a token',
  description: 'The next request with the token is answered 401.',
  tags: ['Tokens'],
  ...forToken('admin'),
  request: {
    params: z.object({ id: z.string().openapi({ description: 'The `id` of the token', example: TOKEN.id }) }),
    query: NoQuery,
  },
  responses: { 204: { description: 'The token is revoked' }, ...problems('not-found') },
});

export function tokenRoutes(app: App): void {
  app.openapi(makeRoute, async (c) => {
    const { name, scopes, expires_in } = c.req.valid('json');
    const id = ulid();
    const token = await c.get('services').tokens.make(id);
    const now = Date.now();
    const facts = {
      name,
      scopes: [...new Set(scopes)],
      created_at: new Date(now).toISOString(),
      expires_at: expires_in === undefined ? null : new Date(now + expires_in * 1000).toISOString(),
    };
    await insertToken(c.get('services').catalogue, { token_id: id, ...facts, hash: await tokenHash(token) });
    return c.json({ id, ...facts, token }, 201, { 'cache-control': 'no-store' });
  });

  app.openapi(listRoute, async (c) => {
    const { cursor, limit = PAGE_ROWS } = c.req.valid('query');
    const page = await listTokens(c.get('services').catalogue, { cursor, limit });
    const tokens = page.rows.map(({ token_id, scopes, ...rest }) => ({ id: token_id, scopes: [...scopes], ...rest }));
    return c.json({ tokens, cursor: page.cursor }, 200);
  });

  app.openapi(revokeRoute, async (c) => {
    const removed = await deleteToken(c.get('services').catalogue, c.req.valid('param').id);
    if (!removed) throw new VaultError('not-found', 'There is no such token. List those there are: GET /tokens.');
    return c.body(null, 204);
  });
}
