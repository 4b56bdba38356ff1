import { describe, expect, it } from 'vitest';
import { parseDuration, parseFlag, parseSize, parseTime } from '../../../src/shared/units.ts';

describe('sizes', () => {
  it.each([
    ['0', 0],
    ['8388608', 8 * 2 ** 20],
    ['512KiB', 512 * 2 ** 10],
    ['64 KiB', 64 * 2 ** 10],
    ['16M', 16 * 2 ** 20],
    ['16m', 16 * 2 ** 20],
    [' 1.5GiB ', 1.5 * 2 ** 30],
    ['2T', 2 * 2 ** 40],
  ])('"%s" is read', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', '-1', 'much', '1e3', '16Q', '16MB', '10 kb', '1.', '.5M', '1  M', '0x10', '99999999999999999'])(
    '"%s" is rejected',
    (text) => {
      expect(parseSize(text)).toBeNull();
    },
  );
});

describe('durations', () => {
  it.each([
    ['0', 0],
    ['90', 90],
    ['90s', 90],
    ['15m', 900],
    ['12h', 43_200],
    ['1.5h', 5400],
    ['6d', 518_400],
    ['4w', 2_419_200],
  ])('"%s" is read', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds);
  });

  it.each(['', 'soon', '-1s', '10 parsecs', '12H', '1y', '1h30m', '1e3'])('"%s" is rejected', (text) => {
    expect(parseDuration(text)).toBeNull();
  });
});

describe('flags', () => {
  it('are true, false, 1 and 0 in lower case, and nothing else', () => {
    expect(['true', '1', 'false', '0'].map(parseFlag)).toEqual([true, true, false, false]);
    for (const text of ['TRUE', 'yes', 'on', '', '2', ' 1']) expect(parseFlag(text)).toBeNull();
  });
});

describe('a time', () => {
  it.each([
    ['2026-11-24', '2026-11-24T00:00:00.000Z'],
    ['2026-11-24T07:30:00Z', '2026-11-24T07:30:00.000Z'],
    ['2026-11-24T07:30:00.123456Z', '2026-11-24T07:30:00.123Z'],
    ['2026-11-24T00:30:00+01:00', '2026-11-23T23:30:00.000Z'],
    ['2024-02-29', '2024-02-29T00:00:00.000Z'],
    ['0001-01-01', '0001-01-01T00:00:00.000Z'],
  ])('%s is %s', (text, time) => {
    expect(new Date(parseTime(text) ?? Number.NaN).toISOString()).toBe(time);
  });

  it.each([
    [''],
    ['now'],
    ['2026'],
    ['2026-11'],
    ['2026-02-30'],
    ['2026-13-01'],
    ['26-11-24'],
    ['2026-11-24T07:30'],
    ['2026-11-24T07:30:00'],
    ['2026-11-24 07:30:00Z'],
    ['2026-11-24T25:00:00Z'],
    ['2026-11-24T07:30:00 01:00'],
    [' 2026-11-24'],
    ['1700000000'],
    ['+012026-11-24'],
  ])('%j is none', (text) => {
    expect(parseTime(text)).toBeNull();
  });
});
