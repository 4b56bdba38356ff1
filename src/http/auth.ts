import { createMiddleware } from 'hono/factory';
import { isExpired, tokenHash } from '../catalogue/token-lookup.ts';
import type { SessionAccess } from '../ingest/resumable/upload-session.ts';
import { isSigned, missingParameters, verifyLink } from '../links/signed-link.ts';
import { base64url, bytesFromBase64, sameSecret } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import { WRONG_CREDENTIALS_PERIOD_SECONDS } from '../shared/limits.ts';
import type { AppContext, AppEnv, Credential, Scope } from './app-env.ts';
import { networkOf } from './network.ts';
import { type DraftAppendQuery, UploadKeyQuery } from './request-schemas.ts';
import { checkQuery, LINK_PARAMETERS, OptionNotApplicable } from './validation.ts';

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

class IncompleteLink extends VaultError {
  constructor(missing: readonly string[]) {
    super(
      'bad-signature',
      `The link is not complete: ${missing.map((name) => `"${name}"`).join(' and ')} ${missing.length === 1 ? 'is' : 'are'} missing. ` +
        'Put the link in quotes: in a shell, "&" ends a command.',
    );
  }
}

class LinkExpired extends VaultError {
  constructor() {
    super('link-expired', 'The link has run out. Ask for a new one.');
  }
}

/** Addresses are logged and shared, so a token in one would be a token that leaks. */
class NotAnUploadSecret extends Unauthorized {
  constructor() {
    super(
      `${UPLOAD_KEY} takes the secret of an upload, which begins with "csu_". Send a token as "Authorization: Bearer TOKEN".`,
    );
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
    const url = new URL(c.req.url);
    if (isSigned(url)) await checkLink(c, url);
    else await checkUnsigned(c, url, scope);
    await next();
  });
}

/** A part of a link is not a link; beside a token its parameters have no effect. */
async function checkUnsigned(c: AppContext, url: URL, scope: Scope): Promise<void> {
  const missing = missingParameters(url);
  if (missing && tokenOf(c) === null) throw new IncompleteLink(missing);
  await checkToken(c, scope);
  const stray = Object.keys(LINK_PARAMETERS).find((name) => url.searchParams.has(name));
  if (stray !== undefined) throw new OptionNotApplicable(stray, 'without a signature: it is a part of a signed URL');
}

async function checkLink(c: AppContext, url: URL): Promise<void> {
  const { signingKeys } = c.get('services');
  const missing = missingParameters(url) ?? [];
  if (missing.length > 0) throw new IncompleteLink(missing);
  const verdict = await verifyLink(signingKeys, { method: c.req.raw.method, url, now: Date.now() });
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
  const token = tokenOf(c);
  if (!token) throw new Unauthorized();
  checkSite(c);
  const known = await knownToken(c, token);
  if (!known || known.expired) throw unknownToken();
  accept(c, known);
  checkScope(known, scope);
}

/** What a request shows for an upload in pieces: a token that may write, or something that its session has to know. */
export async function uploadAccess(
  c: AppContext,
  query: typeof UploadKeyQuery | typeof DraftAppendQuery = UploadKeyQuery,
): Promise<SessionAccess> {
  const key = c.req.query(UPLOAD_KEY);
  const token = key ?? tokenOf(c);
  if (!token) throw new Unauthorized();
  if (key !== undefined && !UPLOAD_SECRET.test(key)) throw new NotAnUploadSecret();
  if (key === undefined) checkSite(c);
  checkQuery(c, query);
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
  const token = tokenOf(c);
  return token && !isSigned(new URL(c.req.url)) ? tokenHash(token) : null;
}

/** The parameter of an upload's address that is its credential, where its sender has no other. */
export const UPLOAD_KEY = 'upload_key';

const UPLOAD_SECRET = /^csu_[A-Za-z0-9_-]{43}$/;

/** An upload's own secret. */
export function makeUploadSecret(): string {
  return `csu_${base64url(crypto.getRandomValues(new Uint8Array(32)))}`;
}

const AUTHORIZATION = /^(bearer|basic) +([\x21-\x7e]+) *$/i;

/** The token in `Authorization`: as Bearer, or as the password of Basic with any user name (RFC 7617). */
function tokenOf(c: AppContext): string | null {
  const [, scheme = '', text = ''] = AUTHORIZATION.exec(c.req.header('authorization') ?? '') ?? [];
  return (isBasic(scheme) ? passwordIn(text) : text) || null;
}

function isBasic(scheme: string): boolean {
  return scheme.toLowerCase() === 'basic';
}

function passwordIn(encoded: string): string {
  try {
    const pair = new TextDecoder().decode(bytesFromBase64(encoded));
    return pair.includes(':') ? pair.slice(pair.indexOf(':') + 1) : '';
  } catch {
    return '';
  }
}

class CrossSite extends VaultError {
  constructor() {
    super(
      'cross-site',
      'The request comes from a page of another site. Send the token as "Authorization: Bearer TOKEN", which no browser adds by itself.',
    );
  }
}

const CHANGES_NOTHING = ['GET', 'HEAD', 'OPTIONS'];

/**
 * A browser remembers a Basic password and sends it with forms of other sites too. Such a request says where it comes
 * from, in `Origin` or `Sec-Fetch-Site`; clients that are no browsers send neither.
 */
function checkSite(c: AppContext): void {
  const [, scheme = ''] = AUTHORIZATION.exec(c.req.header('authorization') ?? '') ?? [];
  if (!isBasic(scheme) || CHANGES_NOTHING.includes(c.req.raw.method)) return;
  const [origin, site] = [c.req.header('origin'), c.req.header('sec-fetch-site')];
  if (origin === undefined && site === undefined) return;
  if (origin !== new URL(c.req.url).origin && site !== 'same-origin') throw new CrossSite();
}

/**
 * How a client may authenticate (RFC 9110, section 11.6.1). Basic is for clients that send a password only when they are
 * asked for it, as wget; a browser would open its dialog, so it is not named to one.
 */
export function challengesTo(c: AppContext): string[] {
  const basic = 'Basic realm="Coldstream", charset="UTF-8"';
  return c.req.header('sec-fetch-mode') === undefined ? [basic, 'Bearer'] : ['Bearer'];
}

class TooManyAttempts extends VaultError {
  constructor() {
    super(
      'too-many-attempts',
      'Too many wrong credentials came from this address. A right one is accepted at any time.',
      {
        facts: { retry_after_seconds: WRONG_CREDENTIALS_PERIOD_SECONDS },
      },
    );
  }
}

/** The error to answer: one wrong credential too many from an address is 429. Those that are right are not counted. */
export async function afterAttempt(c: AppContext, error: Error): Promise<Error> {
  const isWrong = error instanceof VaultError && error.code === 'unauthorized';
  const address = c.req.header('cf-connecting-ip');
  const credential = c.req.query(UPLOAD_KEY) ?? tokenOf(c);
  if (!isWrong || address === undefined || credential === null) return error;
  return (await c.get('services').mayErrAgain(networkOf(address))) ? error : new TooManyAttempts();
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
  const { config, tokens } = c.get('services');
  if (config.adminToken !== null && (await sameSecret(token, config.adminToken))) {
    return { token_id: 'admin', scopes: ['admin'], expired: false };
  }
  const record = await tokens.find(token);
  if (!record) return null;
  const { token_id, scopes } = record;
  return { token_id, scopes, expired: isExpired(record, Date.now()) };
}
