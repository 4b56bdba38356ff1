import { describe, expect, test } from 'vitest';
import { zstdDecoder, zstdEncoder } from '../../../src/codec/zstd/transform.ts';
import { KIB, MIB } from '../../../src/shared/limits.ts';
import { bothEngines } from './both-engines.ts';
import { firstDifference, noise, text } from './bytes.ts';

const frameBytes = 64 * KIB;

function streamOf(
  bytes: Uint8Array,
  chunkBytes: number,
  seen = { pulled: 0, cancelled: false },
): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (at >= bytes.length) return controller.close();
        const chunk = bytes.slice(at, at + chunkBytes);
        at += chunk.length;
        seen.pulled += chunk.length;
        controller.enqueue(chunk);
      },
      cancel() {
        seen.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
}

async function bytesOf(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i++) await scheduler.wait(10);
  expect(condition()).toBe(true);
}

describe.each(bothEngines)('pairs with the $name engine', (engine) => {
  const encoder = () => zstdEncoder({ engine, level: 1, frameBytes });
  const decoder = (maxBytes = 64 * MIB) => zstdDecoder({ engine, maxBytes });

  // The runtime cannot pipe one identity stream into another, so the file is held between the two.
  const encoded = (content: Uint8Array, chunkBytes: number) =>
    bytesOf(streamOf(content, chunkBytes).pipeThrough(encoder()));

  test.each([1, 1000, 65_536, 300_000])('bring content back that comes in chunks of %i', async (chunkBytes) => {
    const content = text(chunkBytes === 1 ? 3_000 : 300_000);
    const file = await encoded(content, chunkBytes);
    const back = streamOf(file, chunkBytes).pipeThrough(decoder());
    expect(firstDifference(await bytesOf(back), content)).toBeNull();
  });

  test('bring nothing back from nothing', async () => {
    const back = streamOf(await encoded(new Uint8Array(0), 1), 1).pipeThrough(decoder());
    expect((await bytesOf(back)).length).toBe(0);
  });

  test('a decoder of known length gives exactly that', async () => {
    const content = text(100_000);
    const file = await encoded(content, 5000);
    const pair = zstdDecoder({ engine, maxBytes: MIB, length: content.length });
    expect((await bytesOf(streamOf(file, 5000).pipeThrough(pair))).length).toBe(content.length);
  });

  const pairs = [
    ['encoder', encoder, noise(4 * MIB)],
    ['decoder', decoder, null],
  ] as const;

  describe.each(pairs)('the %s', (name, make, given) => {
    const input = async () => given ?? (await encoded(noise(4 * MIB), MIB));

    test('waits for a slow reader', async () => {
      const seen = { pulled: 0, cancelled: false };
      const reader = streamOf(await input(), 16 * KIB, seen)
        .pipeThrough(make())
        .getReader();
      await reader.read();
      await scheduler.wait(100);
      const early = seen.pulled;
      await scheduler.wait(100);
      expect(seen.pulled).toBe(early);
      expect(early).toBeLessThan(MIB);
      await reader.cancel();
    });

    test('cancels its source when its reader leaves', async () => {
      const seen = { pulled: 0, cancelled: false };
      const reader = streamOf(await input(), 16 * KIB, seen)
        .pipeThrough(make())
        .getReader();
      await reader.read();
      await reader.cancel('gone');
      await until(() => seen.cancelled);
      expect(seen.pulled).toBeLessThan(2 * MIB);
    });

    test('breaks its output when its source fails, which never looks complete', async () => {
      const bytes = await input();
      let at = 0;
      const failing = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (at > MIB) return controller.error(new Error(`the source of the ${name} failed`));
          controller.enqueue(bytes.slice(at, at + 64 * KIB));
          at += 64 * KIB;
        },
      });
      await expect(bytesOf(failing.pipeThrough(make()))).rejects.toThrow();
    });
  });

  test('a decoder breaks its output at malformed bytes and cancels its source', async () => {
    const seen = { pulled: 0, cancelled: false };
    const back = streamOf(text(4 * MIB), 16 * KIB, seen).pipeThrough(decoder());
    await expect(bytesOf(back)).rejects.toThrow();
    await until(() => seen.cancelled);
  });

  test('a decoder breaks its output over the cap', async () => {
    const back = streamOf(await encoded(text(300_000), 5000), 5000).pipeThrough(decoder(299_999));
    await expect(bytesOf(back)).rejects.toThrow();
  });
});
