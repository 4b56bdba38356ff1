import { expect, test } from 'vitest';
import { gzipEncode } from '../../../src/codec/gzip.ts';
import { isCompressedAlready } from '../../../src/codec/sniff.ts';
import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { run, text } from './bytes.ts';
import { skippable } from './zstd-files.ts';

const rest = text(40);

const compressed: [string, Uint8Array][] = [
  ['zstd', nativeEngine.compressFrame(rest, 3)],
  ['zstd behind a skippable frame', skippable(rest, 0xe)],
  ['xz', Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0)],
  ['bzip2', utf8('BZh91AY&SY')],
  ['zip', utf8('PK\x03\x04')],
  ['lz4', Uint8Array.of(0x04, 0x22, 0x4d, 0x18)],
  ['7z', Uint8Array.of(0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c)],
  ['rar', utf8('Rar!\x1a\x07\x01')],
  ['lzip', utf8('LZIP')],
  ['PNG', Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)],
  ['JPEG', Uint8Array.of(0xff, 0xd8, 0xff, 0xe0)],
  ['MP4', concat([Uint8Array.of(0, 0, 0, 24), utf8('ftypisom')])],
];

test.each(compressed)('%s is compressed already', (_, first) => {
  expect(isCompressedAlready(concat([first, rest]))).toBe(true);
  expect(isCompressedAlready(first.subarray(0, 2))).toBe(false);
});

test('gzip is compressed already', async () => {
  expect(isCompressedAlready(await run(gzipEncode(), rest))).toBe(true);
});

const plain: [string, Uint8Array][] = [
  ['nothing', new Uint8Array(0)],
  ['text', utf8('BZh is how a sentence may begin, and PK another')],
  ['JSON', utf8('{"a": 1}')],
  ['a tar', concat([utf8('site/index.html'), new Uint8Array(500)])],
  ['zeros', new Uint8Array(64)],
  ['a dump behind the first line of age', utf8('age-encryption.org/v1\nINSERT INTO shop VALUES (1);\n')],
];

test.each(plain)('%s is not', (_, first) => {
  expect(isCompressedAlready(first)).toBe(false);
});
