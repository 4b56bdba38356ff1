import { describe, expect, it } from 'vitest';
import type { MemberType } from '../../../src/archive/member.ts';
import { type MemberToWrite, TAR_END, tarHeader, tarPadding } from '../../../src/archive/tar-write.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { GIB, TAR_PATH_BYTES } from '../../../src/shared/limits.ts';
import { scanned, text } from './tar-samples.ts';

const plain: MemberToWrite = {
  path: utf8('name'),
  type: 'file',
  size: 0,
  mode: 0o644,
  uid: 1000,
  gid: 100,
  mtime: { seconds: 1_700_000_000, nanos: 0 },
  linkTarget: null,
  device: null,
};

const TYPES: readonly MemberType[] = ['file', 'directory', 'symlink', 'hardlink', 'character', 'block', 'fifo'];

async function readBack(members: readonly MemberToWrite[]) {
  const parts = members.flatMap((member) =>
    member.type === 'file'
      ? [tarHeader(member), new Uint8Array(member.size), tarPadding(member.size)]
      : [tarHeader(member)],
  );
  const { members: read, end } = await scanned(concat([...parts, TAR_END]));
  expect(end).toEqual({ kind: 'complete' });
  return read.map(({ headerOffset: _, dataOffset: __, dataBytes: ___, ...member }) => member);
}

/** The size of a header alone, whatever size it tells. */
const blocks = (member: Partial<MemberToWrite>) => tarHeader({ ...plain, ...member }).length / 512;

describe('tarHeader', () => {
  it.each([
    ['a plain file', {}, 1],
    ['a name of 100 bytes', { path: utf8('n'.repeat(100)) }, 1],
    ['a name of 101 bytes', { path: utf8('n'.repeat(101)) }, 3],
    ['a directory of 99 bytes', { type: 'directory', path: utf8('n'.repeat(99)) }, 1],
    ['a directory of 100 bytes, which gets a slash', { type: 'directory', path: utf8('n'.repeat(100)) }, 3],
    ['a name in UTF-8', { path: utf8('grün') }, 3],
    ['a name in Latin 1', { path: Uint8Array.of(0x67, 0xfc) }, 1],
    ['a name with a NUL', { path: Uint8Array.of(0x67, 0x00, 0x68) }, 3],
    ['a link of 100 bytes', { type: 'symlink', linkTarget: utf8('n'.repeat(100)) }, 1],
    ['a link of 101 bytes', { type: 'symlink', linkTarget: utf8('n'.repeat(101)) }, 3],
    ['a size below 8 GiB', { size: 8 * GIB - 1 }, 1],
    ['a size of 8 GiB', { size: 8 * GIB }, 3],
    ['the largest owner', { uid: 0o7777777, gid: 0o7777777 }, 1],
    ['a larger user', { uid: 0o10000000 }, 3],
    ['a larger group', { gid: 0o10000000 }, 3],
    ['a negative user', { uid: -1 }, 3],
    ['the last time of the field', { mtime: { seconds: 8 ** 11 - 1, nanos: 0 } }, 1],
    ['a later time', { mtime: { seconds: 8 ** 11, nanos: 0 } }, 3],
    ['a time before 1970', { mtime: { seconds: -1, nanos: 0 } }, 3],
    ['a fraction of a second', { mtime: { seconds: 1, nanos: 1 } }, 3],
  ] as const)('is as long as needed for %s', (_, member, wanted) => {
    expect(blocks(member)).toBe(wanted);
  });

  it.each([
    [0, 0, '0'],
    [-1, 0, '-1'],
    [-1, 750_000_000, '-0.250000000'],
    [-2, 500_000_000, '-1.500000000'],
    [0, 1, '0.000000001'],
    [-2, 1, '-1.999999999'],
  ])('writes the time of %i s and %i ns as %s', (seconds, nanos, wanted) => {
    const written = text(tarHeader({ ...plain, uid: -1, mtime: { seconds, nanos } }));
    expect(written.includes(`mtime=${wanted}\n`)).toBe(seconds !== 0 || nanos !== 0);
  });

  it.each([99, 100, 101, 990, 991, 992, 5000, TAR_PATH_BYTES - 1, TAR_PATH_BYTES])(
    'counts the length of a record (%i bytes)',
    async (bytes) => {
      const path = utf8('p'.repeat(bytes));
      expect(await readBack([{ ...plain, path }])).toEqual([{ ...plain, path }]);
    },
  );

  it('says which names are no UTF-8 before it says them', () => {
    const path = new Uint8Array(200).fill(0xfc);
    expect(text(tarHeader({ ...plain, path })).indexOf('21 hdrcharset=BINARY\n')).toBe(512);
    expect(text(tarHeader({ ...plain, path: utf8('ü'.repeat(100)) }))).not.toContain('hdrcharset');
  });

  it('writes a sparse member as a file, and no size for what has no data', async () => {
    const { members } = await scanned(
      concat([tarHeader({ ...plain, type: 'sparse', size: 512 }), new Uint8Array(512)]),
    );
    expect(members).toMatchObject([{ type: 'file', size: 512 }]);
    for (const type of TYPES.slice(1)) {
      expect(text(tarHeader({ ...plain, type, size: 9 * GIB }).subarray(124, 135))).toBe('00000000000');
    }
  });

  it('is read back as it was by the scan, whatever the member', async () => {
    const random = randomNumbers(20_241_124);
    const members = Array.from({ length: 500 }, () => randomMember(random));
    expect(await readBack(members)).toEqual(members);
  });
});

describe('tarPadding', () => {
  it.each([
    [0, 0],
    [1, 511],
    [511, 1],
    [512, 0],
    [513, 511],
    [9 * GIB, 0],
  ])('after %i bytes has %i', (size, wanted) => {
    expect(tarPadding(size)).toEqual(new Uint8Array(wanted));
  });
});

type Random = (below: number) => number;

/** Repeatable numbers (a linear congruence; its high bits). */
function randomNumbers(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function pick<T>(random: Random, from: readonly [T, ...T[]]): T {
  return from[random(from.length)] ?? from[0];
}

function randomMember(random: Random): MemberToWrite {
  const type = TYPES[random(TYPES.length)] ?? 'file';
  const isLink = type === 'symlink' || type === 'hardlink';
  const isDevice = type === 'character' || type === 'block';
  return {
    path: randomName(random),
    type,
    size: type === 'file' ? random(2000) : 0,
    mode: random(0o10000),
    uid: pick(random, [0, random(8 ** 7), 2 ** 31 + random(1000), -2]),
    gid: pick(random, [0, random(8 ** 7), 2 ** 40]),
    mtime: {
      seconds: pick(random, [0, random(2 ** 31), -random(2 ** 40), 2 ** 35]),
      nanos: pick(random, [0, random(1e9)]),
    },
    linkTarget: isLink ? randomName(random) : null,
    device: isDevice ? { major: random(1 << 12), minor: pick(random, [random(256), 2 ** 31 - 1]) } : null,
  };
}

/** ASCII, UTF-8 or any bytes but NUL, with slashes within, not at the end. */
function randomName(random: Random): Uint8Array {
  const bytes = 1 + random(pick(random, [20, 100, 110, 300, 1300]));
  const any = Uint8Array.from({ length: bytes }, () => 1 + random(255));
  const ascii = Uint8Array.from({ length: bytes }, () => pick(random, [0x2f, 0x61, 0x2e, 0x0a, 0x5a]));
  const name = pick(random, [any, ascii, utf8('ü𝄞'.repeat(bytes))]);
  name[name.length - 1] = 0x7a;
  return name;
}
