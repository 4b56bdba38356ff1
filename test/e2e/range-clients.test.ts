import { randomInt } from 'node:crypto';
import { copyFile, readFile, truncate } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import { type ListedFile, listing, python } from './archives.ts';
import {
  api,
  bearer,
  curlTo,
  fileSize,
  headersOf,
  MIB,
  put,
  type Receipt,
  run,
  runs,
  type Scratch,
  same,
  scratch,
  sha256Of,
} from './clients.ts';

let vault: LocalVault;
let files: Scratch;
/** What ranges are asked of, by title. */
const targets = new Map<string, Target>();

interface Target {
  readonly url: string;
  /** File that holds what the whole answer must be. */
  readonly file: string;
  readonly bytes: Buffer;
}

const TARGETS = [
  'decoded on the way',
  'stored as it came',
  'format=zst',
  'a .tar.gz',
  'a member over several frames',
  'a member of a .tar.gz',
  'a sparse member',
] as const;

beforeAll(async () => {
  files = await scratch();
  await python('make_tree.py', files.path('tree'));
  await files.mixed('noise.bin', 13 * MIB + 5);
  const make =
    'tar --format=pax -S -cf site.tar tree noise.bin; gzip -1 -c site.tar > site.tar.gz; ' +
    'tar -xOf site.tar noise.bin | cmp - noise.bin';
  await runs('bash', ['-e', '-o', 'pipefail', '-c', make], { cwd: files.path('.') });
  vault = await startLocalVault();
  const tar = files.path('site.tar');
  const [decoded, plain, gzip] = await Promise.all([
    put(vault, tar, 'site.tar', '?compression=zstd'),
    put(vault, tar, 'plain.tar', '?compression=none'),
    put(vault, `${tar}.gz`, 'site.tar.gz'),
  ]);
  expect(fileSize(tar)).toBeGreaterThan(20 * MIB);
  await curlTo(`${tar}.zst`, [...bearer(vault), `${vault.url}${decoded.download_url}?format=zst`]);
  await add('decoded on the way', decoded.download_url, tar);
  await add('stored as it came', plain.download_url, tar);
  await add('format=zst', `${decoded.download_url}?format=zst`, `${tar}.zst`);
  await add('a .tar.gz', gzip.download_url, `${tar}.gz`);
  await add('a member over several frames', await urlOf(decoded, 'noise.bin'), files.path('noise.bin'));
  await add('a member of a .tar.gz', await urlOf(gzip, 'tree/large.bin'), files.path('tree/large.bin'));
  await add('a sparse member', await urlOf(decoded, 'tree/sparse/many'), files.path('tree/sparse/many'));
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

async function add(title: (typeof TARGETS)[number], path: string, file: string): Promise<void> {
  targets.set(title, { url: `${vault.url}${path}`, file, bytes: await readFile(file) });
}

async function urlOf(receipt: Receipt, path: string): Promise<string> {
  const { files: listed } = await listing(vault, receipt, 10, `prefix=${path}&`);
  return listed.find((file: ListedFile) => file.path === path)?.url ?? 'no such member';
}

function target(title: string): Target {
  const found = targets.get(title);
  if (!found) throw new Error(`nothing was made for "${title}"`);
  return found;
}

const IDENTITY = ['-H', 'Accept-Encoding: identity'];

/** Lengths of every order of magnitude; places where frames, blocks and the whole begin and end. */
function randomRange(size: number): { first: number; last: number } {
  const edge = randomInt(3) === 0 ? 4 * MIB * randomInt(Math.ceil(size / (4 * MIB))) : randomInt(size);
  const first = Math.min(Math.max(edge + randomInt(-2, 3), 0), size - 1);
  const length = randomInt(1, 10 ** randomInt(1, 7) + 1);
  return { first, last: first + length - 1 };
}

async function fetchRange({ url, bytes }: Target, first: number, last: number): Promise<void> {
  const asked = `bytes=${first}-${last}`;
  const response = await fetch(url, {
    headers: { authorization: `Bearer ${vault.token}`, 'accept-encoding': 'identity', range: asked },
  });
  const body = Buffer.from(await response.arrayBuffer());
  expect(response.status, asked).toBe(206);
  const end = Math.min(last, bytes.length - 1);
  expect(response.headers.get('content-range'), asked).toBe(`bytes ${first}-${end}/${bytes.length}`);
  expect(response.headers.get('content-length'), asked).toBe(String(end + 1 - first));
  expect(body.equals(bytes.subarray(first, last + 1)), asked).toBe(true);
}

describe('random ranges are what a slice of the file is:', () => {
  const counts: [(typeof TARGETS)[number], number][] = [
    ['decoded on the way', 80],
    ['stored as it came', 80],
    ['format=zst', 80],
    ['a .tar.gz', 150],
    ['a member over several frames', 80],
    ['a member of a .tar.gz', 15],
    ['a sparse member', 40],
  ];

  it.each(counts)('%s, %i of them', async (title, count) => {
    const asked = target(title);
    const ranges = Array.from({ length: count }, () => randomRange(asked.bytes.length)).values();
    const client = async () => {
      for (const { first, last } of ranges) await fetchRange(asked, first, last);
    };
    await Promise.all(Array.from({ length: 8 }, client));
  });
});

describe.each(TARGETS)('%s', (title) => {
  it('curl -r gets what dd gets', async () => {
    const { url, file, bytes } = target(title);
    const size = bytes.length;
    const middle = Math.floor(size / 2) - 77;
    const ranges: [range: string, first: number, count: number][] = [
      ['0-0', 0, 1],
      [`${middle}-${middle + 99_999}`, middle, 100_000],
      [`${size - 1000}-`, size - 1000, 1000],
      ['-1', size - 1, 1],
      ['-4097', size - 4097, 4097],
      [`${size - 5}-${size + 1000}`, size - 5, 5],
    ];
    for (const [range, first, count] of ranges) {
      const part = files.path('part');
      const { status, headers } = await curlTo(part, [...bearer(vault), ...IDENTITY, '-r', range, url]);
      expect(status, range).toBe(206);
      expect(headers.get('content-range'), range).toBe(`bytes ${first}-${first + count - 1}/${size}`);
      const slice = ['iflag=skip_bytes,count_bytes', `skip=${first}`, `count=${count}`];
      await runs('dd', ['status=none', `if=${file}`, `of=${files.path('dd')}`, ...slice]);
      await same(files.path('dd'), part);
    }
  });

  it('is told 416 behind its end, and the whole where a range is none or several', async () => {
    const { url, file, bytes } = target(title);
    const back = files.path('back');
    for (const range of [`${bytes.length}-`, `${bytes.length + 7}-${bytes.length + 9}`, '-0']) {
      const beyond = await curlTo(back, [...bearer(vault), ...IDENTITY, '-r', range, url]);
      expect(beyond.status, range).toBe(416);
      expect(beyond.headers.get('content-range'), range).toBe(`bytes */${bytes.length}`);
      expect(JSON.parse((await readFile(back)).toString())).toMatchObject({ code: 'range-not-satisfiable' });
    }
    for (const range of ['0-1,5-6', '7-3', 'x-y']) {
      const whole = await curlTo(back, [...bearer(vault), ...IDENTITY, '-H', `Range: bytes=${range}`, url]);
      expect(whole.status, range).toBe(200);
      await same(file, back);
    }
  });

  it('HEAD and If-Range: the part for its own version, the whole for any other', async () => {
    const { url, bytes } = target(title);
    const args = [...bearer(vault), ...IDENTITY, '-r', '10-19', url];
    const get = await curlTo(files.path('part'), args);
    // RFC 9110, section 14.2: a range is for GET alone.
    const head = headersOf((await runs('curl', ['-sS', '-I', ...args])).stdout.toString());
    expect(head.status).toBe(200);
    expect(head.headers.get('content-length')).toBe(String(bytes.length));
    for (const name of ['content-type', 'content-disposition', 'etag', 'last-modified', 'accept-ranges']) {
      expect(head.headers.get(name), name).toBe(get.headers.get(name));
    }
    expect(get.headers.get('accept-ranges')).toBe('bytes');
    const etag = get.headers.get('etag') ?? '';
    expect(etag).toMatch(/^"[^"]+"$/);
    const versions: [header: string, status: number][] = [
      [`If-Range: ${etag}`, 206],
      [`If-Range: W/${etag}`, 200],
      ['If-Range: "another"', 200],
      ['If-Range: Mon, 01 Jan 1990 00:00:00 GMT', 200],
      [`If-Match: ${etag}`, 206],
      ['If-Match: "another"', 412],
      [`If-None-Match: ${etag}`, 304],
      ['If-None-Match: "another"', 206],
      ['If-Modified-Since: Fri, 31 Dec 2199 23:59:59 GMT', 304],
      ['If-Unmodified-Since: Mon, 01 Jan 1990 00:00:00 GMT', 412],
    ];
    for (const [header, status] of versions) {
      const answer = await curlTo(files.path('part'), ['-H', header, ...args]);
      expect(answer.status, header).toBe(status);
      if (status === 206) expect(await readFile(files.path('part')), header).toEqual(bytes.subarray(10, 20));
      if (status === 200) expect(answer.headers.get('content-length'), header).toBe(String(bytes.length));
    }
  });

  it('curl -C - goes on after a cut', async () => {
    const { url, file, bytes } = target(title);
    for (const held of [1, Math.floor(bytes.length / 3) + 5, bytes.length - 1]) {
      const cut = await cutAt(file, 'curl.cut', held);
      await runs('curl', ['-sSf', '-C', '-', '-o', cut, ...bearer(vault), ...IDENTITY, url]);
      await same(file, cut);
    }
  });

  it('wget -c goes on after a cut', async () => {
    const { url, file, bytes } = target(title);
    for (const held of [1, Math.floor(bytes.length / 2) + 3, bytes.length - 1]) {
      const cut = await cutAt(file, 'wget.cut', held);
      const args = ['-c', '-S', '-O', cut, '--header', `Authorization: Bearer ${vault.token}`, url];
      expect((await runs('wget', args)).stderr, String(held)).toContain('206 Partial Content');
      await same(file, cut);
    }
  });

  it('aria2c gets it in eight pieces at once, and checks its SHA-256', async () => {
    const { url, file } = target(title);
    await runs('rm', ['-f', files.path('aria2')]);
    await aria2c(url, 'aria2', [...header(), `--checksum=sha-256=${await sha256Of(file)}`]);
    await same(file, files.path('aria2'));
  });
});

/** The first bytes of a file, as a broken download leaves them. */
async function cutAt(file: string, name: string, held: number): Promise<string> {
  const cut = files.path(name);
  await copyFile(file, cut);
  await truncate(cut, held);
  return cut;
}

function header(): string[] {
  return [`--header=Authorization: Bearer ${vault.token}`];
}

const ARIA2C = ['--no-conf', '--quiet', '--no-netrc', '--file-allocation=none', '-x', '8', '-s', '8', '-k', '1M'];

async function aria2c(url: string, out: string, args: readonly string[]): Promise<void> {
  await runs('aria2c', [...ARIA2C, '--allow-overwrite=true', ...args, '-d', files.path('.'), '-o', out, url]);
}

describe('a download that is cut for real', () => {
  it.each(['decoded on the way', 'a member over several frames'])('goes on with aria2c -c: %s', async (title) => {
    const { url, file } = target(title);
    const args = ['-c', ...header(), '-d', files.path('.'), '-o', 'cut.aria2c'];
    const slowly = ['--max-overall-download-limit=3M', '--stop=2'];
    const first = await run('aria2c', [...ARIA2C, ...slowly, ...args, url]);
    expect(first.code, 'aria2c says that it was stopped in the middle').toBe(7);
    // It keeps beside the file which pieces it has.
    expect(fileSize(files.path('cut.aria2c.aria2'))).toBeGreaterThan(0);
    await runs('aria2c', [...ARIA2C, ...args, `--checksum=sha-256=${await sha256Of(file)}`, url]);
    await same(file, files.path('cut.aria2c'));
    await runs('rm', [files.path('cut.aria2c')]);
  });

  it.each(['decoded on the way', 'a member over several frames'])('goes on with curl -C -: %s', async (title) => {
    const { url, file } = target(title);
    const cut = files.path('curl.cut');
    // What reads from it goes away in the middle, twice.
    const line = 'curl -sS -r "$FROM-" -H "Authorization: Bearer $TOKEN" "$URL" | head -c 3000001 >> "$CUT"';
    await runs('rm', ['-f', cut]);
    for (const from of ['0', '3000001']) {
      await runs('bash', ['-c', line], { env: { FROM: from, TOKEN: vault.token, URL: url, CUT: cut } });
    }
    expect(fileSize(cut)).toBe(6_000_002);
    await runs('curl', ['-sS', '-C', '-', '-o', cut, ...bearer(vault), ...IDENTITY, url]);
    await same(file, cut);
  });
});

describe('a signed link', () => {
  async function link(receipt: Target, body: unknown): Promise<string> {
    const id = /backup\/(\w+)\//.exec(receipt.url)?.[1];
    const answer = await api<{ url: string }>(vault, 'POST', `/backup/${id}/links`, body);
    expect(answer.status, JSON.stringify(answer.body)).toBe(200);
    return answer.body.url;
  }

  const links: [(typeof TARGETS)[number], unknown][] = [
    ['decoded on the way', {}],
    ['format=zst', { format: 'zst' }],
    ['a .tar.gz', {}],
    ['a member over several frames', { path: 'noise.bin' }],
    ['a member of a .tar.gz', { path: 'tree/large.bin' }],
  ];

  it.each(links)('serves ranges: %s', async (title, body) => {
    const { file, bytes, ...rest } = target(title);
    const url = await link({ file, bytes, ...rest }, body);
    const part = files.path('part');
    const { status } = await curlTo(part, [...IDENTITY, '-r', '1000000-1000999', url]);
    expect(status).toBe(206);
    expect(await readFile(part)).toEqual(bytes.subarray(1_000_000, 1_001_000));
    await aria2c(url, 'aria2', [`--checksum=sha-256=${await sha256Of(file)}`]);
    await same(file, files.path('aria2'));
    const cut = await cutAt(file, 'wget.cut', Math.floor(bytes.length / 2) + 1);
    expect((await runs('wget', ['-c', '-S', '-O', cut, url])).stderr).toContain('206 Partial Content');
    await same(file, cut);
  });
});
