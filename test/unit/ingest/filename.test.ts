import { describe, expect, it } from 'vitest';
import {
  checkFilename,
  checkSuffix,
  contentTypeOf,
  InvalidFilename,
  InvalidFileType,
} from '../../../src/ingest/filename.ts';

describe('a filename', () => {
  it.each([
    ['site.tar', 'site.tar'],
    ['/var/backups/site.tar', 'site.tar'],
    ['C:\\backups\\site.tar', 'site.tar'],
    ['a\\b/c.tar', 'c.tar'],
    ['a/b\\c.tar', 'c.tar'],
    ['../../etc/passwd', 'passwd'],
    ['.hidden', '.hidden'],
    ['...', '...'],
    [' spaced .tar ', ' spaced .tar '],
    ['e\u0301te\u0301.tar', 'été.tar'],
    ['雪 🧊.tar', '雪 🧊.tar'],
    ['a"b\'c;d%00.tar', 'a"b\'c;d%00.tar'],
    ['a'.repeat(255), 'a'.repeat(255)],
    ['é'.repeat(127), 'é'.repeat(127)],
    // 381 bytes before NFC, 254 after.
    ['e\u0301'.repeat(127), 'é'.repeat(127)],
    [`${'long/'.repeat(100)}a.tar`, 'a.tar'],
  ])('%j is kept as %j', (raw, name) => {
    expect(checkFilename(raw)).toBe(name);
  });

  it.each([
    [''],
    ['/'],
    ['dir/'],
    ['dir\\'],
    ['.'],
    ['..'],
    ['a/..'],
    ['a\0.tar'],
    ['a\n.tar'],
    ['a\r\nSet-Cookie: x'],
    ['a\u001b[2J.tar'],
    ['a\u007f'],
    ['a\u0080'],
    ['a\u009f'],
    ['a\ud800.tar'],
    ['a\udc00.tar'],
    ['a'.repeat(256)],
    ['é'.repeat(128)],
    ['🧊'.repeat(64)],
  ])('%j is refused', (raw) => {
    expect(() => checkFilename(raw)).toThrow(InvalidFilename);
  });
});

describe('suffixes', () => {
  const allowed = ['.tar', '.tar.gz', '.SQL'];

  it.each([['a.tar'], ['A.TAR'], ['a.tar.gz'], ['a.Tar.Gz'], ['a.sql'], ['a.tar.sql']])('take %j', (name) => {
    expect(() => checkSuffix(name, allowed)).not.toThrow();
  });

  it.each([['a'], ['tar'], ['a.gz'], ['a.tar.exe'], ['a.tarx'], ['a.tar '], ['a.sq']])(
    'refuse %j, and say what would do',
    (name) => {
      expect(() => checkSuffix(name, allowed)).toThrow(InvalidFileType);
      expect(() => checkSuffix(name, allowed)).toThrow(/\.tar, \.tar\.gz, \.SQL/);
    },
  );

  it('accept every name where none is listed', () => {
    expect(() => checkSuffix('Makefile', [])).not.toThrow();
  });
});

describe('the media type', () => {
  it.each([
    ['a.tar', undefined, 'application/x-tar'],
    ['a.TAR', 'text/html', 'application/x-tar'],
    ['a.tar.gz', undefined, 'application/gzip'],
    ['a.tgz', undefined, 'application/gzip'],
    ['a.tar.zst', undefined, 'application/zstd'],
    ['a.json', undefined, 'application/json'],
    ['a.ndjson', undefined, 'application/x-ndjson'],
    ['a.sql', undefined, 'application/sql'],
    ['a.dump', 'text/plain', 'application/octet-stream'],
    ['a.bin', undefined, 'application/octet-stream'],
    ['a.bin', 'image/png', 'image/png'],
    ['a.bin', 'text/plain; charset=utf-8', 'text/plain; charset=utf-8'],
    ['a.bin', 'text/plain; charset="utf-8"', 'text/plain; charset="utf-8"'],
    ['a.bin', 'text', 'application/octet-stream'],
    ['a.bin', 'text/plain\r\nX: y', 'application/octet-stream'],
    ['a.bin', 'text/plain;', 'application/octet-stream'],
    ['a.bin', `text/${'x'.repeat(300)}`, 'application/octet-stream'],
    ['a.bin', '', 'application/octet-stream'],
    ['tar', undefined, 'application/octet-stream'],
    ['a.constructor', undefined, 'application/octet-stream'],
    ['a.__proto__', undefined, 'application/octet-stream'],
  ])('of %j, said to be %j, is %j', (name, given, type) => {
    expect(contentTypeOf(name, given)).toBe(type);
  });
});
