import { createMiddleware } from 'hono/factory';
import { findToken } from '../catalogue/tokens.ts';
import type { SessionAccess } from '../ingest/resumable/upload-session.ts';
import { isSigned, verifyLink } from '../links/signed-link.ts';
import { base64url, bytesFromBase64url, hex, sameSecret, sha256, utf8 } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import type { AppContext, AppEnv, Credential, Scope } from './app-env.ts';

export class Unauthorized extends VaultError {
  constructor(detail = 'Send a token: "Authorization: Bearer TOKEN".') {
    super('unauthorized', detail);
  }
}

export class Forbidden extends VaultError {
  constructor(scope: Scope) {
    super('forbidden', `This needs a token with the scope "${scope}".`);
  }
}

class BadSignature extends VaultError {
  constructor() {
    super('bad-signature', 'The signature does not belong to this link. Use the link exactly as it was given.');
  }
}

class LinkExpired extends VaultError {
  constructor() {
    super('link-expired', 'The link has run out. Ask for a new one.');
  }
}

/** Lets a request pass whose token has the scope. */
export function needs(scope: Scope) {
  return createMiddleware<AppEnv>(async (c, next) => {
    await checkToken(c, scope);
    await next();
  });
}

/** Lets a request pass whose token has the scope, or whose URL is signed. */
export function needsOrLink(scope: Scope) {
  return createMiddleware<AppEnv>(async (c, next) => {
    if (isSigned(new URL(c.req.url))) await checkLink(c);
    else await checkToken(c, scope);
    await next();
  });
}

async function checkLink(c: AppContext): Promise<void> {
  const { signingKeys } = c.get('services');
  const verdict = await verifyLink(signingKeys, { method: c.req.raw.method, url: new URL(c.req.url), now: Date.now() });
  switch (verdict.kind) {
    case 'valid':
      c.set('holder', `link ${c.req.query('signature')}`);
      return;
    case 'bad-signature':
      throw new BadSignature();
    case 'expired':
      throw new LinkExpired();
  }
}

async function checkToken(c: AppContext, scope: Scope): Promise<void> {
  const token = bearerToken(c);
  if (!token) throw new Unauthorized();
  const known = await knownToken(c, token);
  if (!known || known.expired) throw unknownToken();
  accept(c, known);
  checkScope(known, scope);
}

/** What a request shows for an upload in pieces: a token that may write, or something that its session has to know. */
export async function uploadAccess(c: AppContext): Promise<SessionAccess> {
  const token = c.req.query(UPLOAD_KEY) ?? bearerToken(c);
  if (!token) throw new Unauthorized();
  if (UPLOAD_SECRET.test(token)) return { kind: 'hash', sha256: await tokenHash(token) };
  const known = await knownToken(c, token);
  if (!known) throw unknownToken();
  // An upload outlives the token that began it; for any other upload the token is no good any more.
  if (known.expired) return { kind: 'hash', sha256: await tokenHash(token) };
  accept(c, known);
  checkScope(known, 'write');
  return { kind: 'granted' };
}

function accept(c: AppContext, credential: Credential): void {
  c.set('credential', credential);
  c.set('holder', `token ${credential.token_id}`);
}

/** The hash by which an upload knows the token that creates it; null where a link does. */
export async function creatorHash(c: AppContext): Promise<string | null> {
  const token = bearerToken(c);
  return token && !isSigned(new URL(c.req.url)) ? tokenHash(token) : null;
}

/** The parameter of an upload's address that is its credential, where its sender has no other. */
export const UPLOAD_KEY = 'upload_key';

const UPLOAD_SECRET = /^csu_[A-Za-z0-9_-]{43}$/;

/** An upload's own secret. */
export function makeUploadSecret(): string {
  return `csu_${base64url(crypto.getRandomValues(new Uint8Array(32)))}`;
}

function bearerToken(c: AppContext): string | null {
  return /^Bearer +([\x21-\x7e]+) *$/i.exec(c.req.header('authorization') ?? '')?.[1] ?? null;
}

function unknownToken(): Unauthorized {
  return new Unauthorized('The token is unknown, expired or revoked.');
}

/** Throws {@link Forbidden}. */
export function checkScope({ scopes }: Credential, scope: Scope): void {
  if (!scopes.includes(scope) && !scopes.includes('admin')) throw new Forbidden(scope);
}

/** What a token may do, or could until it expired; null for one that there is not, or no more. */
async function knownToken(c: AppContext, token: string): Promise<(Credential & { readonly expired: boolean }) | null> {
  const { config, catalogue } = c.get('services');
  if (config.adminToken !== null && (await sameSecret(token, config.adminToken))) {
    return { token_id: 'admin', scopes: ['admin'], expired: false };
  }
  const parsed = parseToken(token);
  if (!parsed) return null;
  const record = await findToken(catalogue, parsed.tokenId);
  if (!record || !(await sameSecret(await tokenHash(token), record.hash))) return null;
  const { token_id, scopes, expires_at } = record;
  return { token_id, scopes, expired: expires_at !== null && Date.parse(expires_at) <= Date.now() };
}

const TOKEN = /^cst_([0-9A-HJKMNP-TV-Z]{26})_([A-Za-z0-9_-]{43})$/;

/** A token names its row, so that it is found without comparing secrets; the rest is 256 random bits. */
export function makeToken(tokenId: string): string {
  return `cst_${tokenId}_${base64url(crypto.getRandomValues(new Uint8Array(32)))}`;
}

function parseToken(token: string): { tokenId: string } | null {
  const [, tokenId, secret] = TOKEN.exec(token) ?? [];
  return tokenId && secret && bytesFromBase64url(secret).length === 32 ? { tokenId } : null;
}

/** What is stored of a token. A plain hash does: the secret is random, there is nothing to guess. */
export async function tokenHash(token: string): Promise<string> {
  return hex(await sha256(utf8(token)));
}
