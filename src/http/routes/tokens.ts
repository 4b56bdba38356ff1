import { createRoute, z } from '@hono/zod-openapi';
import { ulid } from 'ulidx';
import { deleteToken, insertToken, listTokens } from '../../catalogue/tokens.ts';
import { VaultError } from '../../shared/errors.ts';
import type { App } from '../app-env.ts';
import { makeToken, needs, tokenHash } from '../auth.ts';
import { json, problems } from '../openapi.ts';
import { NewTokenSchema, TokenListSchema, TokenRequest } from '../schemas.ts';

const makeRoute = createRoute({
  method: 'post',
  path: '/tokens',
  summary: 'Makes a token; it is shown this once',
  tags: ['Tokens'],
  middleware: needs('admin'),
  request: { body: { required: true, content: { 'application/json': { schema: TokenRequest } } } },
  responses: { 201: json(NewTokenSchema, 'The token'), ...problems(400, 401, 403) },
});

const listRoute = createRoute({
  method: 'get',
  path: '/tokens',
  summary: 'The tokens, without their secrets',
  tags: ['Tokens'],
  middleware: needs('admin'),
  responses: { 200: json(TokenListSchema, 'The tokens'), ...problems(401, 403) },
});

const revokeRoute = createRoute({
  method: 'delete',
  path: '/tokens/{id}',
  summary: 'Revokes a token',
  tags: ['Tokens'],
  middleware: needs('admin'),
  request: { params: z.object({ id: z.string() }) },
  responses: { 204: { description: 'Revoked' }, ...problems(401, 403, 404) },
});

export function tokenRoutes(app: App): void {
  app.openapi(makeRoute, async (c) => {
    const { name, scopes, expires_in } = c.req.valid('json');
    const id = ulid();
    const token = makeToken(id);
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
    const tokens = await listTokens(c.get('services').catalogue);
    return c.json(
      { tokens: tokens.map(({ token_id, scopes, ...rest }) => ({ id: token_id, scopes: [...scopes], ...rest })) },
      200,
    );
  });

  app.openapi(revokeRoute, async (c) => {
    const removed = await deleteToken(c.get('services').catalogue, c.req.valid('param').id);
    if (!removed) throw new VaultError('not-found', 'There is no such token. List those there are: GET /tokens.');
    return c.body(null, 204);
  });
}
