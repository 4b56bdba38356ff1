/**
 * Signed links: a URL that is its own credential, for one method and path, until a time.
 *
 * The signature is an HMAC-SHA-256 over the method, the path, every other parameter of the query, the time of expiry
 * and the name of the key. So nothing that changes the answer can be changed, and no parameter can be added. Links are
 * not stored: to take them back before their time, take their key out of the list.
 */
import { base64url, bytesFromBase64url, utf8 } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';

/** Goes first into what is signed, so that a signature of another form or version is never one of these. */
const VERSION = 'coldstream-link-1';

/** Shorter secrets can be guessed offline from one link: half of the hash's length, 128 bits (RFC 2104, section 3). */
const MIN_SECRET_BYTES = 16;

const HMAC = { name: 'HMAC', hash: 'SHA-256' };

export interface SigningKey {
  readonly id: string;
  readonly secret: Uint8Array;
}

/** `LINK_SIGNING_KEYS` cannot be read. The message says where, and never shows a secret. */
export class InvalidSigningKeys extends VaultError {
  constructor(place: number, reason: string) {
    super(
      'links-not-configured',
      `Key ${place} of LINK_SIGNING_KEYS ${reason}. The form is "id:base64url,id:base64url".`,
    );
  }
}

/** Reads `id:base64url,id:base64url`, the newest first. Empty text: no keys. Throws {@link InvalidSigningKeys}. */
export function parseSigningKeys(text: string): SigningKey[] {
  if (text.trim() === '') return [];
  const keys: SigningKey[] = [];
  for (const [index, entry] of text.split(',').entries()) {
    const key = parseKey(entry.trim(), index + 1);
    if (keys.some(({ id }) => id === key.id)) throw new InvalidSigningKeys(index + 1, 'has the id of a key before it');
    keys.push(key);
  }
  return keys;
}

function parseKey(entry: string, place: number): SigningKey {
  const [, id, encoded] = /^([A-Za-z0-9_-]{1,64}):(.*)$/.exec(entry) ?? [];
  if (id === undefined || encoded === undefined) throw new InvalidSigningKeys(place, 'has no id of letters and digits');
  const secret = decoded(encoded);
  if (secret === null) throw new InvalidSigningKeys(place, 'is not base64url');
  if (secret.length < MIN_SECRET_BYTES) {
    throw new InvalidSigningKeys(place, `has fewer than ${MIN_SECRET_BYTES} bytes`);
  }
  return { id, secret };
}

export interface LinkTarget {
  /** GET also covers HEAD. */
  readonly method: string;
  /** As it stands in the URL: percent-encoded. */
  readonly path: string;
  readonly params: URLSearchParams;
  /** Unix time in whole seconds. */
  readonly expires: number;
}

/** The parameters of the link: those given, and `expires`, `key_id` and `signature`. */
export async function signLink(key: SigningKey, target: LinkTarget): Promise<URLSearchParams> {
  // First, so that a link that a shell cuts at its first "&" still shows that it is a link.
  const params = new URLSearchParams({ expires: String(target.expires), key_id: key.id });
  for (const [name, value] of target.params) if (!isOwn(name)) params.append(name, value);
  const path = new URL(target.path, 'https://vault.invalid').pathname;
  const signature = await crypto.subtle.sign(
    HMAC,
    await importKey(key, 'sign'),
    canonical(target.method, path, params),
  );
  params.set('signature', base64url(new Uint8Array(signature)));
  return params;
}

/** The parameters that every signed link has. */
const LINK_PARAMETERS = ['expires', 'key_id', 'signature'] as const;

function isOwn(name: string): boolean {
  return LINK_PARAMETERS.some((own) => own === name);
}

/** Those that a URL lacks to be a signed link; null where it has none of them and is not meant to be one. */
export function missingParameters(url: URL): string[] | null {
  const missing = LINK_PARAMETERS.filter((name) => !url.searchParams.has(name));
  return missing.length < LINK_PARAMETERS.length ? missing : null;
}

/** Whether a URL claims to be a signed link. A URL that does is not to be tried with any other credential. */
export function isSigned(url: URL): boolean {
  return url.searchParams.has('signature');
}

export type LinkVerdict =
  | { readonly kind: 'valid' }
  | { readonly kind: 'bad-signature' }
  | { readonly kind: 'expired'; readonly expiredAt: Date };

/**
 * Checks a signed link, the signature before the time: who alters a link learns nothing of when it would have expired.
 *
 * @param now milliseconds since 1970
 */
export async function verifyLink(
  keys: readonly SigningKey[],
  { method, url, now }: { method: string; url: URL; now: number },
): Promise<LinkVerdict> {
  const params = new URLSearchParams(url.search);
  const [encoded, ...more] = params.getAll('signature');
  params.delete('signature');
  const key = keys.find(({ id }) => id === params.get('key_id'));
  const signature = decoded(encoded ?? '');
  if (!key || !signature || more.length > 0) return { kind: 'bad-signature' };
  // crypto.subtle.verify compares in constant time.
  const signed = canonical(method, url.pathname, params);
  if (!(await crypto.subtle.verify(HMAC, await importKey(key, 'verify'), signature, signed))) {
    return { kind: 'bad-signature' };
  }
  const expiredAt = new Date(Number(params.get('expires')) * 1000);
  return now < expiredAt.getTime() ? { kind: 'valid' } : { kind: 'expired', expiredAt };
}

/**
 * What is signed. Parameters are sorted by name and keep the order of their values, since that order may change the
 * answer; they are encoded anew, so that a client which encodes them otherwise has the same link.
 */
function canonical(method: string, path: string, params: URLSearchParams): Uint8Array {
  const sorted = new URLSearchParams(params);
  sorted.sort();
  return utf8([VERSION, method === 'HEAD' ? 'GET' : method, path, sorted.toString()].join('\n'));
}

/** Null for what is not base64url, or has bits beyond its last byte: one signature has one spelling only. */
function decoded(text: string): Uint8Array | null {
  try {
    const bytes = bytesFromBase64url(text);
    return base64url(bytes) === text.replace(/={1,2}$/, '') ? bytes : null;
  } catch {
    return null;
  }
}

async function importKey(key: SigningKey, use: 'sign' | 'verify'): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', key.secret, HMAC, false, [use]);
}
