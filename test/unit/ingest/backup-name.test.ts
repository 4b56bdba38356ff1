import { describe, expect, it } from 'vitest';
import { checkName, filenameOf, formFilename, InvalidName } from '../../../src/ingest/backup-name.ts';

const path = (segments: number, segment = 'a') => Array.from({ length: segments }, () => segment).join('/');

describe('a name', () => {
  it.each([
    ['site.tar', 'site.tar'],
    ['web1/etc.tar', 'etc.tar'],
    ['.hidden/..x/...', '...'],
    [' spaced / .tar ', ' .tar '],
    ['雪 🧊/a"b\'c;d%00:*?.tar', 'a"b\'c;d%00:*?.tar'],
    // Right-to-left letters and marks are text, not overrides.
    ['גיבוי/\u200fא.tar', '\u200fא.tar'],
    [path(16), 'a'],
    [`${'a'.repeat(255)}/${'b'.repeat(255)}`, 'b'.repeat(255)],
    [`${'a'.repeat(255)}/${'b'.repeat(254)}/`.slice(0, -1), 'b'.repeat(254)],
    ['é'.repeat(127), 'é'.repeat(127)],
  ])('may be %j', (name, filename) => {
    expect(checkName(name)).toBe(name);
    expect(filenameOf(name)).toBe(filename);
  });

  it('is kept in NFC, by which its bytes count', () => {
    expect(checkName('e\u0301te\u0301/a')).toBe('été/a');
    // 381 bytes before NFC, 254 after.
    expect(checkName('e\u0301'.repeat(127))).toBe('é'.repeat(127));
  });

  it.each([
    [''],
    ['/'],
    ['/a'],
    ['a/'],
    ['a//b'],
    ['.'],
    ['..'],
    ['./a'],
    ['a/..'],
    ['a/../b'],
    ['a/./b'],
    ['a\\b'],
    ['C:\\backups\\site.tar'],
    ['a\0.tar'],
    ['a\n/b'],
    ['a\r\nSet-Cookie: x'],
    ['a\u001b[2J.tar'],
    ['a\u007f'],
    ['a\u0080'],
    ['a\u009f'],
    ...['\u202a', '\u202b', '\u202c', '\u202d', '\u202e', '\u2066', '\u2067', '\u2068', '\u2069'].map((sign) => [
      `a${sign}b`,
    ]),
    ['a\ud800.tar'],
    ['a\udc00.tar'],
    ['a'.repeat(256)],
    ['é'.repeat(128)],
    [path(17)],
    [`${path(3, 'a'.repeat(170))}a`],
  ])('may not be %j', (name) => {
    expect(() => checkName(name)).toThrow(InvalidName);
  });

  it('of a form is the last segment of its filename, of any system', () => {
    const names = [
      'site.tar',
      '/var/site.tar',
      'C:\\backups\\site.tar',
      'a\\b/site.tar',
      'a/b\\site.tar',
      '../site.tar',
    ];
    expect(names.map(formFilename)).toEqual(names.map(() => 'site.tar'));
    expect(['dir/', 'dir\\', '/', ''].map(formFilename)).toEqual(['', '', '', '']);
  });
});
