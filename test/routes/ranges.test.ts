import { env } from 'cloudflare:workers';
import { beforeAll, describe, expect, it } from 'vitest';
import { FRAME_BYTES, MIB } from '../../src/shared/limits.ts';
import { bodyOf, fileUrl, gzipped, MTIME, manyFrames, owned, tarOf } from '../support/archives.ts';
import { ask, expectProblem, put, sample, sha256Hex } from '../support/vault.ts';

const content = sample(9 * MIB + 12_345, 11);

/** What stands at an address, and the bytes that ranges are of. */
interface Target {
  readonly url: string;
  readonly bytes: Uint8Array;
}

const targets: Record<string, Target> = {};

beforeAll(async () => {
  const packed = await put('packed.tar', content);
  const plain = await put('plain.tar', content, '?compression=none');
  const gz = await gzipped(content.slice(0, MIB));
  const zst = await manyFrames(content.slice(0, 3 * MIB), 100_000);
  const stored = await env.VAULT.get(`data/${packed.backup_id}`);
  const tar = tarOf([
    { path: 'before', content: 'x' },
    { path: 'member', content: content.slice(0, 5 * MIB) },
  ]);
  const inOurs = await put('in-ours.tar', tar);
  const inGzip = await put('in.tar.gz', await gzipped(tar));
  Object.assign(targets, {
    decoded: { url: packed.download_url, bytes: content },
    'stored with zstd': {
      url: `${packed.download_url}?format=zst`,
      bytes: new Uint8Array((await stored?.arrayBuffer()) ?? []),
    },
    'stored as it came': { url: plain.download_url, bytes: content },
    'uploaded gzip': { url: (await put('a.gz', gz)).download_url, bytes: gz },
    'uploaded zstd': { url: (await put('a.zst', zst)).download_url, bytes: zst },
    'a member': { url: fileUrl(inOurs.backup_id, 'member'), bytes: content.slice(0, 5 * MIB) },
    'a member within gzip': { url: fileUrl(inGzip.backup_id, 'member'), bytes: content.slice(0, 5 * MIB) },
  });
});

function target(name: string): Target {
  const found = targets[name];
  if (!found) throw new Error(name);
  return found;
}

async function expectPart({ url, bytes }: Target, range: string, first: number, last: number): Promise<void> {
  const response = await ask(url, { headers: { range } });
  expect(response.status, range).toBe(206);
  expect(response.headers.get('content-range')).toBe(`bytes ${first}-${last}/${bytes.length}`);
  expect(response.headers.get('content-length')).toBe(String(last - first + 1));
  expect(await sha256Hex(owned(await bodyOf(response))), range).toBe(await sha256Hex(bytes.slice(first, last + 1)));
}

async function expectWhole({ url, bytes }: Target, headers: HeadersInit): Promise<void> {
  const response = await ask(url, { headers });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-range')).toBeNull();
  expect(response.headers.get('content-length')).toBe(String(bytes.length));
  expect(await sha256Hex(owned(await bodyOf(response)))).toBe(await sha256Hex(owned(bytes)));
}

const NAMES = [
  'decoded',
  'stored with zstd',
  'stored as it came',
  'uploaded gzip',
  'uploaded zstd',
  'a member',
  'a member within gzip',
];

describe.each(NAMES)('ranges of what is %s', (name) => {
  it('are served in every shape', async () => {
    const one = target(name);
    const size = one.bytes.length;
    const middle = size >> 1;
    const shapes: [string, number, number][] = [
      ['bytes=0-0', 0, 0],
      ['bytes=0-', 0, size - 1],
      ['bytes=7-7', 7, 7],
      ['bytes=1-99', 1, 99],
      [`bytes=${middle}-${middle + 4999}`, middle, middle + 4999],
      [`bytes=${middle}-`, middle, size - 1],
      [`bytes=${size - 1}-`, size - 1, size - 1],
      [`bytes=${size - 1}-${size - 1}`, size - 1, size - 1],
      [`bytes=${size - 10}-${size + 10}`, size - 10, size - 1],
      ['bytes=-1', size - 1, size - 1],
      ['bytes=-777', size - 777, size - 1],
      [`bytes=-${size}`, 0, size - 1],
      ['bytes=-99999999999999999999', 0, size - 1],
      ['bytes=5-99999999999999999999', 5, size - 1],
      ['BYTES=3-4', 3, 4],
    ];
    for (const [range, first, last] of shapes) await expectPart(one, range, first, last);
  });

  it('that cannot be understood, or are several, get the whole', async () => {
    const one = target(name);
    for (const range of [
      'bytes=9-3',
      'bytes=0-1,5-6',
      'bytes=0-0,-1',
      'lines=1-2',
      'bytes=-',
      'bytes=a-b',
      'bytes 0-1',
    ]) {
      await expectWhole(one, { range });
    }
  });

  it('behind the end are 416, and say how much there is', async () => {
    const { url, bytes } = target(name);
    for (const range of [`bytes=${bytes.length}-`, `bytes=${bytes.length + 5}-${bytes.length + 9}`, 'bytes=-0']) {
      const response = await ask(url, { headers: { range } });
      expect(response.headers.get('content-range')).toBe(`bytes */${bytes.length}`);
      await expectProblem(response, 416, 'range-not-satisfiable');
    }
  });

  it('are not for HEAD, which answers as GET without a range (RFC 9110, section 14.2)', async () => {
    const { url } = target(name);
    const get = await ask(url);
    await get.body?.cancel();
    const told = ({ status, headers }: Response) => [status, ...[...headers].filter(([key]) => key !== 'x-request-id')];
    for (const range of ['bytes=10-19', 'bytes=99999999999-']) {
      const head = await ask(url, { method: 'HEAD', headers: { range } });
      expect(head.body).toBeNull();
      expect(told(head)).toEqual(told(get));
    }
  });

  it('are of the same version only, with If-Range', async () => {
    const one = target(name);
    const { headers } = await ask(one.url, { method: 'HEAD' });
    const etag = headers.get('etag') ?? '';
    const range = 'bytes=2-5';
    const same = await ask(one.url, { headers: { range, 'if-range': etag } });
    expect(same.status).toBe(206);
    expect(await bodyOf(same)).toEqual(owned(one.bytes.slice(2, 6)));
    for (const other of ['"other"', `W/${etag}`, 'Thu, 01 Jan 1970 00:00:01 GMT', 'no date']) {
      await expectWhole(one, { range, 'if-range': other });
    }
    const behind = await ask(one.url, { headers: { range: `bytes=${one.bytes.length}-`, 'if-range': '"other"' } });
    expect(behind.status).toBe(200);
    await behind.body?.cancel();
  });

  it('come after the conditions', async () => {
    const { url } = target(name);
    const head = await ask(url, { method: 'HEAD' });
    const etag = head.headers.get('etag') ?? '';
    const modified = head.headers.get('last-modified') ?? '';
    const asked: [Record<string, string>, number][] = [
      [{ 'if-match': etag }, 206],
      [{ 'if-match': `"x", ${etag}` }, 206],
      [{ 'if-match': '*' }, 206],
      [{ 'if-match': '"other"' }, 412],
      [{ 'if-match': `W/${etag}` }, 412],
      [{ 'if-none-match': etag }, 304],
      [{ 'if-none-match': `W/${etag}` }, 304],
      [{ 'if-none-match': '*' }, 304],
      [{ 'if-none-match': '"other"' }, 206],
      [{ 'if-modified-since': modified }, 304],
      [{ 'if-modified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' }, 206],
      [{ 'if-unmodified-since': modified }, 206],
      [{ 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' }, 412],
      [{ 'if-match': '"other"', 'if-none-match': etag }, 412],
      [{ 'if-match': etag, 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' }, 206],
      [{ 'if-none-match': '"other"', 'if-modified-since': modified }, 206],
    ];
    for (const [headers, status] of asked) {
      for (const method of ['GET', 'HEAD']) {
        const response = await ask(url, { method, headers: { range: 'bytes=0-3', ...headers } });
        await response.body?.cancel();
        const wanted = method === 'HEAD' && status === 206 ? 200 : status;
        expect(response.status, `${method} ${JSON.stringify(headers)}`).toBe(wanted);
      }
    }
  });
});

describe('a range of decoded content', () => {
  it('is right around every frame boundary', async () => {
    for (const boundary of [FRAME_BYTES, 2 * FRAME_BYTES]) {
      for (const [before, after] of [
        [1, -1],
        [0, 0],
        [1, 0],
        [0, 1],
        [2, 2],
        [FRAME_BYTES, 0],
        [FRAME_BYTES, FRAME_BYTES - 1],
      ] as const) {
        const last = Math.min(boundary + after, content.length - 1);
        await expectPart(target('decoded'), `bytes=${boundary - before}-${last}`, boundary - before, last);
      }
    }
  });

  it('is right anywhere', async () => {
    let state = 12_345;
    const roll = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let i = 0; i < 60; i++) {
      const first = roll(content.length);
      const last = Math.min(content.length - 1, first + roll(i % 2 === 0 ? 1000 : 5 * MIB));
      await expectPart(target('decoded'), `bytes=${first}-${last}`, first, last);
    }
  });

  it('is of identity, also for a client that takes zstd', async () => {
    const { url, bytes } = target('decoded');
    const init = { headers: { range: 'bytes=5-9' }, cf: { clientAcceptEncoding: 'zstd' } } as RequestInit;
    const response = await ask(url, init);
    expect(response.status).toBe(206);
    expect(response.headers.get('content-encoding')).toBeNull();
    expect(response.headers.get('vary')).toContain('Accept-Encoding');
    expect(await bodyOf(response)).toEqual(owned(bytes.slice(5, 10)));
    const identity = (await ask(url, { method: 'HEAD' })).headers.get('etag');
    expect(response.headers.get('etag')).toBe(identity);
    const encoded = (await ask(url, { method: 'HEAD', cf: { clientAcceptEncoding: 'zstd' } } as RequestInit)).headers;
    expect(encoded.get('etag')).not.toBe(identity);
    // A part of one representation never goes on in another.
    const mixed = { headers: { range: 'bytes=5-9', 'if-range': encoded.get('etag') ?? '' } };
    await expectWhole(target('decoded'), mixed.headers);
  });

  it('is served through a signed link', async () => {
    const { backup_id } = await put('linked.tar', content);
    const body = JSON.stringify({ expires_in: 60 });
    const headers = { 'content-type': 'application/json' };
    const made = await ask(`/backup/${backup_id}/links`, { method: 'POST', body, headers });
    const { url } = await made.json<{ url: string }>();
    const response = await ask(url, { token: null, headers: { range: 'bytes=4194300-4194309' } });
    expect(response.status).toBe(206);
    expect(await bodyOf(response)).toEqual(content.slice(4_194_300, 4_194_310));
    expect((await ask(url, { token: null, method: 'HEAD' })).headers.get('accept-ranges')).toBe('bytes');
  });

  it('of format=gz there is none: the whole comes', async () => {
    const { url } = target('decoded');
    const response = await ask(`${url}?format=gz`, { headers: { range: 'bytes=0-1' } });
    expect(response.status).toBe(200);
    expect(response.headers.get('accept-ranges')).toBe('none');
    await response.body?.cancel();
  });

  it.each(['?allow_empty=true', '?allow_empty=true&compression=none'])(
    'of an empty file is 416, but a suffix is the whole (%s)',
    async (query) => {
      const { download_url } = await put('empty.tar', new Uint8Array(), query);
      const { backup_id } = await put('one.tar', tarOf([{ path: 'e', content: '', mtime: MTIME }]), query);
      for (const url of [download_url, fileUrl(backup_id, 'e')]) {
        const response = await ask(url, { headers: { range: 'bytes=0-' } });
        expect(response.headers.get('content-range')).toBe('bytes */0');
        await expectProblem(response, 416, 'range-not-satisfiable');
        for (const headers of [{ range: 'bytes=-5' }, new Headers()]) {
          const whole = await ask(url, { headers });
          expect([whole.status, whole.headers.get('content-length')]).toEqual([200, '0']);
          expect(await bodyOf(whole)).toEqual(new Uint8Array());
        }
      }
    },
  );
});
