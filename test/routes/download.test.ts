import { env } from 'cloudflare:workers';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { MIB } from '../../src/shared/limits.ts';
import { ask, expectProblem, put, type Receipt, sample, sha256Hex } from '../support/vault.ts';

const content = sample(9 * MIB + 12_345);
let packed: Receipt;
let plain: Receipt;

beforeAll(async () => {
  packed = await put('größe "1".tar', content);
  plain = await put('plain.tar', content, '?compression=none');
});

/** The header as the edge passes it on: what the client said stands in `cf`. */
function asClient(acceptEncoding: string): RequestInit {
  return { cf: { clientAcceptEncoding: acceptEncoding } } as RequestInit;
}

describe('GET /backup/{id}/download', () => {
  it('gives back the bytes that were sent, with all that the contract names', async () => {
    for (const receipt of [packed, plain]) {
      const response = await ask(receipt.download_url);
      expect(response.status).toBe(200);
      expect(response.headers.get('content-length')).toBe(String(content.length));
      expect(response.headers.get('content-type')).toBe('application/x-tar');
      expect(response.headers.get('cache-control')).toBe('private, no-cache, no-transform');
      expect(response.headers.get('etag')).toMatch(/^"[^"]+"$/);
      expect(response.headers.get('last-modified')).toMatch(/GMT$/);
      expect(response.headers.get('repr-digest')).toMatch(/^sha-256=:[A-Za-z0-9+/]{43}=:$/);
      expect(response.headers.get('x-content-type-options')).toBe('nosniff');
      expect(await sha256Hex(new Uint8Array(await response.bytes()))).toBe(receipt.checksum);
    }
  });

  it('names the file for every client', async () => {
    const disposition = (await ask(packed.download_url, { method: 'HEAD' })).headers.get('content-disposition');
    expect(disposition).toMatch(/^attachment; filename="[ -~]+"; filename\*=UTF-8''gr%C3%B6%C3%9Fe%20%221%22\.tar$/);
  });

  it('answers HEAD like GET, without a body', async () => {
    for (const query of ['', '?format=zst', '?format=gz']) {
      const head = await ask(packed.download_url + query, { method: 'HEAD' });
      const get = await ask(packed.download_url + query);
      await get.body?.cancel();
      expect(head.status).toBe(200);
      expect(head.body).toBeNull();
      for (const name of [
        'content-length',
        'etag',
        'content-type',
        'content-disposition',
        'accept-ranges',
        'repr-digest',
      ]) {
        expect(head.headers.get(name), name).toBe(get.headers.get(name));
      }
    }
  });

  it('passes the stored frames to a client that takes zstd', async () => {
    const response = await ask(packed.download_url, asClient('gzip, zstd;q=0.8'));
    expect(response.headers.get('content-encoding')).toBe('zstd');
    expect(response.headers.get('vary')).toContain('Accept-Encoding');
    expect(response.headers.get('content-length')).toBe(String(packed.stored_size));
    await response.body?.cancel();
    for (const encodings of ['gzip, br', 'zstd;q=0', '*', '']) {
      const identity = await ask(packed.download_url, asClient(encodings));
      expect(identity.headers.get('content-encoding'), encodings).toBeNull();
      await identity.body?.cancel();
    }
  });

  it('gives the stored file with format=zst', async () => {
    const response = await ask(`${packed.download_url}?format=zst`);
    const bytes = await response.bytes();
    expect(bytes.length).toBe(packed.stored_size);
    expect([...bytes.subarray(0, 4)]).toEqual([0x28, 0xb5, 0x2f, 0xfd]);
    expect([...bytes.subarray(-4)]).toEqual([0xb1, 0xea, 0x92, 0x8f]);
    expect(response.headers.get('content-disposition')).toContain('.tar.zst');
  });

  it('gives gzip with format=gz', async () => {
    const response = await ask(`${packed.download_url}?format=gz`);
    expect(await sha256Hex(new Uint8Array(gunzipSync(await response.bytes())))).toBe(packed.checksum);
    expect(response.headers.get('repr-digest')).toBeNull();
  });

  it('has no zst of what is stored as it came', async () => {
    await expectProblem(await ask(`${plain.download_url}?format=zst`), 406, 'format-unavailable');
    await expectProblem(await ask(`${plain.download_url}?format=rar`), 400, 'invalid-option');
  });

  it('has a tag of its own for each representation, and answers 304 to it', async () => {
    const asked: [string, RequestInit][] = [
      ['', {}],
      ['', asClient('zstd')],
      ['?format=zst', {}],
      ['?format=gz', {}],
    ];
    const tags = new Set<string>();
    for (const [query, init] of asked) {
      const tag = (await ask(packed.download_url + query, { ...init, method: 'HEAD' })).headers.get('etag') ?? '';
      tags.add(tag);
      const again = await ask(packed.download_url + query, {
        ...init,
        headers: { 'if-none-match': `"other", W/${tag}` },
      });
      expect(again.status).toBe(304);
      expect(again.headers.get('etag')).toBe(tag);
    }
    expect(tags.size).toBe(4);
  });

  it.each([
    ['bytes=0-0', 206, 0, 1],
    ['bytes=5-', 206, 5, Number.POSITIVE_INFINITY],
    ['bytes=-7', 206, -7, 7],
    ['bytes=100-99999999999', 206, 100, Number.POSITIVE_INFINITY],
    ['bytes=9-3', 200, 0, Number.POSITIVE_INFINITY],
    ['bytes=0-1,5-6', 200, 0, Number.POSITIVE_INFINITY],
    ['lines=1-2', 200, 0, Number.POSITIVE_INFINITY],
  ])('answers %s with %i, of stored and of decoded bytes', async (range, status, from, length) => {
    const whole = new Uint8Array(await (await ask(`${packed.download_url}?format=zst`)).bytes());
    for (const [path, bytes] of [
      [`${packed.download_url}?format=zst`, whole],
      [plain.download_url, content],
      [packed.download_url, content],
    ] as const) {
      const response = await ask(path, { headers: { range } });
      expect(response.status).toBe(status);
      const start = from < 0 ? bytes.length + from : from;
      const end = Math.min(bytes.length, start + length);
      if (status === 206)
        expect(response.headers.get('content-range')).toBe(`bytes ${start}-${end - 1}/${bytes.length}`);
      expect(response.headers.get('content-length')).toBe(String(end - start));
      expect(await sha256Hex(new Uint8Array(await response.bytes()))).toBe(await sha256Hex(bytes.slice(start, end)));
    }
  });

  it('answers 416 where the range lies behind the end', async () => {
    const response = await ask(plain.download_url, { headers: { range: `bytes=${content.length}-` } });
    expect(response.headers.get('content-range')).toBe(`bytes */${content.length}`);
    await expectProblem(response, 416, 'range-not-satisfiable');
  });

  it('breaks the body when the stored data is damaged, so that it never looks whole', async () => {
    const receipt = await put('broken.tar', sample(9 * MIB, 7));
    const key = `data/${receipt.backup_id}`;
    const stored = new Uint8Array((await (await env.VAULT.get(key))?.arrayBuffer()) ?? new ArrayBuffer(0));
    stored[stored.length >> 1] = (stored[stored.length >> 1] ?? 0) ^ 0x55;
    await env.VAULT.put(key, stored);
    const response = await ask(receipt.download_url);
    expect(response.status).toBe(200);
    await expect(response.bytes()).rejects.toThrow();
  });

  it('stops reading when the reader leaves', async () => {
    const response = await ask(packed.download_url);
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    expect((await ask(packed.download_url, { method: 'HEAD' })).status).toBe(200);
  });

  it('answers 404 to what is not there', async () => {
    await expectProblem(await ask('/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/download'), 404, 'not-found');
    await expectProblem(await ask('/backup/..%2Fsecret/download'), 404, 'not-found');
  });
});
