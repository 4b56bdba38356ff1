import { describe, expect, it } from 'vitest';
import { decodeMemberPath, encodeMemberPath, pathText, withoutEndSlashes } from '../../../src/http/member-path.ts';
import { utf8 } from '../../../src/shared/bytes.ts';

/** What a server sees of a path that was put into a URL. */
function throughUrl(path: Uint8Array): Uint8Array {
  const { pathname } = new URL(`https://vault.test/files/${encodeMemberPath(path)}`);
  return withoutEndSlashes(decodeMemberPath(pathname.slice('/files/'.length)));
}

describe('a member path in a URL', () => {
  it.each([
    'a',
    'a/b.txt',
    './a',
    '.',
    '..',
    '../../etc/passwd',
    '/etc/passwd',
    'a//b',
    'a/./b',
    'a/../b',
    'a/..',
    'a\\b',
    'a b?c#d%e&f=g+h',
    '100%',
    '%2F',
    '%2e%2e/x',
    'nul\0nul',
    'grüße/日本語/🧊',
    'tab\tnewline\n',
    '-rf',
    '.hidden',
    '...',
    ' ',
    'x'.repeat(4096),
    `${'d/'.repeat(2047)}x`,
  ])('%j comes back as it is', (path) => {
    expect(throughUrl(utf8(path))).toEqual(utf8(path));
  });

  it('comes back as it is, whatever its bytes', () => {
    for (let byte = 0; byte < 256; byte++) {
      for (const path of [[byte], [0x61, byte], [0x2e, byte, 0x2e], [byte, 0x2f, 0x61]]) {
        const bytes = Uint8Array.from(path);
        if (bytes.at(-1) !== 0x2f) expect([...throughUrl(bytes)]).toEqual(path);
      }
    }
  });

  it('keeps slashes where they are safe, so that people can read it', () => {
    expect(encodeMemberPath(utf8('src/lib/a b.ts'))).toBe('src/lib/a%20b.ts');
    expect(encodeMemberPath(utf8('../x'))).toBe('..%2Fx');
  });

  it.each([
    ['a%2Fb', 'a/b'],
    ['a%2fb', 'a/b'],
    ['100%', '100%'],
    ['%zz%4', '%zz%4'],
    ['%252F', '%2F'],
    ['gr%C3%BC%C3%9Fe', 'grüße'],
  ])('%s stands for %s', (encoded, path) => {
    expect(decodeMemberPath(encoded)).toEqual(utf8(path));
  });
});

it.each([
  ['a/', 'a'],
  ['a//', 'a'],
  ['a', 'a'],
  ['/', '/'],
  ['//', '/'],
  ['', ''],
])('slashes at the end: %j is %j', (path, expected) => {
  expect(withoutEndSlashes(utf8(path))).toEqual(utf8(expected));
});

it('shows what is not UTF-8 as such', () => {
  expect(pathText(Uint8Array.of(0x63, 0xe9))).toBe('c\ufffd');
  expect(pathText(utf8('\ufeffgrüße'))).toBe('\ufeffgrüße');
});
