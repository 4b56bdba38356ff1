import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { recordVerification } from '../../src/catalogue/backups.ts';
import { FRAME_BYTES, MIB } from '../../src/shared/limits.ts';
import { bodyOf, fileUrl, owned, tarOf } from '../support/archives.ts';
import { ask, expectProblem, put, type Receipt, sample, sha256Hex } from '../support/vault.ts';

const content = sample(9 * MIB + 12_345, 11);

/** What stands at an address, and the bytes that ranges are of. */
interface Target {
  readonly url: string;
  readonly bytes: Uint8Array;
}

async function expectPart({ url, bytes }: Target, range: string, first: number, last: number): Promise<void> {
  const response = await ask(url, { headers: { range } });
  expect(response.status, range).toBe(206);
  expect(response.headers.get('content-range')).toBe(`bytes ${first}-${last}/${bytes.length}`);
  expect(response.headers.get('content-length')).toBe(String(last - first + 1));
  expect(await sha256Hex(owned(await bodyOf(response))), range).toBe(await sha256Hex(bytes.slice(first, last + 1)));
}

describe('stored bytes that are damaged', () => {
  async function damaged(receipt: Receipt, harm: (stored: Uint8Array) => Uint8Array): Promise<void> {
    const key = `data/${receipt.backup_id}`;
    const object = await env.VAULT.get(key);
    await env.VAULT.put(key, harm(new Uint8Array((await object?.arrayBuffer()) ?? [])));
  }

  const flip = (at: (length: number) => number) => (stored: Uint8Array) => {
    const harmed = stored.slice();
    const place = at(stored.length);
    harmed[place] = (harmed[place] ?? 0) ^ 0x55;
    return harmed;
  };

  it('break the ranges in their frame, before the answer, and no others', async () => {
    const receipt = await put('frame.tar', content);
    await damaged(
      receipt,
      flip((length) => length >> 1),
    );
    const inBroken = await ask(receipt.download_url, { headers: { range: 'bytes=5000000-5000009' } });
    await expectProblem(inBroken, 422, 'stored-data-corrupt');
    await expectPart({ url: receipt.download_url, bytes: content }, 'bytes=100-2000', 100, 2000);
    const last = content.length - 1;
    await expectPart({ url: receipt.download_url, bytes: content }, 'bytes=-500', last - 499, last);
  });

  it('in the seek table are a problem for a range, or make no difference: never wrong bytes', async () => {
    const small = sample(2 * FRAME_BYTES + 100, 3);
    let receipt = await put('table.tar', small);
    const object = await env.VAULT.get(`data/${receipt.backup_id}`);
    const stored = new Uint8Array((await object?.arrayBuffer()) ?? []);
    let refused = 0;
    for (let back = 1; back <= 8 + 3 * 12 + 9; back++) {
      await env.VAULT.put(`data/${receipt.backup_id}`, flip((length) => length - back)(stored));
      const response = await ask(receipt.download_url, { headers: { range: 'bytes=4194300-4194400' } });
      if (response.status === 206) {
        expect(await bodyOf(response)).toEqual(small.slice(4_194_300, 4_194_401));
        // Its table is known from now on.
        receipt = await put('table.tar', small);
        continue;
      }
      await expectProblem(response, 422, 'stored-data-corrupt');
      refused += 1;
    }
    expect(refused).toBeGreaterThan(30);
  });

  it('of the right size but other bytes are damaged, not lost: another range may be whole', async () => {
    const tar = tarOf([{ path: 'm', content: content.slice(0, 50_000) }]);
    const receipt = await put('other.tar', tar);
    await damaged(receipt, (stored) => sample(stored.length, 99));
    const headers = { range: 'bytes=20000-20009' };
    await expectProblem(await ask(receipt.download_url, { headers }), 422, 'stored-data-corrupt');
    await expectProblem(await ask(fileUrl(receipt.backup_id, 'm'), { headers }), 422, 'stored-data-corrupt');
    const whole = await ask(fileUrl(receipt.backup_id, '?format=tar'));
    await expect(whole.arrayBuffer()).rejects.toThrow();
  });
});

/** Requests whose answer needs the stored data, after `/backup/{id}`; HEAD answers have no body to look at. */
const NEED_DATA: readonly (readonly [string, RequestInit?])[] = [
  ['/download'],
  ['/download', { method: 'HEAD' }],
  ['/download', { headers: { range: 'bytes=20000-20009' } }],
  ['/download?format=zst'],
  ['/download?format=zst', { method: 'HEAD' }],
  ['/download?format=zst', { headers: { range: 'bytes=5-9' } }],
  ['/download?format=gz'],
  ['/files'],
  ['/files?prefix=d/&delimiter=/'],
  ['/files/d/'],
  ['/files/m'],
  ['/files/m', { method: 'HEAD' }],
  ['/files/m', { headers: { range: 'bytes=5-9' } }],
  ['/files/d'],
  ['/files/d/?format=tar'],
  ['/files/?format=tar', { method: 'HEAD' }],
  ['/verify', { method: 'POST' }],
];

describe('a backup whose stored data is lost', () => {
  const tar = tarOf([
    { path: 'm', content: content.slice(0, 50_000) },
    { path: 'd', type: 'directory' },
  ]);

  const HARMS = {
    missing: () => null,
    cut: (stored) => stored.slice(0, 1000),
    longer: (stored) => new Uint8Array([...stored.slice(0, 100), ...stored]),
  } satisfies Record<string, (stored: Uint8Array) => Uint8Array | null>;

  async function lose(receipt: Receipt, harm: (stored: Uint8Array) => Uint8Array | null): Promise<void> {
    const key = `data/${receipt.backup_id}`;
    const harmed = harm(new Uint8Array((await (await env.VAULT.get(key))?.arrayBuffer()) ?? []));
    if (harmed) await env.VAULT.put(key, harmed);
    else await env.VAULT.delete(key);
  }

  async function expectLost([path, init]: (typeof NEED_DATA)[number], id: string): Promise<void> {
    const response = await ask(`/backup/${id}${path}`, init);
    const why = `${init?.method ?? 'GET'} ${path} ${JSON.stringify(init?.headers ?? {})}`;
    expect(response.status, why).toBe(410);
    if (init?.method !== 'HEAD') await expectProblem(response, 410, 'stored-data-lost');
  }

  it.each(['missing', 'cut', 'longer'] as const)('answers 410 on every route that needs it: %s', async (how) => {
    const receipt = await put('lost.tar', tar);
    // Its index is in memory from now on, so that no answer is 410 for the lack of that alone.
    expect((await ask(`/backup/${receipt.backup_id}/files`)).status).toBe(200);
    await lose(receipt, HARMS[how]);
    for (const request of NEED_DATA) {
      if (request[0] === '/verify' && how !== 'missing') continue;
      await expectLost(request, receipt.backup_id);
    }
    expect((await ask(`/backup/${receipt.backup_id}`)).status, 'its receipt is still shown').toBe(200);
  });

  it.each(['missing', 'cut', 'longer'] as const)('also where it was stored as it came: %s', async (how) => {
    const receipt = await put('lost.tar', tar, '?compression=none');
    await lose(receipt, HARMS[how]);
    for (const request of NEED_DATA) {
      if (request[0].includes('format=zst') || request[0] === '/verify') continue;
      await expectLost(request, receipt.backup_id);
    }
  });

  it('answers 410 for its members, and not its download, where only their index is missing', async () => {
    const receipt = await put('lost.tar', tar);
    await env.VAULT.delete(`index/${receipt.backup_id}`);
    await expectLost(['/files'], receipt.backup_id);
    expect(await bodyOf(await ask(receipt.download_url))).toEqual(tar);
  });
});

describe('a backup that is known to be damaged', () => {
  it.each([
    [{ frame: 17, offset: 71_303_168 }, 'frame 17, byte 71303168'],
    [{ frame: null, offset: 512 }, 'byte 512'],
    [{ frame: null, offset: null }, 'place unknown'],
  ])('says so with every answer that serves its bytes: %j', async (place, expected) => {
    const tar = tarOf([
      { path: 'm', content: content.slice(0, 5_000) },
      { path: 'd', type: 'directory' },
    ]);
    const { backup_id } = await put('known.tar', tar);
    const headerOf = async ([path, init]: (typeof NEED_DATA)[number]) => {
      const response = await ask(`/backup/${backup_id}${path}`, init);
      await response.body?.cancel();
      return response.headers.get('coldstream-damage');
    };
    const serving = NEED_DATA.filter(([path]) => !/^.(verify|files(\?.*|.d.?)?)$/.test(path));
    const etag = (await ask(`/backup/${backup_id}/download`, { method: 'HEAD' })).headers.get('etag') ?? '';
    const more = [
      ['/download', { headers: { 'if-none-match': etag } }],
      ['/download', { headers: { 'if-match': '"other"' } }],
      ['/download', { headers: { range: 'bytes=999999-' } }],
    ] as const;
    for (const request of [...serving, ...more]) expect(await headerOf(request)).toBeNull();
    const damage = { found_at: '2026-11-24T00:00:00.000Z', reason: 'broken', ...place };
    await recordVerification(env.CATALOGUE, backup_id, { verified_at: null, damage });
    for (const request of [...serving, ...more]) expect(await headerOf(request), request[0]).toBe(expected);
    await env.VAULT.delete(`data/${backup_id}`);
    for (const request of serving) expect(await headerOf(request), request[0]).toBe(expected);
  });
});
