import { describe, expect, it } from 'vitest';
import {
  InvalidSigningKeys,
  isSigned,
  parseSigningKeys,
  type SigningKey,
  signLink,
  verifyLink,
} from '../../../src/links/signed-link.ts';
import { base64url, utf8 } from '../../../src/shared/bytes.ts';

const newest: SigningKey = { id: 'k2', secret: utf8('newest-key-newest-key-newest-key') };
const older: SigningKey = { id: 'k1', secret: utf8('older-key-older-key-older-key-11') };
const keys = [newest, older];
const expires = 1_800_000_000;
const before = expires * 1000 - 1;
const path = '/backup/01JC0000000000000000000001/download';

async function signed({
  key = newest,
  method = 'GET',
  query = 'format=zst&filename=a%20b.zst',
  at = path,
} = {}): Promise<URL> {
  const params = await signLink(key, { method, path: at, params: new URLSearchParams(query), expires });
  return new URL(`https://vault.example${at}?${params}`);
}

async function verdict(url: URL, { method = 'GET', now = before, with: held = keys } = {}): Promise<string> {
  return (await verifyLink(held, { method, url, now })).kind;
}

describe('a signed link', () => {
  it('is valid as it was made, for HEAD too, on any host', async () => {
    const url = await signed();
    expect(isSigned(url)).toBe(true);
    expect(isSigned(new URL('https://vault.example/?expires=1'))).toBe(false);
    expect(await verdict(url)).toBe('valid');
    expect(await verdict(url, { method: 'HEAD' })).toBe('valid');
    expect(await verdict(new URL(url.pathname + url.search, 'http://127.0.0.1:8787'))).toBe('valid');
  });

  it('is not valid for another method', async () => {
    for (const method of ['PUT', 'POST', 'DELETE', 'get'])
      expect(await verdict(await signed(), { method })).toBe('bad-signature');
    const put = await signed({ method: 'PUT' });
    expect(await verdict(put, { method: 'PUT' })).toBe('valid');
    for (const method of ['GET', 'HEAD']) expect(await verdict(put, { method })).toBe('bad-signature');
  });

  it('stays valid when its parameters are put in another order or encoded otherwise', async () => {
    const url = await signed();
    const reversed = new URL(url);
    reversed.search = new URLSearchParams([...url.searchParams].reverse()).toString();
    expect(await verdict(reversed)).toBe('valid');
    expect(await verdict(new URL(url.href.replace('a+b.zst', '%61%20b%2Ezst')))).toBe('valid');
  });

  it.each([
    ['the path', (u: URL) => new URL(u.href.replace('0001/', '0002/'))],
    ['an end of the path', (u: URL) => new URL(u.href.replace('/download?', '/download/?'))],
    ['a value', (u: URL) => new URL(u.href.replace('zst', 'gz'))],
    ['a name', (u: URL) => new URL(u.href.replace('format', 'Format'))],
    ['a parameter less', (u: URL) => new URL(u.href.replace('format=zst&', ''))],
    ['a parameter more', (u: URL) => new URL(`${u.href}&path=etc`)],
    ['an empty parameter more', (u: URL) => new URL(`${u.href}&x`)],
    ['a second value', (u: URL) => new URL(`${u.href}&format=gz`)],
    ['a later expiry', (u: URL) => new URL(u.href.replace(`expires=${expires}`, `expires=${expires + 1}`))],
    [
      'the same expiry in other words',
      (u: URL) => new URL(u.href.replace(`expires=${expires}`, `expires=0${expires}`)),
    ],
    ['a second expiry', (u: URL) => new URL(`${u.href}&expires=9999999999`)],
    ['no expiry', (u: URL) => new URL(u.href.replace(/&?expires=\d+/, ''))],
    ['another key', (u: URL) => new URL(u.href.replace('key_id=k2', 'key_id=k1'))],
    ['an unknown key', (u: URL) => new URL(u.href.replace('key_id=k2', 'key_id=k9'))],
    ['no key', (u: URL) => new URL(u.href.replace('key_id=k2&', ''))],
    ['an empty signature', (u: URL) => new URL(u.href.replace(/signature=[^&]+/, 'signature='))],
    ['a second signature', (u: URL) => new URL(`${u.href}&signature=x`)],
    ['a signature that is cut', (u: URL) => new URL(u.href.replace(/(signature=[^&]+)./, '$1'))],
    ['a signature that is no base64url', (u: URL) => new URL(u.href.replace(/signature=./, 'signature=*'))],
  ])('is refused with %s changed', async (_, change) => {
    const url = await signed();
    const altered = change(url);
    expect(altered.href).not.toBe(url.href);
    expect(await verdict(altered)).toBe('bad-signature');
  });

  it('is refused with any letter of its signature changed, also in the bits that no byte uses', async () => {
    const url = await signed();
    const signature = url.searchParams.get('signature') ?? '';
    expect(signature).toHaveLength(43);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    for (let at = 0; at < signature.length; at++) {
      for (const step of at === 42 ? [1, 2, 3, 4, 32] : [1]) {
        const other = alphabet[(alphabet.indexOf(signature[at] ?? '') + step) % 64];
        const altered = new URL(url);
        altered.searchParams.set('signature', signature.slice(0, at) + other + signature.slice(at + 1));
        expect(await verdict(altered)).toBe('bad-signature');
      }
    }
  });

  it('says so when it is late, but only if it was good', async () => {
    const url = await signed();
    expect(await verdict(url, { now: before })).toBe('valid');
    expect(await verdict(url, { now: before + 1 })).toBe('expired');
    expect(await verifyLink(keys, { method: 'GET', url, now: before + 5 })).toEqual({
      kind: 'expired',
      expiredAt: new Date(expires * 1000),
    });
    const altered = new URL(`${url.href}&x=1`);
    expect(await verdict(altered, { now: before + 1 })).toBe('bad-signature');
  });

  it('outlives a rotation until its key is taken away', async () => {
    const old = await signed({ key: older });
    expect(await verdict(old)).toBe('valid');
    expect(await verdict(old, { with: [newest] })).toBe('bad-signature');
    expect(await verdict(old, { with: [] })).toBe('bad-signature');
    expect(await verdict(old, { with: [{ id: 'k1', secret: newest.secret }] })).toBe('bad-signature');
  });

  it('covers paths with escapes and letters of any script', async () => {
    for (const at of [
      '/backup/upload/%C3%A9t%C3%A9.tar',
      '/backup/x/files/..%2Fetc%2Fpasswd',
      "/backup/upload/a(1)'!*.tar",
    ]) {
      expect(await verdict(await signed({ at }))).toBe('valid');
    }
  });

  it('replaces parameters of its own name that it was given', async () => {
    const url = await signed({ query: 'expires=1&expires=2&key_id=x&signature=y&format=gz' });
    expect(await verdict(url)).toBe('valid');
  });
});

describe('LINK_SIGNING_KEYS', () => {
  it('is a list, the newest first; blanks do not matter; none is none', () => {
    const text = ` k2:${base64url(newest.secret)} , k1:${base64url(older.secret)}= `;
    expect(parseSigningKeys(text)).toEqual([newest, older]);
    expect(parseSigningKeys('')).toEqual([]);
    expect(parseSigningKeys('  ')).toEqual([]);
  });

  it.each([
    ['no-colon'],
    [':bmV3ZXN0LWtleS1uZXdlc3Qta2V5'],
    ['k1:'],
    ['k1:short'],
    [`k1:${base64url(utf8('fifteen-bytes-x'))}`],
    ['k1:not base64url at all!'],
    ['k 1:bmV3ZXN0LWtleS1uZXdlc3Qta2V5'],
    ['k1:bmV3ZXN0LWtleS1uZXdlc3Qta2V5,'],
    ['k1:bmV3ZXN0LWtleS1uZXdlc3Qta2V5,k1:bmV3ZXN0LWtleS1uZXdlc3Qta2V6'],
  ])('refuses %j without showing it', (text) => {
    let thrown: unknown;
    try {
      parseSigningKeys(text);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(InvalidSigningKeys);
    expect(String(thrown)).not.toContain('bmV3');
  });

  it('takes a secret of sixteen bytes', () => {
    expect(parseSigningKeys(`k:${base64url(utf8('sixteen-bytes-xy'))}`)).toHaveLength(1);
  });
});
