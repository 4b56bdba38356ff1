import { printable } from './amounts.ts';
import { UsageError } from './failures.ts';
import { listed, minute, pagesOf } from './listing.ts';
import { print, printJson } from './output.ts';
import type { Session } from './session.ts';

export interface TokenOptions {
  /** Name of a new token. */
  readonly create?: string;
  readonly scope?: readonly string[];
  /** Seconds. */
  readonly expires?: number;
  /** Id of a token to revoke. */
  readonly revoke?: string;
}

interface Token {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly created_at: string;
  readonly expires_at: string | null;
}

interface TokenPage {
  readonly tokens: readonly Token[];
  readonly cursor: string | null;
}

/** Lists tokens, creates one or revokes one. */
export async function tokens(session: Session, options: TokenOptions): Promise<void> {
  const { create, revoke, scope, expires } = options;
  if (create !== undefined && revoke !== undefined) throw new UsageError('Use --create or --revoke, not both.');
  if (create === undefined && (scope ?? expires) !== undefined) {
    throw new UsageError('--scope and --expires are for a new token: --create NAME.');
  }
  if (create !== undefined) return createToken(session, create, options);
  if (revoke !== undefined) return revokeToken(session, revoke);
  await listed(session, pagesOf<TokenPage>(session, '/tokens', {}), (page) => page.tokens, undefined, tokenLine);
}

async function createToken(session: Session, name: string, { scope, expires }: TokenOptions): Promise<void> {
  if (scope === undefined) throw new UsageError('What may the token do? --scope read, write or admin.');
  const json = { name, scopes: scope, ...(expires !== undefined && { expires_in: Math.floor(expires) }) };
  const made = await session.client.json<Token & { readonly token: string }>('/tokens', { method: 'POST', json });
  if (session.json) return printJson(made);
  await print(`${made.token}\n`);
  session.view.note(`The token ${made.id}, shown only now. It expires ${made.expires_at ?? 'never'}.`);
}

async function revokeToken(session: Session, id: string): Promise<void> {
  await session.client.request(`/tokens/${encodeURIComponent(id)}`, { method: 'DELETE' });
  if (session.json) await printJson({ revoked: id });
  else if (!session.quiet) await print(`${id}  revoked\n`);
}

function tokenLine({ id, scopes, created_at, expires_at, name }: Token): string {
  const until = expires_at ? `until ${minute(expires_at)}` : 'no expiry';
  return `${id}  ${minute(created_at)}  ${until.padEnd(22)}  ${printable(scopes.join(',')).padEnd(10)}  ${printable(name)}`;
}
