import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { gunzip } from '../../../src/codec/gzip.ts';
import { layerReader, readLayers } from '../../../src/codec/seekable/layer-reader.ts';
import { PointsCollector } from '../../../src/codec/seekable/points-collector.ts';
import { seekableEncode } from '../../../src/codec/seekable/seekable-encoder.ts';
import type { ZstdEngine } from '../../../src/codec/zstd/engine.ts';
import { zstdDecode } from '../../../src/codec/zstd/zstd-decode.ts';
import { concat } from '../../../src/shared/bytes.ts';
import { KIB, MIB } from '../../../src/shared/limits.ts';
import {
  type ByteSpan,
  type Layer,
  type ReadSpan,
  type SeekPoints,
  singlePoint,
} from '../../../src/shared/seek-points.ts';
import { bothEngines } from './both-engines.ts';
import { chunked, collect, firstDifference, noise, run, text } from './bytes.ts';
import { skippable, zeros } from './zstd-files.ts';

/** Numbers below `limit`, the same at every run. */
function numbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** A stored object that notes what is read of it. */
function stored(file: Uint8Array, chunkBytes = 64 * KIB) {
  const seen = { reads: [] as ByteSpan[], pulled: 0, open: 0 };
  const read: ReadSpan = async function* (span) {
    seen.reads.push(span);
    seen.open += 1;
    try {
      for await (const chunk of chunked(file.subarray(span.offset, span.offset + span.length), chunkBytes)) {
        seen.pulled += chunk.length;
        yield chunk;
      }
    } finally {
      seen.open -= 1;
    }
  };
  return { seen, read };
}

/** The points of frames that lie one behind the other. */
function pointsOf(frames: readonly Uint8Array[], contents: readonly number[]): SeekPoints {
  const starts = (sizes: readonly number[]) => sizes.map((_, i) => sizes.slice(0, i).reduce((a, b) => a + b, 0));
  const bytes = frames.map((frame) => frame.length);
  const sum = (sizes: readonly number[]) => sizes.reduce((a, b) => a + b, 0);
  return { encoded: starts(bytes), content: starts(contents), encodedBytes: sum(bytes), contentBytes: sum(contents) };
}

function zstdLayer(points: SeekPoints): Layer {
  return { codec: 'zstd', points };
}

async function fault(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => new Error('it was accepted'),
    (reason: unknown) => reason,
  );
}

describe.each(bothEngines)('reading zstd by points with the $name engine', (engine) => {
  const sizes = [5_000, 1, 40_000, 12_345, 3_000];
  const contents = sizes.map((bytes, i) => (i % 2 === 0 ? text(bytes) : noise(bytes, i + 1)));
  const frames = contents.map((content) => engine.compressFrame(content, 1));
  const content = concat(contents);
  const file = concat(frames);
  const points = pointsOf(frames, sizes);

  async function readOf(bytes: Uint8Array, layer: Layer, span: ByteSpan, oneShotBytes?: number) {
    const { read } = stored(bytes);
    return collect(layerReader(read, layer, oneShotBytes === undefined ? { engine } : { engine, oneShotBytes })(span));
  }

  test('a thousand spans of random files are what slice() gives', async () => {
    const random = numbers(5);
    for (let round = 0; round < 20; round++) {
      const parts = Array.from({ length: 1 + random(8) }, (_, i) => {
        const bytes = random(5) === 0 ? 0 : random(20_000);
        return random(2) ? text(bytes) : noise(bytes, i + 1);
      });
      const pieces = parts.map((part) => (part.length === 0 ? skippable(noise(30)) : engine.compressFrame(part, 1)));
      const whole = concat(parts);
      const layer = zstdLayer(
        pointsOf(
          pieces,
          parts.map((part) => part.length),
        ),
      );
      const { read } = stored(concat(pieces), 1 + random(30_000));
      const reader = layerReader(read, layer, random(3) === 0 ? { engine, oneShotBytes: 5_000 } : { engine });
      for (let i = 0; i < 50; i++) {
        const offset = random(whole.length + 1);
        const length = random(whole.length - offset + 1);
        const got = await collect(reader({ offset, length }));
        expect(firstDifference(got, whole.slice(offset, offset + length)), `${round}: ${offset}+${length}`).toBeNull();
      }
    }
  });

  test('every span at the edges of frames is what slice() gives', async () => {
    const edges = [...points.content, points.contentBytes].flatMap((at) => [at - 1, at, at + 1]);
    const inside = edges.filter((at) => at >= 0 && at <= content.length);
    const { read } = stored(file);
    const reader = layerReader(read, zstdLayer(points), { engine });
    for (const from of inside) {
      for (const to of inside.filter((at) => at >= from)) {
        const got = await collect(reader({ offset: from, length: to - from }));
        expect(firstDifference(got, content.slice(from, to)), `${from} to ${to}`).toBeNull();
      }
    }
  });

  test('one read is made, of exactly the frames that hold the span, and those alone are decoded', async () => {
    let decoded = 0;
    const counting: ZstdEngine = {
      ...engine,
      decompressFrame: (frame, bytes) => {
        decoded += 1;
        return engine.decompressFrame(frame, bytes);
      },
    };
    const big = text(18 * MIB);
    let entries = 0;
    const encoded = await run(
      seekableEncode({
        engine,
        level: 1,
        onFrames: (made) => {
          entries = made.length;
        },
      }),
      big,
      4 * MIB,
    );
    expect(entries).toBe(5);
    const collector = new PointsCollector();
    await run(zstdDecode({ engine, maxBytes: 64 * MIB, onFrame: collector.add }), encoded, MIB);
    const layer = zstdLayer(collector.finish(encoded.length, big.length));
    expect(layer.points.content).toEqual([0, 4, 8, 12, 16].map((mib) => mib * MIB));
    const { read, seen } = stored(encoded, MIB);
    const reader = layerReader(read, layer, { engine: counting });
    for (const [offset, of] of [
      [0, 1],
      [3 * MIB, 1],
      [4 * MIB - 1, 2],
      [7 * MIB + 5, 2],
      [17 * MIB, 1],
    ] as const) {
      decoded = 0;
      seen.reads.length = 0;
      const got = await collect(reader({ offset, length: MIB }));
      expect(firstDifference(got, big.subarray(offset, offset + MIB))).toBeNull();
      expect(decoded).toBe(of);
      const first = Math.floor(offset / (4 * MIB));
      const from = layer.points.encoded[first] ?? 0;
      const to = layer.points.encoded[first + of] ?? layer.points.encodedBytes;
      expect(seen.reads).toEqual([{ offset: from, length: to - from }]);
    }
  });

  test('an empty span reads nothing, and one beyond the content is refused before anything is read', async () => {
    const { read, seen } = stored(file);
    const reader = layerReader(read, zstdLayer(points), { engine });
    for (const offset of [0, 7, content.length]) expect(await collect(reader({ offset, length: 0 }))).toHaveLength(0);
    for (const span of [
      { offset: 0, length: content.length + 1 },
      { offset: content.length + 1, length: 0 },
      { offset: -1, length: 2 },
      { offset: 0.5, length: 2 },
      { offset: 2 ** 53, length: 2 },
    ]) {
      expect(() => reader(span)).toThrow(RangeError);
    }
    expect(seen.reads).toEqual([]);
  });

  test('a reader that cancels, or has all it wanted, leaves the source at once', async () => {
    const large = noise(2 * MIB);
    const pieces = [0, 1].map((i) => engine.compressFrame(large.subarray(i * MIB, (i + 1) * MIB), 1));
    const layer = zstdLayer(pointsOf(pieces, [MIB, MIB]));
    const { read, seen } = stored(concat(pieces), 10_000);
    const reader = layerReader(read, layer, { engine });
    for await (const _ of reader({ offset: 0, length: 2 * MIB })) break;
    expect(seen.open).toBe(0);
    expect(seen.pulled).toBeLessThan(MIB + 100_000);
    seen.pulled = 0;
    await collect(reader({ offset: 10, length: MIB }));
    expect(seen.open).toBe(0);
    seen.pulled = 0;
    // In groups of blocks, not even the frame is read to its end.
    await collect(layerReader(read, layer, { engine, oneShotBytes: 1000 })({ offset: 10, length: 10 }));
    expect(seen.open).toBe(0);
    expect(seen.pulled).toBeLessThan(MIB);
  });

  test('a slow reader: nothing is read ahead of it', async () => {
    const { read, seen } = stored(file, 500);
    const pieces = layerReader(read, zstdLayer(points), { engine })({ offset: 0, length: content.length });
    const iterator = pieces[Symbol.asyncIterator]();
    await iterator.next();
    const pulled = seen.pulled;
    await scheduler.wait(20);
    expect(seen.pulled).toBe(pulled);
    expect(pulled).toBeLessThan((frames[0]?.length ?? 0) + 2000);
    await iterator.return?.();
    expect(seen.open).toBe(0);
  });

  test('the error of a source is thrown as it is, wherever it comes', async () => {
    const failure = new Error('the storage is gone');
    for (let at = 0; at < file.length; at += 1000) {
      const read: ReadSpan = async function* (span) {
        yield file.subarray(span.offset, span.offset + Math.min(at, span.length - 1));
        throw failure;
      };
      const reader = layerReader(read, zstdLayer(points), { engine });
      expect(await fault(collect(reader({ offset: 0, length: content.length })))).toBe(failure);
    }
  });

  test('a stored object that is shorter than it was breaks the read, and never looks complete', async () => {
    for (let length = 0; length < file.length; length += 997) {
      const outcome = fault(readOf(file.subarray(0, length), zstdLayer(points), { offset: 0, length: content.length }));
      expect(await outcome).toMatchObject({ code: 'malformed-zstd' });
    }
  });

  describe('points that lie break the read before a wrong byte', () => {
    const moved = (change: Partial<SeekPoints>): Layer => zstdLayer({ ...points, ...change });
    const swap = (list: readonly number[], i: number, by: number) => list.map((at, j) => (i === j ? at + by : at));
    const lies: [string, Layer][] = [];
    for (let i = 1; i < sizes.length; i++) {
      // Content sizes permuted, shifted; bytes shifted.
      for (const by of [-1, 1]) {
        lies.push([`content of point ${i} by ${by}`, moved({ content: swap(points.content, i, by) })]);
        lies.push([`bytes of point ${i} by ${by}`, moved({ encoded: swap(points.encoded, i, by) })]);
      }
    }
    lies.push(['more content at the end', moved({ contentBytes: points.contentBytes + 1 })]);
    lies.push(['less content at the end', moved({ contentBytes: points.contentBytes - 1 })]);
    lies.push(['fewer bytes at the end', moved({ encodedBytes: points.encodedBytes - 1 })]);

    test.each(lies)('%s', async (_, layer) => {
      let broken = 0;
      const ends = [...layer.points.content, layer.points.contentBytes];
      for (let offset = 0; offset < layer.points.contentBytes; offset += 611) {
        for (const length of [1, 700, layer.points.contentBytes - offset]) {
          if (offset + length > layer.points.contentBytes) continue;
          const given: Uint8Array[] = [];
          const { read } = stored(file);
          try {
            for await (const p of layerReader(read, layer, { engine })({ offset, length })) given.push(p.slice());
          } catch (error) {
            expect(error).toMatchObject({ code: 'malformed-zstd' });
            broken += 1;
          }
          const got = concat(given);
          expect(firstDifference(got, content.slice(offset, offset + got.length))).toBeNull();
        }
      }
      expect(broken).toBeGreaterThan(0);
      expect(ends.length).toBe(sizes.length + 1);
    });

    test('sizes of two frames exchanged', async () => {
      const parts = [text(3_000), noise(5_000)];
      const pieces = parts.map((part) => engine.compressFrame(part, 1));
      const lying = zstdLayer({ ...pointsOf(pieces, [5_000, 3_000]) });
      for (const offset of [0, 2_999, 4_000, 5_000, 7_999]) {
        const outcome = await fault(readOf(concat(pieces), lying, { offset, length: 1 }));
        expect(outcome).toMatchObject({ code: 'malformed-zstd' });
      }
    });

    test('frames that tell no size, and hold more or less', async () => {
      for (const by of [-1000, 1000]) {
        const pieces = [zeros(300_000 + by), engine.compressFrame(text(10), 1)];
        const layer = zstdLayer(pointsOf(pieces, [300_000, 10]));
        const outcome = await fault(readOf(concat(pieces), layer, { offset: 0, length: 300_010 }));
        expect(outcome).toMatchObject({ code: 'malformed-zstd' });
      }
    });
  });

  test('a fault of the bytes is told by its place in the file', async () => {
    const broken = file.slice();
    const at = points.encoded[2] ?? 0;
    broken[at] = 0;
    const outcome = await fault(readOf(broken, zstdLayer(points), { offset: 10_000, length: 10 }));
    expect(outcome).toMatchObject({ code: 'malformed-zstd', offset: at });
  });

  test('skippable frames may stand before the first frame and behind the last', async () => {
    const pieces = [skippable(noise(50)), engine.compressFrame(text(1000), 1), skippable(noise(70))];
    const bytes = concat(pieces);
    const layer = zstdLayer(singlePoint(bytes.length, 1000));
    expect(firstDifference(await readOf(bytes, layer, { offset: 0, length: 1000 }), text(1000))).toBeNull();
    expect(
      firstDifference(await readOf(bytes, layer, { offset: 10, length: 10 }), text(1000).slice(10, 20)),
    ).toBeNull();
  });

  test('through zstd and gzip to what was packed twice', async () => {
    const inner = concat([text(300_000), noise(100_000)]);
    const gz = new Uint8Array(gzipSync(inner));
    const outer = await run(seekableEncode({ engine, level: 1, frameBytes: 20_000 }), gz);
    const collector = new PointsCollector({ distanceBytes: 1 });
    await run(zstdDecode({ engine, maxBytes: MIB, onFrame: collector.add }), outer);
    const layers: Layer[] = [
      zstdLayer(collector.finish(outer.length, gz.length)),
      { codec: 'gzip', points: singlePoint(gz.length, inner.length) },
    ];
    const { read, seen } = stored(outer);
    const reader = readLayers(read, layers, { engine });
    for (const [offset, length] of [
      [0, 400_000],
      [0, 1],
      [399_999, 1],
      [250_000, 100_000],
    ] as const) {
      const got = await collect(reader({ offset, length }));
      expect(firstDifference(got, inner.slice(offset, offset + length))).toBeNull();
    }
    expect(seen.reads).toHaveLength(4);
    expect(seen.open).toBe(0);
  });

  test('a fault of the outer layer is told as it is, also within zstd in zstd', async () => {
    const inner = engine.compressFrame(noise(5_000), 1);
    const outer = [inner.subarray(0, 1000), inner.subarray(1000)].map((part) => engine.compressFrame(part, 1));
    const file = concat(outer);
    const at = outer[0]?.length ?? 0;
    file[at] = 0;
    const layers = [
      zstdLayer(pointsOf(outer, [1000, inner.length - 1000])),
      zstdLayer({ ...singlePoint(inner.length, 5_000) }),
    ];
    const outcome = await fault(collect(readLayers(stored(file).read, layers, { engine })({ offset: 0, length: 9 })));
    expect(outcome).toMatchObject({ code: 'malformed-zstd', offset: at });
  });

  test('points gathered from the beginning of a file serve what was seen of it', async () => {
    // Frames that tell no size, in blocks of 128 KiB; 200,000 bytes were decoded when the reading stopped.
    const bytes = concat([zeros(400_000), engine.compressFrame(text(1000), 1)]);
    const layer = zstdLayer(singlePoint(bytes.length, 200_000));
    const got = await readOf(bytes, layer, { offset: 150_000, length: 49_999 });
    expect(firstDifference(got, new Uint8Array(49_999))).toBeNull();
  });

  test('no layers: the bytes as they are stored', async () => {
    const { read } = stored(file);
    const got = await collect(readLayers(read, [], { engine })({ offset: 5, length: 100 }));
    expect(firstDifference(got, file.slice(5, 105))).toBeNull();
  });
});

describe('reading gzip from its start', () => {
  const content = concat([text(200_000), noise(100_000)]);
  const gz = new Uint8Array(gzipSync(content));
  const reader = (bytes: Uint8Array, contentBytes = content.length) => {
    const { read, seen } = stored(bytes, 10_000);
    const layer: Layer = { codec: 'gzip', points: singlePoint(gz.length, contentBytes) };
    return { seen, read: layerReader(read, layer, { engine: bothEngines[0] as ZstdEngine }) };
  };

  test('gives any span, and leaves as soon as it has it', async () => {
    const random = numbers(9);
    for (let i = 0; i < 50; i++) {
      const offset = random(content.length);
      const length = random(content.length - offset + 1);
      const got = await collect(reader(gz).read({ offset, length }));
      expect(firstDifference(got, content.slice(offset, offset + length))).toBeNull();
    }
    const early = reader(gz);
    await collect(early.read({ offset: 10, length: 10 }));
    expect(early.seen).toMatchObject({ open: 0, pulled: 10_000 });
  });

  test('breaks where the content is not as long as it was', async () => {
    for (const wrong of [-1, 1]) {
      const { read } = reader(gz, content.length + wrong);
      const outcome = await fault(collect(read({ offset: 5, length: content.length + wrong - 5 })));
      expect(outcome).toMatchObject({ code: 'malformed-gzip' });
    }
    const cut = reader(gz.subarray(0, 50_000));
    expect(await fault(collect(cut.read({ offset: 0, length: content.length })))).toMatchObject({
      code: 'malformed-gzip',
    });
  });

  test('checks the checksum when the last byte is asked for', async () => {
    const bad = gz.slice();
    bad[gz.length - 6] = (bad[gz.length - 6] ?? 0) ^ 1;
    const last = { offset: content.length - 1, length: 1 };
    expect(await fault(collect(reader(bad).read(last)))).toMatchObject({ code: 'malformed-gzip' });
    expect(firstDifference(await collect(gunzip()(chunked(gz, 1000))), content)).toBeNull();
  });
});
