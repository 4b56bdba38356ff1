import { describe, expect, it } from 'vitest';
import { evaluateConditions } from '../../../src/http/conditional.ts';

const etag = '"abc"';
const lastModified = new Date('2026-11-23T07:30:00.750Z');
const same = 'Mon, 23 Nov 2026 07:30:00 GMT';
const earlier = 'Mon, 23 Nov 2026 07:29:59 GMT';
const later = 'Mon, 23 Nov 2026 07:30:01 GMT';

function verdict(headers: Record<string, string>, method = 'GET', tag = etag): string {
  const found = evaluateConditions({ method, headers: new Headers(headers), etag: tag, lastModified });
  return found.kind === 'proceed' ? `proceed${found.useRange ? ' with range' : ''}` : found.kind;
}

const GO = 'proceed with range';

describe('If-Match', () => {
  it.each([
    ['*', GO],
    [' * ', GO],
    ['"abc"', GO],
    ['"x", "abc"', GO],
    ['"x","abc" , "y"', GO],
    [', ,"abc",', GO],
    ['"x"', 'failed'],
    ['W/"abc"', 'failed'],
    ['abc', 'failed'],
    ['"abc', 'failed'],
    ['"x" "abc"', 'failed'],
    ['"x, "abc"', 'failed'],
    ['', 'failed'],
    ['"*"', 'failed'],
    ['"ABC"', 'failed'],
  ])('%j: %s', (value, expected) => {
    expect(verdict({ 'if-match': value })).toBe(expected);
  });

  it('compares strongly: a weak tag of ours matches nothing', () => {
    expect(verdict({ 'if-match': 'W/"abc"' }, 'GET', 'W/"abc"')).toBe('failed');
  });

  it('finds a tag that has a comma in it', () => {
    expect(verdict({ 'if-match': '"x", "a,b"' }, 'GET', '"a,b"')).toBe(GO);
    expect(verdict({ 'if-match': '"a,b"' }, 'GET', '"b"')).toBe('failed');
  });
});

describe('If-None-Match', () => {
  it.each([
    ['*', 'not-modified'],
    ['"abc"', 'not-modified'],
    ['W/"abc"', 'not-modified'],
    ['"x", W/"abc"', 'not-modified'],
    ['"x"', GO],
    ['abc', GO],
    ['', GO],
  ])('%j: %s', (value, expected) => {
    expect(verdict({ 'if-none-match': value })).toBe(expected);
  });

  it('is a failure for methods that change something', () => {
    for (const method of ['PUT', 'DELETE', 'POST']) {
      expect(verdict({ 'if-none-match': '*' }, method)).toBe('failed');
      expect(verdict({ 'if-none-match': '"x"' }, method)).toBe('proceed');
    }
    expect(verdict({ 'if-none-match': '*' }, 'HEAD')).toBe('not-modified');
  });
});

describe('dates', () => {
  it.each([
    ['if-unmodified-since', same, GO],
    ['if-unmodified-since', later, GO],
    ['if-unmodified-since', earlier, 'failed'],
    ['if-modified-since', same, 'not-modified'],
    ['if-modified-since', later, 'not-modified'],
    ['if-modified-since', earlier, GO],
    // The other two forms of section 5.6.7.
    ['if-modified-since', 'Monday, 23-Nov-26 07:30:00 GMT', 'not-modified'],
    ['if-modified-since', 'Monday, 23-Nov-26 07:29:59 GMT', GO],
    ['if-modified-since', 'Mon Nov 23 07:30:00 2026', 'not-modified'],
    ['if-modified-since', 'Mon Nov 23 07:29:59 2026', GO],
    ['if-modified-since', 'Sun Dec  6 07:30:00 2026', 'not-modified'],
  ])('%s: %s: %s', (name, value, expected) => {
    expect(verdict({ [name]: value })).toBe(expected);
  });

  it.each([
    ['2026-11-23T07:30:00Z'],
    ['1795419000'],
    ['Mon, 23 Nov 2026 07:30:00 +0100'],
    ['tomorrow'],
    [''],
    ['Mon, 23 Foo 2026 07:30:00 GMT'],
  ])('%j is none, and ignored', (value) => {
    expect(verdict({ 'if-modified-since': value })).toBe(GO);
    expect(verdict({ 'if-unmodified-since': value })).toBe(GO);
  });

  it('of modification count for GET and HEAD only', () => {
    expect(verdict({ 'if-modified-since': same }, 'HEAD')).toBe('not-modified');
    expect(verdict({ 'if-modified-since': same }, 'DELETE')).toBe('proceed');
  });
});

describe('several preconditions', () => {
  it.each([
    ['If-Match goes before If-Unmodified-Since', { 'if-match': etag, 'if-unmodified-since': earlier }, GO],
    ['If-Match that fails is the end', { 'if-match': '"x"', 'if-none-match': etag }, 'failed'],
    ['If-Match that holds leaves the rest to be asked', { 'if-match': etag, 'if-none-match': etag }, 'not-modified'],
    [
      'If-Unmodified-Since is asked before If-None-Match',
      { 'if-unmodified-since': earlier, 'if-none-match': etag },
      'failed',
    ],
    ['If-None-Match goes before If-Modified-Since', { 'if-none-match': '"x"', 'if-modified-since': later }, GO],
    ['a range does not hide a 304', { 'if-none-match': etag, 'if-range': etag, range: 'bytes=0-1' }, 'not-modified'],
  ])('%s', (_, headers, expected) => {
    expect(verdict(headers as Record<string, string>)).toBe(expected);
  });
});

describe('If-Range', () => {
  it.each([
    [etag, GO],
    [same, GO],
    ['"x"', 'proceed'],
    ['W/"abc"', 'proceed'],
    ['"abc", "x"', 'proceed'],
    ['*', 'proceed'],
    [earlier, 'proceed'],
    [later, 'proceed'],
    ['nonsense', 'proceed'],
    ['', 'proceed'],
  ])('%j: %s', (value, expected) => {
    expect(verdict({ 'if-range': value, range: 'bytes=0-1' })).toBe(expected);
  });

  it('by date tells nothing where several representations share the date', () => {
    const request = (value: string) => ({
      method: 'GET',
      headers: new Headers({ 'if-range': value }),
      etag,
      lastModified,
      sharedDate: true,
    });
    expect(evaluateConditions(request(same))).toEqual({ kind: 'proceed', useRange: false });
    expect(evaluateConditions(request(etag))).toEqual({ kind: 'proceed', useRange: true });
  });

  it('is for GET: HEAD has no ranges', () => {
    expect(verdict({ range: 'bytes=0-1' }, 'HEAD')).toBe('proceed');
    expect(verdict({ range: 'bytes=0-1' })).toBe(GO);
  });
});
