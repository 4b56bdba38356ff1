import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { sha256Digest } from '../../../src/codec/digest.ts';
import { gzipEncode } from '../../../src/codec/gzip.ts';
import { hex, sha256, utf8 } from '../../../src/shared/bytes.ts';
import { chunked, collect, firstDifference, noise, run, text } from './bytes.ts';

describe('gzipEncode', () => {
  test.each([0, 1, 100_000, 3_000_000])('writes %i bytes that gunzip brings back', async (bytes) => {
    for (const content of [text(bytes), noise(bytes)]) {
      for (const chunkBytes of [50_000, 1_000_000]) {
        const file = await run(gzipEncode(), content, chunkBytes);
        expect(firstDifference(new Uint8Array(gunzipSync(file)), content)).toBeNull();
      }
    }
  });

  test('takes one byte at a time', async () => {
    const file = await run(gzipEncode(), text(2_000), 1);
    expect(firstDifference(new Uint8Array(gunzipSync(file)), text(2_000))).toBeNull();
  });

  test('pulls nothing ahead of its reader, and leaves its source with it', async () => {
    let pulled = 0;
    let left = false;
    async function* source() {
      try {
        for await (const chunk of chunked(noise(2_000_000), 100_000)) {
          pulled += chunk.length;
          yield chunk;
        }
      } finally {
        left = true;
      }
    }
    let given = 0;
    for await (const piece of gzipEncode()(source())) {
      given += piece.length;
      expect(pulled - given).toBeLessThan(300_000);
      if (given > 500_000) break;
    }
    expect(left).toBe(true);
    expect(pulled).toBeLessThan(800_000);
  });

  test('throws the error of its source as it is', async () => {
    const failure = new Error('the disk is gone');
    async function* source() {
      yield noise(15_000);
      throw failure;
    }
    await expect(collect(gzipEncode()(source()))).rejects.toBe(failure);
  });
});

test('sha256Digest counts pieces as one', async () => {
  const digest = sha256Digest();
  for (const part of ['cold', '', 'stream']) digest.update(utf8(part));
  expect(hex(digest.digest())).toBe(hex(await sha256(utf8('coldstream'))));
});
