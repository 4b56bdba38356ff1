import { describe, expect, it } from 'vitest';
import { CompressionPace, checkPace, pacedCompressor } from '../../../src/codec/cpu-pace.ts';
import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { FRAME_BYTES, GIB, MIB } from '../../../src/shared/limits.ts';
import { sample } from '../../support/vault.ts';

const native = { engine: nativeEngine, limitMs: 300_000 };
const wasm = { engine: { ...nativeEngine, name: 'wasm' as const }, limitMs: 300_000 };

/** What is thrown for a level and a length. */
function refusal(level: number, bytes: number, deps = native) {
  try {
    checkPace({ ...deps, level }, bytes);
  } catch (error) {
    return error;
  }
  return null;
}

/** The levels of all frames of that much content. */
function levelsOf(options: ConstructorParameters<typeof CompressionPace>[0], bytes: number): number[] {
  const pace = new CompressionPace(options);
  return Array.from({ length: bytes / FRAME_BYTES }, () => pace.next(FRAME_BYTES));
}

describe('a known length', () => {
  it.each([
    [3, 10 * GIB],
    [9, 10 * GIB],
    [12, 6 * GIB],
    [19, 0.8 * GIB],
    [22, 0.6 * GIB],
  ])('of what level %d compresses within 300 s is accepted', (level, bytes) => {
    expect(refusal(level, bytes)).toBeNull();
  });

  it.each([
    [19, 2 * GIB, 15],
    [22, 10 * GIB, 9],
    [12, 10 * GIB, 9],
  ])(
    'that level %d needs longer for is level-too-slow, and names the highest level that fits',
    (level, bytes, highest) => {
      const error = refusal(level, bytes);
      expect(error).toMatchObject({ code: 'level-too-slow', facts: { highest_level: highest } });
      expect(String(error)).toContain(`Use level ${highest} or lower, or upload in chunks`);
      expect(refusal(highest, bytes)).toBeNull();
    },
  );

  it('that no level is fast enough for is told to come in chunks', () => {
    expect(String(refusal(1, 80 * GIB))).toContain('Upload in chunks');
  });

  it('is shorter for the slower engine', () => {
    expect([refusal(5, 15 * GIB), refusal(5, 15 * GIB, wasm)]).toEqual([
      null,
      expect.objectContaining({ code: 'level-too-slow' }),
    ]);
  });
});

describe('the pace of an unknown length', () => {
  it('takes the level that was asked for while there is time, then a fast one to the end', () => {
    const levels = levelsOf({ ...native, level: 19, mostBytes: 10 * GIB }, 10 * GIB);
    const asked = levels.filter((level) => level === 19).length * FRAME_BYTES;
    expect(asked).toBeGreaterThan(500 * MIB);
    expect(levels).toEqual(levels.toSorted((a, b) => b - a));
    expect(levels.at(-1)).toBe(3);
  });

  it('keeps the level where all that may come has the time for it', () => {
    expect(new Set(levelsOf({ ...native, level: 9, mostBytes: 10 * GIB }, 10 * GIB))).toEqual(new Set([9]));
    expect(new Set(levelsOf({ ...native, level: 1, mostBytes: 90 * GIB }, 8 * GIB))).toEqual(new Set([1]));
  });

  it('slows down no frame of content that is more than was announced', () => {
    const pace = new CompressionPace({ ...native, limitMs: 100, level: 9, mostBytes: FRAME_BYTES });
    expect([pace.next(FRAME_BYTES), pace.next(FRAME_BYTES), pace.next(FRAME_BYTES)]).toEqual([9, 3, 3]);
    expect(pace.lowest).toBe(3);
  });

  it('makes frames of several levels that decode to the content', async () => {
    const levels = [9, 3, 9];
    const compressor = pacedCompressor(nativeEngine, () => levels.shift() ?? 1);
    const content = sample(300_000);
    for (let frame = 0; frame < 4; frame++) {
      const made = await compressor.compress(content);
      const decoded = nativeEngine.decompressFrame(new Uint8Array(made), content.length);
      expect(new Uint8Array(decoded)).toEqual(content);
    }
    compressor.close();
  });
});
