import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
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
    await expectProblem(inBroken, 500, 'stored-data-corrupt');
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
      await expectProblem(response, 500, 'stored-data-corrupt');
      refused += 1;
    }
    expect(refused).toBeGreaterThan(30);
  });

  it.each([
    ['gone', () => null],
    ['cut', (stored: Uint8Array) => stored.slice(0, 1000)],
    ['longer', (stored: Uint8Array) => new Uint8Array([...stored.slice(0, 100), ...stored])],
    ['another, of the same size', (stored: Uint8Array) => sample(stored.length, 99)],
  ] as const)('are told where the object is %s', async (_, harm) => {
    const tar = tarOf([{ path: 'm', content: content.slice(0, 50_000) }]);
    const receipt = await put('lost.tar', tar);
    const key = `data/${receipt.backup_id}`;
    const harmed = harm(new Uint8Array((await (await env.VAULT.get(key))?.arrayBuffer()) ?? []));
    if (harmed) await env.VAULT.put(key, harmed);
    else await env.VAULT.delete(key);
    const headers = { range: 'bytes=20000-20009' };
    await expectProblem(await ask(receipt.download_url, { headers }), 500, 'stored-data-corrupt');
    await expectProblem(await ask(fileUrl(receipt.backup_id, 'm'), { headers }), 500, 'stored-data-corrupt');
    // A header of ours has gone out before the storage is read.
    const whole = await ask(fileUrl(receipt.backup_id, '?format=tar'));
    await expect(whole.arrayBuffer()).rejects.toThrow();
  });

  it.each([
    ['gone', () => null],
    ['cut', (stored: Uint8Array) => stored.slice(0, 1000)],
    ['longer', (stored: Uint8Array) => new Uint8Array([...stored.slice(0, 100), ...stored])],
  ] as const)('that were stored as they came are told where the object is %s', async (_, harm) => {
    const tar = tarOf([{ path: 'm', content: content.slice(0, 50_000) }]);
    const receipt = await put('lost.tar', tar, '?compression=none');
    const key = `data/${receipt.backup_id}`;
    const harmed = harm(tar);
    if (harmed) await env.VAULT.put(key, harmed);
    else await env.VAULT.delete(key);
    const headers = { range: 'bytes=20000-20009' };
    await expectProblem(await ask(receipt.download_url, { headers }), 500, 'stored-data-corrupt');
    await expectProblem(await ask(fileUrl(receipt.backup_id, 'm'), { headers }), 500, 'stored-data-corrupt');
  });
});
