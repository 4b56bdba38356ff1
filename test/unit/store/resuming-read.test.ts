import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { concat } from '../../../src/shared/bytes.ts';
import type { ByteStream } from '../../../src/shared/streams.ts';
import { ObjectStore } from '../../../src/store/object-store.ts';
import { readResuming } from '../../../src/store/resuming-read.ts';

const content = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7) & 255);

/** A bucket whose streams break after `after` bytes, `times` times in all. */
async function breaking(after: number, times: number) {
  await env.VAULT.put('resumed', content);
  const reads: number[] = [];
  class Breaking extends ObjectStore {
    override async read(_key: string, span = { offset: 0, length: content.length }): Promise<ByteStream> {
      reads.push(span.offset);
      const bytes = content.slice(span.offset, span.offset + span.length);
      const breaks = reads.length <= times;
      let given = false;
      return new ReadableStream({
        pull(controller) {
          if (given) return breaks ? controller.error(new Error('the disk went away')) : controller.close();
          given = true;
          controller.enqueue(breaks ? bytes.slice(0, after) : bytes);
        },
      });
    }
  }
  const store = new Breaking(env.VAULT);
  return { reads, pieces: readResuming(store, 'resumed', content.length, 100, await store.read('resumed')) };
}

async function whole(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece.slice());
  return concat(all);
}

describe('readResuming', () => {
  it.each([1, 99, 100, 101, 250, 4999])('goes on at the next byte when the stream breaks after %i', async (after) => {
    const { reads, pieces } = await breaking(after, 2);
    expect(await whole(pieces)).toEqual(content);
    expect(reads.length).toBeGreaterThan(1);
  });

  it('gives up when it breaks again and again without a byte', async () => {
    const { reads, pieces } = await breaking(0, 100);
    await expect(whole(pieces)).rejects.toMatchObject({ code: 'storage-failed' });
    expect(reads).toEqual([0, 0, 0]);
  });

  it('reads no more when the consumer has left', async () => {
    const { reads, pieces } = await breaking(500, 100);
    for await (const _ of pieces) break;
    expect(reads).toEqual([0]);
  });
});
