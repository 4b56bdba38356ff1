import { describe, expect, test } from 'vitest';
import { areSeekPoints, encodedSpan, type SeekPoints, singlePoint } from '../../../src/shared/seek-points.ts';

/** Three groups, and one without content between the second and the third. */
const points: SeekPoints = {
  encoded: [0, 100, 150, 160],
  content: [0, 1000, 3000, 3000],
  encodedBytes: 400,
  contentBytes: 3500,
};

describe('encodedSpan', () => {
  const spans: [string, number, number, number, number, number, number][] = [
    // offset, length → encoded from, to, content from, to
    ['the first byte', 0, 1, 0, 100, 0, 1000],
    ['all of the first group', 0, 1000, 0, 100, 0, 1000],
    ['one byte more', 0, 1001, 0, 150, 0, 3000],
    ['the last byte of the first group', 999, 1, 0, 100, 0, 1000],
    ['the first of the second', 1000, 1, 100, 150, 1000, 3000],
    ['the last of the second', 2999, 1, 100, 150, 1000, 3000],
    ['over the group without content', 2999, 2, 100, 400, 1000, 3500],
    ['behind it', 3000, 1, 160, 400, 3000, 3500],
    ['the last byte', 3499, 1, 160, 400, 3000, 3500],
    ['everything', 0, 3500, 0, 400, 0, 3500],
    ['nothing, at the start', 0, 0, 0, 0, 0, 0],
    ['nothing, within', 1500, 0, 100, 100, 1000, 1000],
    ['nothing, at the end', 3500, 0, 160, 160, 3000, 3000],
  ];
  test.each(spans)('%s', (_, offset, length, from, to, contentFrom, contentTo) => {
    expect(encodedSpan(points, { offset, length })).toMatchObject({
      span: { offset: from, length: to - from },
      contentOffset: contentFrom,
      contentBytes: contentTo - contentFrom,
    });
  });

  test.each([
    [0, 3501],
    [3500, 1],
    [3501, 0],
    [-1, 1],
    [0, -1],
    [0.5, 1],
    [0, 1.5],
    [Number.NaN, 1],
    [0, Number.POSITIVE_INFINITY],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ])('refuses %d + %d', (offset, length) => {
    expect(() => encodedSpan(points, { offset, length })).toThrow(RangeError);
  });

  test('of a single point is always all', () => {
    const single = singlePoint(70, 900);
    expect(encodedSpan(single, { offset: 899, length: 1 })).toMatchObject({
      span: { offset: 0, length: 70 },
      contentOffset: 0,
      contentBytes: 900,
    });
  });

  test('of an empty content is nothing', () => {
    expect(encodedSpan(singlePoint(13, 0), { offset: 0, length: 0 }).span).toEqual({ offset: 0, length: 0 });
    expect(() => encodedSpan(singlePoint(13, 0), { offset: 0, length: 1 })).toThrow(RangeError);
  });

  test('is what a search through all groups gives, for random points and spans', () => {
    for (let round = 0; round < 300; round++) {
      const groups = Array.from({ length: 1 + random(12) }, () => ({
        encoded: 1 + random(50),
        content: random(4) === 0 ? 0 : random(90),
      }));
      const made = pointsOf(groups);
      expect(areSeekPoints(made)).toBe(true);
      for (let i = 0; i < 20; i++) {
        const offset = random(made.contentBytes + 1);
        const length = random(made.contentBytes - offset + 1);
        if (length > 0) expect(encodedSpan(made, { offset, length })).toMatchObject(naive(groups, offset, length));
      }
    }
  });
});

describe('areSeekPoints', () => {
  test('takes what is in order', () => {
    for (const right of [points, singlePoint(0, 0), singlePoint(13, 0), singlePoint(1, 10 ** 12)]) {
      expect(areSeekPoints(right)).toBe(true);
    }
  });

  const wrong: [string, Partial<SeekPoints>][] = [
    ['no points', { encoded: [], content: [] }],
    ['a beginning elsewhere', { encoded: [1, 100, 150, 160] }],
    ['a content that begins elsewhere', { content: [1, 1000, 3000, 3000] }],
    ['lists of two lengths', { content: [0, 1000, 3000] }],
    ['two points at one place', { encoded: [0, 100, 100, 160] }],
    ['points out of order', { encoded: [0, 150, 100, 160] }],
    ['content out of order', { content: [0, 3000, 1000, 3000] }],
    ['a point behind the end', { encodedBytes: 159 }],
    ['content behind the end', { contentBytes: 2999 }],
    ['parts of bytes', { content: [0, 1000.5, 3000, 3000] }],
    ['no number', { encoded: [0, Number.NaN, 150, 160] }],
    ['no end', { encodedBytes: Number.POSITIVE_INFINITY }],
    ['more than a number holds exactly', { contentBytes: 2 ** 53 }],
  ];
  test.each(wrong)('refuses %s', (_, change) => {
    expect(areSeekPoints({ ...points, ...change })).toBe(false);
  });
});

let state = 3;
function random(limit: number): number {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
}

interface Group {
  readonly encoded: number;
  readonly content: number;
}

function pointsOf(groups: readonly Group[]): SeekPoints {
  const encoded: number[] = [];
  const content: number[] = [];
  let at = 0;
  let from = 0;
  for (const group of groups) {
    encoded.push(at);
    content.push(from);
    at += group.encoded;
    from += group.content;
  }
  return { encoded, content, encodedBytes: at, contentBytes: from };
}

/** Byte ranges of the groups that share a byte with the span. */
function naive(groups: readonly Group[], offset: number, length: number) {
  let at = 0;
  let from = 0;
  const touched: { at: number; from: number; group: Group }[] = [];
  for (const group of groups) {
    if (from < offset + length && from + group.content > offset && group.content > 0) touched.push({ at, from, group });
    at += group.encoded;
    from += group.content;
  }
  const first = touched[0];
  const last = touched[touched.length - 1];
  if (!first || !last) throw new Error('every byte lies in a group');
  return {
    span: { offset: first.at, length: last.at + last.group.encoded - first.at },
    contentOffset: first.from,
    contentBytes: last.from + last.group.content - first.from,
  };
}
