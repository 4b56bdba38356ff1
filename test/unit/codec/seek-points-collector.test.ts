import { expect, test } from 'vitest';
import { PointsCollector } from '../../../src/codec/seekable/points-collector.ts';
import { MAX_SEEK_POINTS, MIB } from '../../../src/shared/limits.ts';
import { areSeekPoints } from '../../../src/shared/seek-points.ts';

function collectorOf(frames: number, contentOfFrame: number, options = {}): PointsCollector {
  const collector = new PointsCollector(options);
  for (let i = 0; i < frames; i++) {
    const contentOffset = i * contentOfFrame;
    collector.add({ encodedOffset: 20 * i, encodedEnd: null, contentOffset, contentBytes: contentOfFrame });
  }
  return collector;
}

test('frames of 1 MiB or more are a point each', () => {
  for (const contentOfFrame of [MIB, 4 * MIB, 100 * MIB]) {
    const points = collectorOf(50, contentOfFrame).finish(1000, 50 * contentOfFrame);
    expect(points.content).toEqual(Array.from({ length: 50 }, (_, i) => i * contentOfFrame));
    expect(points.encoded).toEqual(Array.from({ length: 50 }, (_, i) => i * 20));
    expect(points).toMatchObject({ encodedBytes: 1000, contentBytes: 50 * contentOfFrame });
  }
});

test('of small frames, one in each 1 MiB becomes a point', () => {
  const collector = collectorOf(10_000, 1000);
  const points = collector.finish(200_000, 10_000_000);
  expect(collector.frames).toBe(10_000);
  expect(points.content).toEqual(Array.from({ length: 10 }, (_, i) => i * 1_049_000).filter((at) => at < 10_000_000));
  expect(points.encoded).toEqual(points.content.map((at) => at / 50));
});

test('a file of one frame, and one of none, have one point', () => {
  expect(collectorOf(1, 5).finish(30, 5)).toEqual({ encoded: [0], content: [0], encodedBytes: 30, contentBytes: 5 });
  expect(collectorOf(0, 0).finish(0, 0)).toEqual({ encoded: [0], content: [0], encodedBytes: 0, contentBytes: 0 });
});

test('the first point is the start of the file, also where something stands before the first frame', () => {
  const collector = new PointsCollector();
  collector.add({ encodedOffset: 50, encodedEnd: null, contentOffset: 0, contentBytes: 10 });
  expect(collector.finish(100, 10)).toMatchObject({ encoded: [0], content: [0] });
});

test('frames that were met and gave nothing are no points', () => {
  const points = collectorOf(3, 2 * MIB).finish(60, 4 * MIB);
  expect(points.content).toEqual([0, 2 * MIB]);
  expect(areSeekPoints(points)).toBe(true);
});

test('more points than may be kept double the distance, again and again', () => {
  for (const frames of [8, 9, 10, 17, 100, 1000, 12_345]) {
    const points = collectorOf(frames, 10, { distanceBytes: 10, maxPoints: 8 }).finish(frames * 20, frames * 10);
    expect(areSeekPoints(points)).toBe(true);
    expect(points.content.length).toBeLessThanOrEqual(8);
    // Never further apart than twice what so many points of one distance need.
    const ends = [...points.content.slice(1), points.contentBytes];
    const furthest = Math.max(...ends.map((end, i) => end - (points.content[i] ?? 0)));
    expect(furthest).toBeLessThanOrEqual(Math.max(10, (4 * frames * 10) / 8));
    // A point is a frame's start.
    for (const [i, at] of points.content.entries()) expect(points.encoded[i]).toBe(at * 2);
  }
});

test('a million frames are held in 65,536 points', () => {
  const points = collectorOf(1_000_000, MIB).finish(20_000_000, 1_000_000 * MIB);
  expect(points.content.length).toBeLessThanOrEqual(MAX_SEEK_POINTS);
  expect(points.content.length).toBeGreaterThan(MAX_SEEK_POINTS / 4);
});
