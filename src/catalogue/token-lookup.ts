import { LRUCache } from 'lru-cache';
import { base64url, bytesFromBase64url, concat, hex, sameSecret, sha256, utf8 } from '../shared/bytes.ts';
import { findToken, type TokenRecord, tokenCheckKey } from './tokens.ts';

const TOKEN = /^cst_([0-9A-HJKMNP-TV-Z]{26})_([A-Za-z0-9_-]{43})$/;

/** 192 random bits cannot be guessed; the check beside them only spares a read, so 64 bits do. */
const RANDOM_BYTES = 24;
const CHECK_BYTES = 8;

/** Tokens that are remembered as ended; each took a read, and only tokens of this vault get that far. */
const ENDED_TOKENS = 1_000;
/** An expired token may be revoked too, which its own uploads must learn. */
const EXPIRED_KEPT_MS = 60_000;

const HMAC = { name: 'HMAC', hash: 'SHA-256' };

/**
 * Makes tokens, and finds their records with as few reads as possible: docs/decisions/0018-wrong-credentials.md. One for
 * the isolate.
 *
 * A token is `cst_<id>_<24 random bytes and 8 of an HMAC over the id and those>`. The id names its row, so that it is found
 * without comparing secrets; the HMAC distinguishes a guess from a token that this vault made.
 */
export class TokenLookup {
  readonly #db: D1Database;
  readonly #ended = new LRUCache<string, { readonly record: TokenRecord | 'none'; readonly until: number }>({
    max: ENDED_TOKENS,
  });
  #key: CryptoKey | null = null;

  constructor(db: D1Database) {
    this.#db = db;
  }

  async make(tokenId: string): Promise<string> {
    const random = crypto.getRandomValues(new Uint8Array(RANDOM_BYTES));
    return `cst_${tokenId}_${base64url(concat([random, await this.#checkOf(tokenId, random)]))}`;
  }

  /** The record of a token, expired or not; null where the token is unknown or revoked. */
  async find(token: string, now = Date.now()): Promise<TokenRecord | null> {
    const tokenId = await this.#idOf(token);
    if (tokenId === null) return null;
    const hash = await tokenHash(token);
    const ended = this.#ended.get(hash);
    if (ended && now < ended.until) return ended.record === 'none' ? null : ended.record;
    const record = await findToken(this.#db, tokenId);
    // Ids are never used again, so a token without a row stays without one.
    if (!record || !(await sameSecret(hash, record.hash))) {
      this.#ended.set(hash, { record: 'none', until: Number.POSITIVE_INFINITY });
      return null;
    }
    if (isExpired(record, now)) this.#ended.set(hash, { record, until: now + EXPIRED_KEPT_MS });
    return record;
  }

  /** The id in a token that this vault made; null in any other text. */
  async #idOf(token: string): Promise<string | null> {
    const [, tokenId, encoded] = TOKEN.exec(token) ?? [];
    if (tokenId === undefined || encoded === undefined) return null;
    const bytes = bytesFromBase64url(encoded);
    const check = await this.#checkOf(tokenId, bytes.subarray(0, RANDOM_BYTES));
    return (await sameSecret(hex(bytes.subarray(RANDOM_BYTES)), hex(check))) ? tokenId : null;
  }

  async #checkOf(tokenId: string, random: Uint8Array): Promise<Uint8Array> {
    // Not a shared promise: a request may not wait for the I/O of another one.
    this.#key ??= await crypto.subtle.importKey('raw', utf8(await tokenCheckKey(this.#db)), HMAC, false, ['sign']);
    const mac = await crypto.subtle.sign(HMAC, this.#key, concat([utf8(tokenId), random]));
    return new Uint8Array(mac, 0, CHECK_BYTES);
  }
}

export function isExpired({ expires_at }: TokenRecord, now: number): boolean {
  return expires_at !== null && Date.parse(expires_at) <= now;
}

/** What is stored of a token. A plain hash does: the secret is random, there is nothing to guess. */
export async function tokenHash(token: string): Promise<string> {
  return hex(await sha256(utf8(token)));
}
