import { describe, expect, test } from 'vitest';
import { checkLevel, LevelUnsupported } from '../../../src/codec/levels.ts';
import { parseFrameHeader } from '../../../src/codec/zstd/frame-header.ts';
import { MalformedZstd } from '../../../src/codec/zstd/malformed-zstd.ts';
import { nativeEngine, nativeEnginePasses, streamCompressor } from '../../../src/codec/zstd/native-engine.ts';
import { selectEngine } from '../../../src/codec/zstd/select-engine.ts';
import { FRAME_BYTES } from '../../../src/shared/limits.ts';
import { bothEngines } from './both-engines.ts';
import { firstDifference, noise, text } from './bytes.ts';

const automatic = selectEngine('auto');

test('the native engine passes its check here, and is what auto selects', () => {
  expect(nativeEnginePasses()).toBe(true);
  expect(automatic).toBe(nativeEngine);
  expect(selectEngine('native')).toBe(nativeEngine);
});

describe.each(bothEngines)('the $name engine', (engine) => {
  const sizes = [0, 1, 255, 256, 257, 65_791, 65_792, 128 * 1024, 128 * 1024 + 1, 1_000_000, FRAME_BYTES];
  test.each(sizes)('brings %i bytes back, with their number in the header', (bytes) => {
    for (const content of [noise(bytes), text(bytes), new Uint8Array(bytes)]) {
      const frame = engine.compressFrame(content, 3);
      const header = parseFrameHeader(frame);
      expect(header.kind === 'frame' && header.frame.contentBytes).toBe(bytes);
      expect(header.kind === 'frame' && header.frame.hasChecksum).toBe(engine.writesChecksum);
      expect(firstDifference(engine.decompressFrame(frame, bytes), content)).toBeNull();
    }
  });

  const levels = Array.from({ length: engine.highestLevel }, (_, i) => i + 1);
  test.each(levels)('holds frames of the largest size at level %i', (level) => {
    const content = level > 12 ? text(512 * 1024) : noise(FRAME_BYTES);
    const softer = text(level > 12 ? 300_000 : FRAME_BYTES);
    for (const input of level > 12 ? [content, softer] : [content, softer, content, softer]) {
      const frame = engine.compressFrame(input, level);
      expect(firstDifference(engine.decompressFrame(frame, input.length), input)).toBeNull();
    }
  });

  test('gives memory of its own', () => {
    const first = engine.compressFrame(text(10_000), 1);
    const kept = first.slice();
    const content = engine.decompressFrame(first, 10_000);
    engine.compressFrame(noise(10_000), 1);
    engine.decompressFrame(engine.compressFrame(noise(20_000), 1), 20_000);
    expect(firstDifference(first, kept)).toBeNull();
    expect(firstDifference(content, text(10_000))).toBeNull();
  });

  test('makes the same frame of the same content, whatever levels came before', () => {
    const content = text(300_000);
    const frames = [1, 3, engine.highestLevel].map((level) => engine.compressFrame(content, level).slice());
    const again = [engine.highestLevel, 3, 1].map((level) => engine.compressFrame(content, level)).reverse();
    for (const [i, frame] of frames.entries()) expect(firstDifference(frame, again[i] ?? new Uint8Array())).toBeNull();
  });

  test('does not touch its input', () => {
    const content = text(50_000);
    const frame = engine.compressFrame(content, 2);
    const kept = frame.slice();
    engine.decompressFrame(frame, content.length);
    expect(firstDifference(content, text(50_000))).toBeNull();
    expect(firstDifference(frame, kept)).toBeNull();
  });

  test('refuses a frame that holds more or less than the caller was told', () => {
    const frame = engine.compressFrame(text(10_000), 3);
    for (const wrong of [0, 9_999, 10_001]) {
      expect(() => engine.decompressFrame(frame, wrong)).toThrow(MalformedZstd);
    }
  });

  test('refuses the levels that it does not have', () => {
    checkLevel(1, engine);
    checkLevel(engine.highestLevel, engine);
    for (const level of [0, -1, 1.5, Number.NaN, engine.highestLevel + 1]) {
      expect(() => checkLevel(level, engine)).toThrow(LevelUnsupported);
    }
  });
});

test('a compressor on the public interface of node:zlib makes the frames of the shared context', async () => {
  for (const level of [3, 12]) {
    const compressor = streamCompressor(level);
    try {
      for (const content of [text(400_000), noise(100_000)]) {
        const frame = await compressor.compress(content);
        expect(firstDifference(frame, nativeEngine.compressFrame(content, level))).toBeNull();
      }
    } finally {
      compressor.close();
    }
  }
});
