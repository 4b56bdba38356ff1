import { describe, expect, test } from 'vitest';
import { beginsWithAgeHeader } from '../../../src/codec/age-header.ts';
import { isAge, isCompressedAlready, isEnoughToSniff } from '../../../src/codec/sniff.ts';
import { bytesFromBase64, concat, utf8 } from '../../../src/shared/bytes.ts';
import { AGE_HEADER_BYTES } from '../../../src/shared/limits.ts';
import { ageVectors } from '../../vectors/age.ts';
import { testkit } from '../../vectors/age-testkit.ts';

const VERSION = 'age-encryption.org/v1\n';
const STANZA = `-> X25519 oPmC6nZAWi454YJPFYKTFsJ1eh1EFlo0rln+SRorgS4\n${'A'.repeat(43)}\n`;
const MAC = `--- ${'B'.repeat(43)}\n`;
const HEADER = VERSION + STANZA + MAC;

/** What the grammar of the header cannot see: keys of the wrong length, base64 that is not canonical, the payload. */
const PARSES_ALL_THE_SAME = [
  'hmac_not_canonical',
  'scrypt_and_x25519',
  'stanza_not_canonical',
  'stream_no_nonce',
  'stream_short_nonce',
  'x25519_identity',
  'x25519_extra_argument',
  'x25519_long_file_key',
  'x25519_long_share',
  'x25519_low_order',
  'x25519_not_canonical_body',
  'x25519_not_canonical_share',
  'x25519_short_share',
];

describe('an age header', () => {
  test.each(ageVectors.map(({ name, base64 }) => [name, base64] as const))('made by age parses: %s', (_, base64) => {
    expect(beginsWithAgeHeader(bytesFromBase64(base64))).toBe(true);
  });

  const plain = testkit.filter(({ isDeflated }) => !isDeflated);
  test.each(plain.map((vector) => [vector.name, vector] as const))('of the test kit is judged: %s', (name, vector) => {
    const parses = vector.expect !== 'header failure' || PARSES_ALL_THE_SAME.includes(name);
    expect(beginsWithAgeHeader(bytesFromBase64(vector.base64)) ?? false).toBe(parses);
  });

  test('is unknown until its last byte has come, and known from then on', () => {
    const whole = utf8(`${HEADER}payload`);
    for (let bytes = 0; bytes < whole.length; bytes++) {
      expect(beginsWithAgeHeader(whole.subarray(0, bytes)), `${bytes} bytes`).toBe(bytes < HEADER.length ? null : true);
    }
    expect(isEnoughToSniff(whole.subarray(0, 30))).toBe(false);
    expect(isAge(whole.subarray(0, 30))).toBe(false);
    expect(isCompressedAlready(whole)).toBe(true);
  });

  test('in ASCII armor parses as soon as the armored lines hold all of it', () => {
    const lines = btoa(HEADER).match(/.{1,64}/g) ?? [];
    const armored = utf8(`-----BEGIN AGE ENCRYPTED FILE-----\n${lines.join('\n')}\n-----END AGE ENCRYPTED FILE-----\n`);
    expect(beginsWithAgeHeader(armored)).toBe(true);
    expect(beginsWithAgeHeader(armored.subarray(0, 60))).toBe(null);
    expect(beginsWithAgeHeader(utf8('-----BEGIN AGE ENCRYPTED FILE-----\nthis is a plain dump\n'))).toBe(false);
    expect(beginsWithAgeHeader(utf8('-----BEGIN AGE ENCRYPTED FILE-----\nYWdlZ28=\n'))).toBe(false);
    expect(beginsWithAgeHeader(utf8('-----BEGIN AGE MESSAGE-----\n'))).toBe(false);
  });

  test.each([
    ['the first line alone, before a plain dump', `${VERSION}INSERT INTO shop VALUES (1);\n`],
    ['no stanza', VERSION + MAC],
    ['a stanza without arguments', `${VERSION}->\n\n${MAC}`],
    ['a body line of 65 columns', `${VERSION}-> X25519 a\n${'A'.repeat(65)}\n${MAC}`],
    ['a short MAC', `${VERSION}${STANZA}--- AAAA\n`],
    ['a MAC that is followed by a blank', `${VERSION}${STANZA}${MAC.slice(0, -1)} \n`],
    ['line ends of Windows', HEADER.replaceAll('\n', '\r\n')],
    ['another version', HEADER.replace('v1', 'v2')],
    ['text', 'agenda of the meeting\n'],
  ])('is not found in a file with %s', (_, text) => {
    expect(beginsWithAgeHeader(utf8(text))).toBe(false);
  });

  test('that goes on beyond the bound is none', () => {
    const endless = utf8(VERSION + STANZA.repeat(2000));
    expect(beginsWithAgeHeader(endless.subarray(0, AGE_HEADER_BYTES - 1))).toBe(null);
    expect(beginsWithAgeHeader(concat([endless, utf8(MAC)]))).toBe(false);
  });
});
