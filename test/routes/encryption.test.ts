import { env } from 'cloudflare:workers';
import { armor, Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { services } from '../../src/services.ts';
import { FRAME_BYTES, KIB } from '../../src/shared/limits.ts';
import { ask, chunked, expectProblem, put, type Receipt, sample, sha256Hex, storedKeys } from '../support/vault.ts';

interface Encrypted extends Receipt {
  encryption: { format: string; by: string; recipients: string[] } | null;
  archive: unknown;
}

let mine: string;
let forMe: string;
let theirs: string;
let forThem: string;
let strangers: string;

beforeAll(async () => {
  mine = await generateX25519Identity();
  theirs = await generateX25519Identity();
  strangers = await generateX25519Identity();
  forMe = await identityToRecipient(mine);
  forThem = await identityToRecipient(theirs);
});

async function encrypted(name: string, content: BodyInit, query = ''): Promise<Encrypted> {
  return (await put(name, content, `?recipient=${forMe}${query}`)) as Encrypted;
}

function download({ download_url }: Receipt, identity?: string, query = '', headers: HeadersInit = {}) {
  const sent = new Headers(headers);
  if (identity !== undefined) sent.set('x-age-identity', identity);
  return ask(`${download_url}${query}`, { headers: sent });
}

async function bytes(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  expect(response.ok, response.ok ? '' : await response.clone().text()).toBe(true);
  return new Uint8Array(await response.arrayBuffer());
}

/** By the age package alone, as anybody would. */
async function opened(file: Uint8Array, identity: string): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  return decrypter.decrypt(file);
}

const content = sample(2 * FRAME_BYTES + 12_345);

describe('an upload for a recipient', () => {
  it('is stored as zstd within age, says so, and has checksums of the original', async () => {
    const receipt = await encrypted('site.tar', content);
    expect(receipt).toMatchObject({
      filename: 'site.tar',
      file_size: content.length,
      checksum: await sha256Hex(content),
      compression: { codec: 'zstd', frames: 3 },
      encryption: { format: 'age', by: 'vault', recipients: [forMe] },
      archive: null,
    });
    const shown: Encrypted = await (await ask(`/backup/${receipt.backup_id}`)).json();
    expect(shown.encryption).toEqual(receipt.encryption);
    const stored = await bytes(await download(receipt));
    expect(stored.length).toBe(receipt.stored_size);
    expect(new TextDecoder().decode(stored.subarray(0, 21))).toBe('age-encryption.org/v1');
    const frames = await opened(stored, mine);
    expect([...frames.subarray(0, 4)]).toEqual([0x28, 0xb5, 0x2f, 0xfd]);
    const there = await env.VAULT.get(`data/${receipt.backup_id}`);
    expect(await sha256Hex(new Uint8Array((await there?.arrayBuffer()) ?? new ArrayBuffer()))).toBe(
      await sha256Hex(stored),
    );
  });

  it.each([0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, FRAME_BYTES])('holds content of %i bytes', async (size) => {
    const small = sample(size);
    for (const query of ['', '&compression=none']) {
      const receipt = await encrypted('a.bin', chunked(small, 9_999), `&allow_empty=true${query}`);
      expect(await sha256Hex(await bytes(await download(receipt, mine)))).toBe(await sha256Hex(small));
      const stored = await opened(await bytes(await download(receipt)), mine);
      if (query) expect(await sha256Hex(new Uint8Array(stored))).toBe(await sha256Hex(small));
    }
  });

  it('takes several recipients, one by one or in a list, and as fields of a form', async () => {
    for (const query of [`recipient=${forMe}&recipient=${forThem}`, `recipient=${forMe},${forThem}`]) {
      const receipt = (await put('a.tar', sample(1000), `?${query}`)) as Encrypted;
      expect(receipt.encryption?.recipients).toEqual([forMe, forThem]);
      for (const identity of [mine, theirs]) expect((await bytes(await download(receipt, identity))).length).toBe(1000);
    }
    const form = new FormData();
    form.append('recipient', forMe);
    form.append('recipient', forThem);
    form.append('file', new File([sample(1000)], 'form.tar'));
    const answer = await ask('/backup/upload', { method: 'POST', body: form });
    expect(((await answer.json()) as Encrypted).encryption?.recipients).toEqual([forMe, forThem]);
  });

  it.each([
    'age1',
    'not-one',
    'age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq',
    '',
    'AGE-SECRET-KEY-1QQQQ',
  ])('is refused for a recipient that is none: "%s"', async (recipient) => {
    const before = await storedKeys();
    const answer = await ask(`/backup/upload/a.tar?recipient=${recipient}`, { method: 'PUT', body: 'x' });
    await expectProblem(answer, 400, 'invalid-recipient');
    expect(await storedKeys()).toEqual(before);
  });

  it('never shows an identity that was given as a recipient', async () => {
    const answer = await ask(`/backup/upload/a.tar?recipient=${mine}`, { method: 'PUT', body: 'x' });
    expect(await answer.clone().text()).not.toContain(mine.slice(20, 40));
    await expectProblem(answer, 400, 'invalid-recipient');
  });

  it('of a tar has no list of its members in clear', async () => {
    const tar = new Uint8Array(2048);
    tar.set(new TextEncoder().encode('secret-name.txt'));
    const receipt = await encrypted('site.tar', tar);
    for (const path of ['files', 'files/secret-name.txt', 'files/?format=tar']) {
      await expectProblem(await ask(`/backup/${receipt.backup_id}/${path}`), 409, 'backup-encrypted');
    }
    expect((await storedKeys()).filter((key) => key.includes(receipt.backup_id)).sort()).toEqual([
      `data/${receipt.backup_id}`,
      `receipt/${receipt.backup_id}`,
    ]);
  });
});

describe('an encrypted download', () => {
  let receipt: Encrypted;
  beforeEach(async () => {
    receipt ??= await encrypted('site.tar', content);
  });

  it('without an identity is the age file, whatever the client takes, with ranges', async () => {
    const whole = await download(receipt);
    expect(whole.headers.get('content-disposition')).toContain('site.tar.zst.age');
    expect(whole.headers.get('content-length')).toBe(String(receipt.stored_size));
    expect(whole.headers.get('accept-ranges')).toBe('bytes');
    expect(whole.headers.get('vary')).toBe('X-Age-Identity');
    expect(whole.headers.get('content-encoding')).toBeNull();
    const stored = await bytes(whole);
    const part = await download(receipt, undefined, '', { range: 'bytes=100-299' });
    expect(part.status).toBe(206);
    expect(await bytes(part)).toEqual(stored.slice(100, 300));
    const plain = await encrypted('a.tar', sample(10), '&compression=none');
    expect((await download(plain)).headers.get('content-disposition')).toMatch(/a\.tar\.age/);
  });

  it('with an identity is what was uploaded, by its name and its length, or the zstd file, or gzip', async () => {
    const whole = await download(receipt, mine, '', { range: 'bytes=0-9' });
    expect(whole.status, 'a range may get the whole').toBe(200);
    expect(whole.headers.get('content-length')).toBe(String(content.length));
    expect(whole.headers.get('accept-ranges')).toBe('none');
    expect(whole.headers.get('content-disposition')).toMatch(/site\.tar"?$/);
    expect(whole.headers.get('content-type')).toBe('application/x-tar');
    expect(await sha256Hex(await bytes(whole))).toBe(receipt.checksum);
    const zst = await download(receipt, mine, '?format=zst');
    expect(zst.headers.get('content-disposition')).toContain('site.tar.zst');
    expect([...(await bytes(zst)).subarray(0, 4)]).toEqual([0x28, 0xb5, 0x2f, 0xfd]);
    const gz = await bytes(await download(receipt, mine, '?format=gz'));
    const unpacked = new Response(new Blob([gz]).stream().pipeThrough(new DecompressionStream('gzip')));
    expect(await sha256Hex(new Uint8Array(await unpacked.arrayBuffer()))).toBe(receipt.checksum);
  });

  it('has another ETag for each representation', async () => {
    const answers = await Promise.all([
      download(receipt),
      download(receipt, mine),
      download(receipt, mine, '?format=zst'),
      download(receipt, mine, '?format=gz'),
    ]);
    for (const answer of answers) await answer.body?.cancel();
    expect(new Set(answers.map(({ headers }) => headers.get('etag'))).size).toBe(4);
  });

  it('has no other format without an identity', async () => {
    for (const format of ['zst', 'gz']) {
      await expectProblem(await download(receipt, undefined, `?format=${format}`), 406, 'format-unavailable');
    }
  });

  it('is refused with the identity of somebody else, and with what is none, without showing it', async () => {
    await expectProblem(await download(receipt, strangers), 403, 'wrong-identity');
    for (const none of ['AGE-SECRET-KEY-1', 'hello', forMe, `${mine}x`]) {
      const refused = await download(receipt, none);
      if (none.length > 20) expect(await refused.clone().text()).not.toContain(none);
      await expectProblem(refused, 400, 'invalid-identity');
    }
  });

  it('logs no identity, whatever becomes of the request', async () => {
    const said: string[] = [];
    const spies = (['log', 'warn', 'error'] as const).map((level) =>
      vi.spyOn(console, level).mockImplementation((line) => void said.push(String(line))),
    );
    await bytes(await download(receipt, mine));
    await (await download(receipt, strangers)).text();
    await (await download(receipt, `${mine}x`)).text();
    for (const spy of spies) spy.mockRestore();
    expect(said.length).toBeGreaterThan(0);
    for (const line of said) for (const key of [mine, strangers]) expect(line).not.toContain(key);
  });

  it.each([
    ['in its header', 30],
    ['in its first chunk', 400],
    ['in its last bytes', -3],
  ])('that was changed %s gives no wrong byte', async (_, at) => {
    const broken = await encrypted('broken.tar', noisy(300 * KIB), '&compression=none');
    const key = `data/${broken.backup_id}`;
    const stored = new Uint8Array((await (await env.VAULT.get(key))?.arrayBuffer()) ?? new ArrayBuffer());
    const place = at < 0 ? stored.length + at : at;
    stored[place] = (stored[place] ?? 0) ^ 1;
    await env.VAULT.put(key, stored);
    const answer = await download(broken, mine);
    if (at > 0) return expect([403, 422]).toContain(answer.status);
    // The last chunk is not the first: what is before it is true, and the body breaks.
    await expect(answer.arrayBuffer()).rejects.toThrow();
  });
});

/** Bytes of which nobody makes fewer. */
function noisy(size: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(out.subarray(at, Math.min(size, at + 65_536)));
  return out;
}

describe('an encrypted backup', () => {
  it('is verified by its stored bytes, without any key', async () => {
    const { backup_id } = await encrypted('site.tar', content);
    const whole = await (await ask(`/backup/${backup_id}/verify`, { method: 'POST' })).json();
    expect(whole).toMatchObject({ ok: true, frames_checked: 0 });
    const told = await (await ask(`/jobs/verify-${backup_id}`)).json();
    expect(told, 'no frame was seen').toMatchObject({ message: 'Verified site.tar: the SHA-256 agrees' });
    const key = `data/${backup_id}`;
    const stored = new Uint8Array((await (await env.VAULT.get(key))?.arrayBuffer()) ?? new ArrayBuffer());
    stored[5000] = (stored[5000] ?? 0) ^ 1;
    await env.VAULT.put(key, stored);
    const broken = await (await ask(`/backup/${backup_id}/verify`, { method: 'POST' })).json();
    expect(broken).toMatchObject({ ok: false, damage: { frame: null } });
  });

  it('comes back into the catalogue from its receipt', async () => {
    const { backup_id, encryption } = await encrypted('again.tar', content);
    await env.CATALOGUE.prepare('DELETE FROM backups WHERE backup_id = ?1').bind(backup_id).run();
    await ask('/reindex', { method: 'POST' });
    expect(await (await ask(`/backup/${backup_id}`)).json()).toMatchObject({ encryption });
  });

  it('is told apart by nothing in a listing but its encryption', async () => {
    const plain = (await put('plain.tar', sample(10))) as Encrypted;
    expect(plain.encryption).toBeNull();
  });
});

describe('a vault with default recipients', () => {
  it('encrypts what names no recipient, and for those named where some are', async () => {
    const real = services(env);
    const defaults = real.defaultRecipients;
    Object.defineProperty(real, 'defaultRecipients', { value: [forThem], configurable: true });
    try {
      const byDefault = (await put('a.tar', sample(1000))) as Encrypted;
      expect(byDefault.encryption?.recipients).toEqual([forThem]);
      expect((await bytes(await download(byDefault, theirs))).length).toBe(1000);
      expect((await encrypted('a.tar', sample(1000))).encryption?.recipients).toEqual([forMe]);
      const came = (await put('mine.age', await ageFile('private', forMe))) as Encrypted;
      expect(came.encryption).toEqual({ format: 'age', by: 'sender', recipients: [] });
      const dump = new TextEncoder().encode(`age-encryption.org/v1\n${'INSERT INTO shop VALUES (1);\n'.repeat(50)}`);
      const pretender = (await put('dump.sql', dump)) as Encrypted;
      expect(pretender.encryption).toEqual({ format: 'age', by: 'vault', recipients: [forThem] });
      expect(await bytes(await download(pretender, theirs))).toEqual(dump);
    } finally {
      Object.defineProperty(real, 'defaultRecipients', { value: defaults, configurable: true });
    }
  });
});

async function ageFile(text: string, recipient: string): Promise<Uint8Array<ArrayBuffer>> {
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  return new Uint8Array(await encrypter.encrypt(text));
}

describe('a file that came as age', () => {
  it('is recognised, kept byte for byte, and opened for who has the identity', async () => {
    const file = await ageFile('private', forMe);
    const receipt = (await put('notes.txt.age', file)) as Encrypted;
    expect(receipt).toMatchObject({
      compression: { codec: 'none' },
      encryption: { format: 'age', by: 'sender', recipients: [] },
      stored_size: file.length,
    });
    const kept = await download(receipt);
    expect(kept.headers.get('content-disposition')).toContain('notes.txt.age');
    expect(await bytes(kept)).toEqual(file);
    const clear = await download(receipt, mine);
    expect(clear.headers.get('content-disposition')).toMatch(/notes\.txt"?$/);
    expect(await clear.text()).toBe('private');
    await expectProblem(await download(receipt, theirs), 403, 'wrong-identity');
    await expectProblem(await ask(`/backup/${receipt.backup_id}/files`), 409, 'backup-encrypted');
    await expectProblem(await download(receipt, mine, '?format=gz'), 406, 'format-unavailable');
  });

  it('may be encrypted once more, for a recipient that is named', async () => {
    const file = await ageFile('private', forThem);
    const receipt = await encrypted('twice.age', file);
    expect(receipt.encryption?.by).toBe('vault');
    expect(await bytes(await download(receipt, mine))).toEqual(file);
  });

  it('only by its first line is not believed to be encrypted', async () => {
    const receipt = (await put('fake.age', 'age-encryption.org/v1\nnothing of it')) as Encrypted;
    expect(receipt.encryption).toBeNull();
    expect(await (await download(receipt)).text()).toBe('age-encryption.org/v1\nnothing of it');
  });

  it('is believed by its whole header in ASCII armor too', async () => {
    const armored = armor.encode(await ageFile('private', forMe));
    const receipt = (await put('notes.txt.age', armored)) as Encrypted;
    expect(receipt.encryption).toEqual({ format: 'age', by: 'sender', recipients: [] });
    expect(await (await download(receipt)).text()).toBe(armored);
    await expectProblem(await download(receipt, mine), 400, 'malformed-age');
  });
});
