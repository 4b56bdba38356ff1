import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { isolateMemory } from '../../../src/shared/isolate-memory.ts';
import { MIB } from '../../../src/shared/limits.ts';
import { UploadMemory } from '../../../src/shared/upload-memory.ts';
import { asideObjects } from '../../../src/store/aside-objects.ts';
import { ObjectStore, type OpenUpload } from '../../../src/store/object-store.ts';
import { ObjectWriter } from '../../../src/store/object-writer.ts';
import { type Fault, faultyBucket } from '../../support/faulty-bucket.ts';

const PART = 5 * MIB;

function bytesOf(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 13)) & 255);
}

async function write(key: string, content: Uint8Array, step: number, fault: Fault = { at: Number.POSITIVE_INFINITY }) {
  const { bucket, calls } = faultyBucket(env.VAULT, fault);
  const opened: OpenUpload[] = [];
  const store = new ObjectStore(bucket);
  const memory = new UploadMemory(isolateMemory(), key, asideObjects(store, key));
  const writer = new ObjectWriter(store, memory, key, PART, async (open) => void opened.push(open));
  try {
    for (let at = 0; at < content.length; at += step) await writer.write(content.subarray(at, at + step));
    await writer.close();
  } catch (error) {
    await writer.abort();
    throw error;
  } finally {
    await memory.close();
  }
  return { calls, opened };
}

describe('ObjectWriter', () => {
  it.each([
    [0, 1, 0],
    [1, 1, 0],
    [PART - 1, PART, 0],
    [PART, PART, 0],
    [PART + 1, 700_001, 2],
    [2 * PART, PART * 2, 2],
    [3 * PART + 5, MIB, 4],
  ])('stores %i bytes, written by %i, with %i parts', async (length, step, parts) => {
    const key = `w-${length}`;
    const content = bytesOf(length);
    const { calls, opened } = await write(key, content, step);
    expect(calls.filter((name) => name === 'uploadPart').length).toBe(parts);
    expect(opened.length).toBe(parts > 0 ? 1 : 0);
    const stored = new Uint8Array((await (await env.VAULT.get(key))?.arrayBuffer()) ?? new ArrayBuffer(0));
    expect(stored.length).toBe(length);
    expect(stored.every((byte, i) => byte === content[i])).toBe(true);
  });

  it('carries on through any single failure of the storage, and through a lost answer', async () => {
    const content = bytesOf(2 * PART + 10);
    const { calls } = await write('w-count', content, MIB);
    for (let at = 1; at <= calls.length; at++) {
      for (const answerLost of [false, true]) {
        const key = `w-${at}-${answerLost}`;
        await write(key, content, MIB, { at, answerLost });
        expect((await env.VAULT.head(key))?.size, `call ${at}: ${calls[at - 1]}`).toBe(content.length);
      }
    }
  });

  it('leaves nothing when a part cannot be stored', async () => {
    const failing = write('w-dead', bytesOf(3 * PART), MIB, { at: 2, times: 99, match: /uploadPart/ });
    await expect(failing).rejects.toMatchObject({ code: 'storage-failed' });
    expect(await env.VAULT.head('w-dead')).toBeNull();
  });
});
