import { type Page, pageOf, placeIn } from './pages.ts';

/** A token as it is shown in lists. Times are ISO 8601 (UTC); `expires_at` is null where it never does. */
export interface TokenInfo {
  readonly token_id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly created_at: string;
  readonly expires_at: string | null;
}

/** `hash`: SHA-256 of the token's secret, lower-case hex. It leaves this room only to be compared. */
export interface TokenRecord extends TokenInfo {
  readonly hash: string;
}

type InfoRow = Omit<TokenInfo, 'scopes'> & { readonly scopes: string };
type TokenRow = InfoRow & { readonly hash: string };

const INFO_COLUMNS = 'token_id, name, scopes, created_at, expires_at';

/** The key of the check in each token, which the migration made. It never leaves the vault. */
export async function tokenCheckKey(db: D1Database): Promise<string> {
  const key = await db.prepare('SELECT key FROM token_check').first<string>('key');
  if (key === null) throw new Error('the catalogue has no token_check key; apply its migrations');
  return key;
}

export async function insertToken(db: D1Database, token: TokenRecord): Promise<void> {
  await db
    .prepare(`INSERT INTO tokens (${INFO_COLUMNS}, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)`)
    .bind(token.token_id, token.name, JSON.stringify(token.scopes), token.created_at, token.expires_at, token.hash)
    .run();
}

/** The token of that id, expired or not: the caller compares the hash first and the time after. */
export async function findToken(db: D1Database, tokenId: string): Promise<TokenRecord | null> {
  const row = await db
    .prepare(`SELECT ${INFO_COLUMNS}, hash FROM tokens WHERE token_id = ?1`)
    .bind(tokenId)
    .first<TokenRow>();
  return row && { ...row, scopes: scopesOf(row.scopes) };
}

/** A page of tokens, newest first, without their hashes. Throws InvalidCursor. */
export async function listTokens(
  db: D1Database,
  { cursor, limit }: { readonly cursor?: string | undefined; readonly limit: number },
): Promise<Page<TokenInfo>> {
  const { results } = await db
    .prepare(`SELECT ${INFO_COLUMNS} FROM tokens WHERE ?1 IS NULL OR token_id < ?1 ORDER BY token_id DESC LIMIT ?2`)
    .bind(placeIn(cursor), limit + 1)
    .all<InfoRow>();
  const { rows, ...page } = pageOf(results, limit, ({ token_id }) => token_id);
  return { ...page, rows: rows.map((row) => ({ ...row, scopes: scopesOf(row.scopes) })) };
}

/** Whether there was such a token. */
export async function deleteToken(db: D1Database, tokenId: string): Promise<boolean> {
  const { meta } = await db.prepare('DELETE FROM tokens WHERE token_id = ?1').bind(tokenId).run();
  return meta.changes > 0;
}

/** A row that somebody wrote by hand grants nothing that is not plainly a list of words. */
function scopesOf(text: string): string[] {
  const scopes: unknown = JSON.parse(text);
  return Array.isArray(scopes) ? scopes.filter((scope) => typeof scope === 'string') : [];
}
