import { describe, expect, it } from 'vitest';
import { parseRange, type RangeRequest } from '../../../src/http/range.ts';

const whole: RangeRequest = { kind: 'whole' };
const unsatisfiable: RangeRequest = { kind: 'unsatisfiable' };
const part = (offset: number, length: number): RangeRequest => ({ kind: 'part', offset, length });

describe('a Range header', () => {
  it.each<[string | null, number, RangeRequest]>([
    [null, 1000, whole],
    ['bytes=0-499', 1000, part(0, 500)],
    ['bytes=500-999', 1000, part(500, 500)],
    ['bytes=500-', 1000, part(500, 500)],
    ['bytes=-500', 1000, part(500, 500)],
    ['bytes=0-', 1000, part(0, 1000)],
    ['bytes=0-0', 1000, part(0, 1)],
    ['bytes=999-999', 1000, part(999, 1)],
    ['bytes=-1', 1000, part(999, 1)],
    ['bytes=0-1000', 1000, part(0, 1000)],
    ['bytes=999-99999999999999999999999999', 1000, part(999, 1)],
    ['bytes=-1000', 1000, part(0, 1000)],
    ['bytes=-1001', 1000, part(0, 1000)],
    ['Bytes=1-2', 1000, part(1, 2)],
    [' bytes= 1-2 ', 1000, part(1, 2)],
    ['bytes=007-010', 1000, part(7, 4)],
    ['bytes=4294967296-4294967297', 10_737_418_240, part(4_294_967_296, 2)],
    // Past the end.
    ['bytes=1000-', 1000, unsatisfiable],
    ['bytes=1000-1000', 1000, unsatisfiable],
    ['bytes=99999999999999999999999999-', 1000, unsatisfiable],
    ['bytes=-0', 1000, unsatisfiable],
    ['bytes=0-', 0, unsatisfiable],
    ['bytes=0-0', 0, unsatisfiable],
    ['bytes=-0', 0, unsatisfiable],
    ['bytes=-5', 0, whole],
    // Not understood, so ignored.
    ['', 1000, whole],
    ['bytes', 1000, whole],
    ['bytes=', 1000, whole],
    ['bytes=-', 1000, whole],
    ['bytes=5', 1000, whole],
    ['bytes=5-4', 1000, whole],
    ['bytes=1500-1400', 1000, whole],
    ['bytes=--5', 1000, whole],
    ['bytes=+1-2', 1000, whole],
    ['bytes=1.0-2', 1000, whole],
    ['bytes=0x1-2', 1000, whole],
    ['bytes=1e2-', 1000, whole],
    ['bytes=a-b', 1000, whole],
    ['bytes 1-2', 1000, whole],
    ['bytes =1-2', 1000, whole],
    ['bytes=1 -2', 1000, whole],
    ['items=0-5', 1000, whole],
    ['bytes=0-1,5-6', 1000, whole],
    ['bytes=0-1,', 1000, whole],
    ['bytes=٠-١', 1000, whole],
  ])('%j of %i bytes', (header, size, expected) => {
    expect(parseRange(header, size)).toEqual(expected);
  });
});
