import { describe, expect, it } from 'vitest';
import { GrowingBuffer } from '../../../src/shared/growing-buffer.ts';
import { KIB, MIB } from '../../../src/shared/limits.ts';
import { firstDifference, noise } from '../codec/bytes.ts';

const LIMIT = 4 * MIB;

describe('GrowingBuffer', () => {
  it('holds what was appended, and little more memory than that', () => {
    const content = noise(LIMIT);
    const buffer = new GrowingBuffer(LIMIT);
    expect(buffer.capacity).toBe(0);
    for (let at = 0; at < content.length; at += 50_000) {
      buffer.append(content.subarray(at, at + 50_000));
      expect(buffer.capacity - buffer.length).toBeLessThanOrEqual(Math.min(MIB, Math.max(64 * KIB, buffer.length)));
    }
    expect([buffer.length, buffer.remaining, buffer.capacity]).toEqual([LIMIT, 0, LIMIT]);
    expect(firstDifference(buffer.bytes, content)).toBeNull();
  });

  it('rejects bytes over its limit, and stays as it was', () => {
    const buffer = new GrowingBuffer(100);
    buffer.append(noise(60));
    expect(() => buffer.append(noise(41))).toThrow(RangeError);
    expect([buffer.length, buffer.capacity]).toEqual([60, 100]);
  });

  it('is empty after its content was taken, whose memory is then the caller’s', () => {
    const buffer = new GrowingBuffer(LIMIT);
    buffer.append(noise(MIB));
    const taken = buffer.take();
    expect([buffer.length, buffer.capacity]).toEqual([0, 0]);
    buffer.append(new Uint8Array(MIB));
    expect(firstDifference(taken, noise(MIB))).toBeNull();
  });

  it('frees its memory when it is cleared', () => {
    const buffer = new GrowingBuffer(LIMIT);
    buffer.append(noise(MIB));
    const view = buffer.bytes;
    buffer.clear();
    expect([view.length, buffer.length, buffer.capacity]).toEqual([0, 0, 0]);
  });
});
