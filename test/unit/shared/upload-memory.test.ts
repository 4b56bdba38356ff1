import { describe, expect, it, vi } from 'vitest';
import { concat } from '../../../src/shared/bytes.ts';
import { isolateMemory, RestLedger } from '../../../src/shared/isolate-memory.ts';
import { KIB, MIB, REST_CHECK_MS } from '../../../src/shared/limits.ts';
import { type AsideStorage, UploadMemory } from '../../../src/shared/upload-memory.ts';
import { firstDifference, noise } from '../codec/bytes.ts';

class Aside implements AsideStorage {
  readonly segments = new Map<number, Uint8Array>();
  puts = 0;
  /** What a put waits for, or fails of. */
  onPut: () => Promise<void> = async () => undefined;

  async put(segment: number, bytes: Uint8Array): Promise<void> {
    this.puts += 1;
    await this.onPut();
    this.segments.set(segment, bytes.slice());
  }

  async read(segment: number, bytes: number): Promise<Uint8Array> {
    const found = this.segments.get(segment);
    if (found?.length !== bytes) throw new Error(`segment ${segment} has ${found?.length} bytes`);
    return found.slice();
  }

  async remove(segments: readonly number[]): Promise<void> {
    for (const segment of segments) this.segments.delete(segment);
  }
}

/** The memory of an upload in an isolate that puts everything aside that is worth it. */
function crowded(limitBytes = 0) {
  const memory = { ...isolateMemory(), rest: new RestLedger(() => limitBytes) };
  const aside = new Aside();
  return { memory, aside, upload: new UploadMemory(memory, 'upload', aside) };
}

describe('UploadMemory', () => {
  it('counts what its buffers hold, and nothing once they are taken or closed', async () => {
    const { memory, upload } = crowded(100 * MIB);
    const [frame, part] = [upload.buffer(4 * MIB), upload.buffer(5 * MIB)];
    frame.append(noise(MIB));
    part.append(noise(2 * MIB));
    expect(memory.rest.usedBytes).toBe(3 * MIB);
    expect((await frame.take()).length).toBe(MIB);
    expect(memory.rest.usedBytes).toBe(2 * MIB);
    await upload.close();
    await upload.close();
    expect(memory.rest.usedBytes).toBe(0);
  });

  it('puts unfinished bytes aside as often as it has to, and takes them back in order', async () => {
    const { memory, aside, upload } = crowded();
    const content = noise(900 * KIB);
    const buffer = upload.buffer(MIB);
    for (let at = 0; at < content.length; at += 300 * KIB) {
      buffer.append(content.subarray(at, at + 300 * KIB));
      await vi.waitFor(() => expect(memory.rest.usedBytes).toBe(0));
    }
    buffer.append(noise(10));
    expect([aside.segments.size, buffer.length, buffer.remaining]).toEqual([3, 900 * KIB + 10, 124 * KIB - 10]);
    expect(firstDifference(await buffer.take(), concat([content, noise(10)]))).toBeNull();
    expect([aside.segments.size, buffer.length, memory.rest.usedBytes, memory.turns.used]).toEqual([0, 0, 0, 0]);
    await upload.close();
  });

  it('takes bytes that are still on their way, and those that came meanwhile', async () => {
    const { memory, aside, upload } = crowded();
    const gate = Promise.withResolvers<void>();
    aside.onPut = () => gate.promise;
    const buffer = upload.buffer(MIB);
    buffer.append(noise(300 * KIB));
    await vi.waitFor(() => expect(aside.puts).toBe(1));
    buffer.append(noise(1000));
    const taking = buffer.take();
    gate.resolve();
    expect(firstDifference(await taking, concat([noise(300 * KIB), noise(1000)]))).toBeNull();
    expect([aside.segments.size, memory.rest.usedBytes]).toEqual([0, 0]);
    await upload.close();
  });

  it('keeps in memory what the storage refused, and does not ask it again', async () => {
    const { memory, aside, upload } = crowded();
    aside.onPut = () => Promise.reject(new Error('the storage is away'));
    const buffer = upload.buffer(MIB);
    buffer.append(noise(300 * KIB));
    await scheduler.wait(15 * REST_CHECK_MS);
    expect([aside.puts, memory.rest.usedBytes]).toEqual([1, 512 * KIB]);
    buffer.append(noise(1000));
    expect(firstDifference(await buffer.take(), concat([noise(300 * KIB), noise(1000)]))).toBeNull();
    expect(memory.rest.usedBytes).toBe(0);
    await upload.close();
  });

  it('leaves no segment behind when it is closed, also of a put that is under way', async () => {
    const { memory, aside, upload } = crowded();
    const gate = Promise.withResolvers<void>();
    const [stored, leaving] = [upload.buffer(MIB), upload.buffer(MIB)];
    stored.append(noise(300 * KIB));
    await vi.waitFor(() => expect(aside.segments.size).toBe(1));
    aside.onPut = () => gate.promise;
    leaving.append(noise(300 * KIB));
    await vi.waitFor(() => expect(aside.puts).toBe(2));
    const closing = upload.close();
    gate.resolve();
    await closing;
    expect([aside.segments.size, memory.rest.usedBytes]).toEqual([0, 0]);
  });

  it('lets a sender wait while the isolate is full, until bytes were put aside', async () => {
    const { memory, aside, upload } = crowded();
    const gate = Promise.withResolvers<void>();
    aside.onPut = () => gate.promise;
    const buffer = upload.buffer(20 * MIB);
    expect(upload.room()).toBeUndefined();
    for (let i = 0; i < 10; i++) buffer.append(new Uint8Array(MIB));
    let there = false;
    const room = upload.room()?.then(() => {
      there = true;
    });
    await scheduler.wait(3 * REST_CHECK_MS);
    expect(there).toBe(false);
    gate.resolve();
    await room;
    expect(memory.rest.usedBytes).toBe(0);
    await upload.close();
  });
});
