import { describe, expect, test } from 'vitest';
import { ZstdTooLarge, zstdDecode } from '../../../src/codec/zstd/zstd-decode.ts';
import { concat } from '../../../src/shared/bytes.ts';
import { GIB, MIB } from '../../../src/shared/limits.ts';
import { bothEngines } from './both-engines.ts';
import { chunked } from './bytes.ts';
import { skippable, zeros } from './zstd-files.ts';

/** Decodes until it is refused, keeping nothing: how much came out, in pieces of what size, and what was read for it. */
async function measure(stage: ReturnType<typeof zstdDecode>, file: Uint8Array) {
  const seen = { given: 0, largestPiece: 0, read: 0, left: false };
  async function* source() {
    try {
      for await (const chunk of chunked(file, 4096)) {
        seen.read += chunk.length;
        yield chunk;
      }
    } finally {
      seen.left = true;
    }
  }
  const refusal = (async () => {
    for await (const piece of stage(source())) {
      seen.given += piece.length;
      seen.largestPiece = Math.max(seen.largestPiece, piece.length);
    }
  })();
  await expect(refusal).rejects.toBeInstanceOf(ZstdTooLarge);
  return seen;
}

describe.each(bothEngines)('bombs and the $name engine', (engine) => {
  const bomb = zeros(4 * GIB);

  test('4 GiB of zeros in 128 KiB are refused at the cap, in pieces of bounded size, and reading stops', async () => {
    expect(bomb.length).toBeLessThan(200_000);
    const maxBytes = 64 * MIB;
    const seen = await measure(zstdDecode({ engine, maxBytes }), bomb);
    expect(seen.given).toBeGreaterThan(maxBytes - 2 * MIB);
    expect(seen.given).toBeLessThanOrEqual(maxBytes);
    expect(seen.largestPiece).toBeLessThanOrEqual(MIB);
    expect(seen.read).toBeLessThan(10_000);
    expect(seen.left).toBe(true);
  });

  test('a frame that admits to be too large is refused before anything is decoded', async () => {
    const seen = await measure(zstdDecode({ engine, maxBytes: 64 * MIB }), zeros(4 * GIB, 4 * GIB));
    expect(seen).toMatchObject({ given: 0, read: 4096, left: true });
  });

  test('many small frames count together', async () => {
    const file = concat([zeros(600_000), skippable(new Uint8Array(9)), zeros(600_000, 600_000), zeros(600_000)]);
    const seen = await measure(zstdDecode({ engine, maxBytes: 1_500_000 }), file);
    expect(seen.given).toBeLessThanOrEqual(1_500_000);
  });

  test('a frame that claims little and holds much gives no more than it claims', async () => {
    let given = 0;
    const lie = zeros(GIB, 1000);
    const work = (async () => {
      for await (const piece of zstdDecode({ engine, maxBytes: GIB })(chunked(lie, 4096))) given += piece.length;
    })();
    await expect(work).rejects.toMatchObject({ code: 'malformed-zstd' });
    expect(given).toBeLessThanOrEqual(1000);
  });

  test.each([0, -1, 1])('the cap is exact: content of the cap and %i bytes', async (more) => {
    const maxBytes = 3 * MIB;
    for (const file of [zeros(maxBytes + more), zeros(maxBytes + more, maxBytes + more)]) {
      let given = 0;
      const work = (async () => {
        for await (const piece of zstdDecode({ engine, maxBytes })(chunked(file, 4096))) given += piece.length;
        return given;
      })();
      if (more > 0) await expect(work).rejects.toMatchObject({ code: 'file-too-large', maxBytes });
      else expect(await work).toBe(maxBytes + more);
    }
  });
});
