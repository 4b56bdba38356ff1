import { describe, expect, it } from 'vitest';
import { scanTar } from '../../../src/archive/tar-scan.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { GIB, MIB, TAR_EXTENDED_BYTES, TAR_LINK_BYTES, TAR_PATH_BYTES } from '../../../src/shared/limits.ts';
import {
  END,
  GNU,
  inPieces,
  octal,
  paxMember,
  paxRecord,
  rawHeader,
  rawMember,
  scanned,
  text,
  USTAR,
  withChecksum,
} from './tar-samples.ts';

const file = (name: string, content = 'content') => rawMember({ name }, content);
const zeros = (blocks: number) => new Uint8Array(512 * blocks);
const junk = new Uint8Array(700).fill(0x6a);

const names = async (...parts: Uint8Array[]) => {
  const { members, end } = await scanned(concat(parts));
  return [...members.map(({ path }) => text(path)), end.kind];
};

const reason = async (...parts: Uint8Array[]) => {
  const { end } = await scanned(concat(parts));
  return end.kind === 'stopped' ? `${end.stopped.offset}: ${end.stopped.reason}` : end.kind;
};

const only = async (...parts: Uint8Array[]) => {
  const { members, end } = await scanned(concat([...parts, END]));
  expect(end).toEqual({ kind: 'complete' });
  const [member] = members;
  if (!member || members.length !== 1) throw new Error(`${members.length} members`);
  return member;
};

describe('the end of an archive', () => {
  it.each([
    ['no bytes', [], ['not-an-archive']],
    ['less than a block', [file('a').subarray(0, 511)], ['not-an-archive']],
    ['less than a block of zeros', [zeros(1).subarray(1)], ['not-an-archive']],
    ['text', [junk], ['not-an-archive']],
    ['one block of zeros', [zeros(1)], ['complete']],
    ['an empty archive', [END], ['complete']],
    ['zeros and a part of a block of zeros', [zeros(20), new Uint8Array(7)], ['complete']],
    ['zeros, then something else', [zeros(4), junk], ['not-an-archive']],
    ['zeros, then an archive', [zeros(4), file('a'), END], ['a', 'complete']],
    ['an end marker', [file('a'), END], ['a', 'complete']],
    ['no end marker', [file('a'), file('b')], ['a', 'b', 'complete']],
    ['half an end marker', [file('a'), zeros(1)], ['a', 'complete']],
    ['a cut end marker', [file('a'), new Uint8Array(100)], ['a', 'complete']],
    ['a lone block of zeros', [file('a'), zeros(1), file('b'), END], ['a', 'b', 'complete']],
    ['a lone block of zeros, then junk', [file('a'), zeros(1), junk], ['a', 'stopped']],
    ['a second archive', [file('a'), END, file('b'), END], ['a', 'b', 'complete']],
    ['a second archive after much padding', [file('a'), zeros(40), file('b')], ['a', 'b', 'complete']],
    ['junk after the end', [file('a'), END, junk], ['a', 'complete']],
    ['a little junk after the end', [file('a'), END, junk.subarray(0, 9)], ['a', 'complete']],
    ['data without padding', [file('a'), file('b', 'x').subarray(0, 513)], ['a', 'b', 'complete']],
    ['only a global header', [paxMember([['comment', 'empty']], 'g')], ['complete']],
    ['a global header and an end marker', [paxMember([['comment', 'empty']], 'g'), END], ['complete']],
  ] as const)('%s', async (_, parts, wanted) => {
    expect(await names(...parts)).toEqual(wanted);
  });

  it.each([
    ['inside of a header', [file('a'), file('b').subarray(0, 300)], '1024: the archive ends within a header'],
    ['inside of the data', [file('a'), file('b').subarray(0, 515)], "1024: the archive ends within the member's data"],
    ['before the data', [file('a'), file('b').subarray(0, 512)], "1024: the archive ends within the member's data"],
    ['at a header that is none', [file('a'), junk], "1024: the header's checksum is wrong"],
    ['after an extended header', [file('a'), paxMember([['path', 'b']])], '1024: no member follows an extended header'],
    [
      'inside of an extended header',
      [file('a'), paxMember([['path', 'b']]).subarray(0, 600)],
      '1024: the archive ends within an extended header',
    ],
    [
      'at zeros after an extended header',
      [file('a'), rawMember({ typeflag: 'L' }, 'long'), END],
      '1024: no member follows an extended header',
    ],
    [
      'at a broken header after an extended header',
      [file('a'), rawMember({ typeflag: 'L' }, 'long'), junk],
      "1024: the header's checksum is wrong",
    ],
  ] as const)('is told when it comes %s', async (_, parts, wanted) => {
    expect(await reason(...parts)).toBe(wanted);
  });

  it('does not carry what a global header says into the next archive', async () => {
    const { members } = await scanned(
      concat([paxMember([['uid', '7']], 'g'), file('a'), file('b'), END, file('c'), END]),
    );
    expect(members.map(({ uid }) => uid)).toEqual([7, 7, 0]);
  });
});

describe('the source of a scan', () => {
  async function* counted(pieces: readonly Uint8Array[], seen: { pulled: number; left: boolean }) {
    try {
      for (const piece of pieces) {
        seen.pulled += 1;
        yield piece;
      }
    } finally {
      seen.left = true;
    }
  }

  it('is left at once where it is no archive', async () => {
    const seen = { pulled: 0, left: false };
    expect(await scanTar(counted([junk, junk, junk], seen), () => undefined)).toEqual({ kind: 'not-an-archive' });
    expect(seen).toEqual({ pulled: 1, left: true });
  });

  it('is left where reading stops and where the taker throws, whose error passes through', async () => {
    const stops = { pulled: 0, left: false };
    await scanTar(counted([file('a'), junk, file('b')], stops), () => undefined);
    expect(stops).toEqual({ pulled: 2, left: true });

    const throws = { pulled: 0, left: false };
    const thrown = new Error('the taker failed');
    const scan = scanTar(counted([file('a'), file('b')], throws), () => {
      throw thrown;
    });
    await expect(scan).rejects.toBe(thrown);
    expect(throws).toEqual({ pulled: 1, left: true });
    await expect(scanTar(inPieces(file('a'), 100), () => Promise.reject(thrown))).rejects.toBe(thrown);
  });

  it('may fail anywhere, and its error passes through', async () => {
    const archive = concat([file('a'), paxMember([['path', 'b']]), file('x'), END]);
    for (let fails = 0; fails < archive.length; fails += 100) {
      const thrown = new Error('the source failed');
      const source = async function* () {
        yield archive.subarray(0, fails);
        throw thrown;
      };
      await expect(scanTar(source(), () => undefined)).rejects.toBe(thrown);
    }
  });

  it('is not read on while the taker is busy', async () => {
    const seen = { pulled: 0, left: false };
    const at: number[] = [];
    await scanTar(counted([file('a'), file('b'), file('c')], seen), async () => {
      await scheduler.wait(1);
      at.push(seen.pulled);
    });
    expect(at).toEqual([1, 2, 3]);
  });

  it('is stepped over without a copy: a file of 9 GiB in its pieces of 4 MiB', async () => {
    const bytes = 9 * GIB;
    const piece = new Uint8Array(4 * MIB);
    const source = async function* () {
      yield concat([paxMember([['size', String(bytes)]]), rawHeader({ name: 'large', size: octal(0) })]);
      for (let left = bytes; left > 0; left -= piece.length) yield piece;
      yield concat([file('after'), END]);
    };
    const members: [string, number, number][] = [];
    const end = await scanTar(source(), ({ path, size, dataOffset }) => {
      members.push([text(path), size, dataOffset]);
    });
    expect(end).toEqual({ kind: 'complete' });
    expect(members).toEqual([
      ['large', bytes, 1536],
      ['after', 7, 1536 + bytes + 512],
    ]);
  }, 5_000);
});

describe('the fields of a header', () => {
  it.each([
    ['00000000017', 15],
    ['       17\0', 15],
    ['17 \0', 15],
    ['\x0017', 15],
    ['\x00 17', 15],
    ['\0\x0017', 0],
    ['1\x0077', 1],
    ['1 77', 1],
    ['', 0],
    ['            ', 0],
    ['77777777777', 8 * GIB - 1],
    ['777777777777', 64 * GIB - 1],
  ])('a number "%s" is %i', async (mtime, wanted) => {
    const { mtime: got } = await only(rawHeader({ name: 'a', fields: { 136: mtime } }));
    expect(got).toEqual({ seconds: wanted, nanos: 0 });
  });

  it.each([
    ['a positive one', [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1], 2 ** 33 + 1],
    ['a negative one', [0xff, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 254], -2],
    ['one that no double holds', [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 0],
    ['digits that are none', [0x39, 0x39], 0],
  ])('a time in base 256: %s', async (_, bytes, wanted) => {
    expect((await only(rawHeader({ name: 'a', fields: { 136: Uint8Array.from(bytes) } }))).mtime.seconds).toBe(wanted);
  });

  it('reads mode, owners and devices', async () => {
    const fields = { 100: '0104755\0', 108: '0001750', 116: Uint8Array.of(0x80, 0, 0, 0, 1, 0, 0, 0), 329: '0000010 ' };
    const member = await only(rawHeader({ name: 'a', typeflag: '4', fields: { ...fields, 337: '21' } }));
    expect(member).toMatchObject({ mode: 0o4755, uid: 1000, gid: 2 ** 24, device: { major: 8, minor: 17 } });
  });

  it.each([
    ['a prefix of ustar', { name: 'name', magic: USTAR, fields: { 345: 'pre/fix' } }, 'pre/fix/name'],
    ['no prefix of GNU', { name: 'name', magic: GNU, fields: { 345: '14530115573' } }, 'name'],
    ['no prefix of v7', { name: 'name', magic: '', fields: { 345: 'prefix' } }, 'name'],
    ['a name that fills its field', { name: 'n'.repeat(100), link: 'link' }, 'n'.repeat(100)],
    ['slashes at the end', { name: 'a//', typeflag: '5' }, 'a'],
    ['nothing but slashes', { name: '///', typeflag: '5' }, '/'],
    ['dots and slashes', { name: '/a/../.././/b' }, '/a/../.././/b'],
    ['no name, which GNU tar reads as "."', { name: '' }, '.'],
  ])('paths: %s', async (_, header, wanted) => {
    expect(text((await only(rawHeader(header))).path)).toBe(wanted);
  });

  it.each([
    ['0', 'file'],
    ['\0', 'file'],
    ['7', 'file'],
    ['1', 'hardlink'],
    ['2', 'symlink'],
    ['3', 'character'],
    ['4', 'block'],
    ['5', 'directory'],
    ['6', 'fifo'],
    ['D', 'directory'],
    ['Z', 'file'],
  ])('the typeflag %j is of a %s', async (typeflag, type) => {
    expect((await only(rawHeader({ name: 'a', typeflag }))).type).toBe(type);
  });

  it('takes a name with a slash at its end for a directory, as old archives write it', async () => {
    expect(await only(rawHeader({ name: 'a/', magic: '' }))).toMatchObject({ type: 'directory', path: utf8('a') });
  });

  it('takes sums of signed bytes', async () => {
    const name = { fields: { 0: Uint8Array.of(0xff, 0xc3, 0xa4) } };
    expect((await only(rawHeader({ ...name, signed: true }))).path).toEqual(Uint8Array.of(0xff, 0xc3, 0xa4));
    expect((await only(rawHeader(name))).path).toEqual(Uint8Array.of(0xff, 0xc3, 0xa4));
  });

  it.each([
    ['is no number', { size: '1x' }],
    ['is negative', { fields: { 124: new Uint8Array(12).fill(0xff) } }],
    [
      'is more than a number holds',
      { fields: { 124: Uint8Array.of(0x80, 0, 0, 0, 0xff, 255, 255, 255, 255, 255, 255, 255) } },
    ],
  ])('stops at a size that %s', async (_, header) => {
    expect(await reason(file('a'), rawHeader({ name: 'b', ...header }))).toBe(
      "1024: the member's size is no number that can be",
    );
  });

  it('reads a broken checksum as no header, whichever byte is changed', async () => {
    for (let at = 0; at < 512; at++) {
      const header = rawHeader({ name: 'name', size: octal(0) });
      header[at] = (header[at] ?? 0) ^ 0x01;
      const inChecksum = at >= 148 && at < 156;
      if (!inChecksum) expect(await names(header), `byte ${at}`).toEqual(['not-an-archive']);
      expect(await names(withChecksum(header)), `byte ${at}`).not.toEqual(['not-an-archive']);
    }
  });
});

describe('data of what is no file', () => {
  const data = 'x'.repeat(600);

  it.each(['2', '3', '4', '6'])('there is none with typeflag %s, whatever the size says', async (typeflag) => {
    expect(await names(rawHeader({ name: 'a', typeflag, size: octal(600) }), file('b'))).toEqual([
      'a',
      'b',
      'complete',
    ]);
  });

  it.each([
    ['a hard link of ustar without data', rawHeader({ name: 'a', typeflag: '1', size: octal(600) }), 0],
    ['a hard link of ustar with data', rawMember({ name: 'a', typeflag: '1' }, data), 600],
    ['a hard link of GNU', rawHeader({ name: 'a', typeflag: '1', size: octal(600), magic: GNU }), 0],
    ['a hard link of pax', concat([paxMember([['uid', '1']]), rawMember({ name: 'a', typeflag: '1' }, data)]), 600],
    ['a directory without data', rawHeader({ name: 'a', typeflag: '5', size: octal(600) }), 0],
    ['a directory with data', rawMember({ name: 'a', typeflag: '5' }, data), 0],
    ["GNU's directory with what was in it", rawMember({ name: 'a', typeflag: 'D' }, data), 0],
  ])('%s', async (_, member, wanted) => {
    for (const after of [[file('b'), END], [file('b')], [END, file('b')]]) {
      const { members, end } = await scanned(concat([member, ...after]));
      expect(end.kind).toBe('complete');
      expect(members.map(({ path, dataBytes }) => [text(path), dataBytes])).toEqual([
        ['a', wanted],
        ['b', 7],
      ]);
    }
  });

  it.each(['V', 'M', 'N'])('steps over what GNU tar keeps for itself (%s)', async (typeflag) => {
    expect(await names(file('a'), rawMember({ name: 'v', typeflag }, data), file('b'))).toEqual(['a', 'b', 'complete']);
  });
});

describe('extended headers', () => {
  const long = (typeflag: 'L' | 'K', content: string) =>
    rawMember({ name: '././@LongLink', typeflag, magic: GNU }, `${content}\0`);

  it('gives long names and links, in any order', async () => {
    const [name, link] = ['n'.repeat(5000), 'l'.repeat(5000)];
    const header = rawHeader({ name: 'cut', link: 'cut', typeflag: '2', magic: GNU });
    for (const extended of [
      [long('L', name), long('K', link)],
      [long('K', link), long('L', name)],
    ]) {
      const member = await only(...extended, header);
      expect([text(member.path), text(member.linkTarget)]).toEqual([name, link]);
      expect([member.headerOffset, member.dataOffset]).toEqual([0, 2 * (512 + 5120) + 512]);
    }
  });

  it.each([
    ['path', 'p/ä/', { path: utf8('p/ä') }],
    ['path', Uint8Array.of(0x61, 0xff, 0x00, 0x62), { path: Uint8Array.of(0x61, 0xff) }],
    ['size', '5', { size: 5, dataBytes: 5 }],
    ['uid', '3000000', { uid: 3_000_000 }],
    ['gid', '-2', { gid: -2 }],
    ['gid', 'staff', { gid: 0 }],
    ['mtime', '1700000000', { mtime: { seconds: 1_700_000_000, nanos: 0 } }],
    ['mtime', '1.5', { mtime: { seconds: 1, nanos: 500_000_000 } }],
    ['mtime', '1.', { mtime: { seconds: 1, nanos: 0 } }],
    ['mtime', '1.0000000019', { mtime: { seconds: 1, nanos: 1 } }],
    ['mtime', '-1', { mtime: { seconds: -1, nanos: 0 } }],
    ['mtime', '-0', { mtime: { seconds: 0, nanos: 0 } }],
    ['mtime', '-0.25', { mtime: { seconds: -1, nanos: 750_000_000 } }],
    ['mtime', '-1.5', { mtime: { seconds: -2, nanos: 500_000_000 } }],
    ['mtime', '-1.0000000001', { mtime: { seconds: -2, nanos: 999_999_999 } }],
    ['mtime', '-1.9999999999', { mtime: { seconds: -2, nanos: 0 } }],
    ['mtime', 'yesterday', { mtime: { seconds: 0, nanos: 0 } }],
    ['hdrcharset', 'BINARY', { path: utf8('name') }],
    ['comment', 'x'.repeat(1000), { path: utf8('name') }],
  ])('pax: %s=%s', async (key, value, wanted) => {
    for (const typeflag of ['x', 'X', 'g']) {
      expect(
        await only(paxMember([[key, value]], typeflag), rawMember({ name: 'name', size: octal(5) }, 'bytes')),
      ).toMatchObject(wanted);
    }
  });

  it('lets later records win, a member before its archive, and an empty value take away', async () => {
    const parts = [
      paxMember(
        [
          ['uid', '1'],
          ['gid', '1'],
        ],
        'g',
      ),
      paxMember([['gid', '2']], 'g'),
      paxMember([
        ['uid', '3'],
        ['uid', '4'],
      ]),
      file('a'),
      paxMember([['uid', '']]),
      file('b'),
      file('c'),
      paxMember([['uid', '']], 'g'),
      file('d'),
    ];
    const { members } = await scanned(concat(parts));
    expect(members.map(({ uid, gid }) => [uid, gid])).toEqual([
      [4, 2],
      [0, 2],
      [1, 2],
      [0, 2],
    ]);
  });

  it('begins a member with its own first header, not with one of the archive', async () => {
    const global = paxMember([['comment', 'x']], 'g');
    const { members } = await scanned(concat([global, paxMember([['uid', '1']]), file('a'), global, file('b')]));
    expect(members.map(({ headerOffset }) => headerOffset)).toEqual([1024, 4096]);
  });

  it('says of a path with the link of a hard or symbolic link alone', async () => {
    const records = paxMember([['linkpath', 'target/']]);
    for (const [typeflag, wanted] of [
      ['1', 'target/'],
      ['2', 'target/'],
      ['0', ''],
    ]) {
      expect(text((await only(records, rawHeader({ name: 'a', typeflag }))).linkTarget)).toBe(wanted);
    }
  });

  it('read an empty name as ".", and one of the archive that is empty as none', async () => {
    expect(text((await only(paxMember([['path', '']]), file('name'))).path)).toBe('.');
    expect(text((await only(rawMember({ typeflag: 'L' }, ''), file('name'))).path)).toBe('.');
    expect(text((await only(paxMember([['path', '']], 'g'), file('name'))).path)).toBe('name');
  });

  it('cut a link target at a NUL', async () => {
    const link = rawHeader({ name: 'a', typeflag: '2' });
    expect(text((await only(paxMember([['linkpath', 'to\0nowhere']]), link)).linkTarget)).toBe('to');
  });

  describe.each([
    ['a whole header', 0],
    ['a header that is not held', TAR_EXTENDED_BYTES],
  ])('in %s', (_, bytes) => {
    const comment = bytes === 0 ? new Uint8Array() : paxRecord('comment', 'x'.repeat(bytes));
    const extended = (...records: (string | Uint8Array)[]) =>
      rawMember(
        { typeflag: 'x' },
        concat([comment, ...records.map((one) => (typeof one === 'string' ? utf8(one) : one))]),
      );

    it.each([
      ['no length', 'uid=5\n'],
      ['a length that lies', '9 uid=5\n'],
      ['a length beyond the header', '900 uid=5\n'],
      ['a length of nothing', '0 uid=5\n'],
      ['a negative length', '-8 uid=5\n'],
      ['no equals sign', '6 uid\n'],
      ['no newline', '8 uid=55'],
      ['an endless length', `${'9'.repeat(40)} uid=5\n`],
      ['an endless key', `2000 ${'k'.repeat(1990)}=5\n`],
    ])('a record with %s ends the records, and the list goes on', async (_, record) => {
      const archive = [extended(paxRecord('gid', '7'), record, paxRecord('uid', '9')), file('a'), file('b')];
      const { members, end } = await scanned(concat([...archive, END]));
      expect(end).toEqual({ kind: 'complete' });
      expect(members.map(({ path, uid, gid }) => [text(path), uid, gid])).toEqual([
        ['a', 0, 7],
        ['b', 0, 0],
      ]);
    });

    it('takes what it uses, and NULs after the records for padding', async () => {
      const records = [paxRecord('uid', '3'), paxRecord('path', 'long'), '8 gid=5\n\0\0\0'];
      expect(await only(extended(...records), file('a'))).toMatchObject({ uid: 3, gid: 5, path: utf8('long') });
    });
  });

  it.each(['GNU.dumpdir', 'LIBARCHIVE.xattr.com.apple.ResourceFork'])(
    'may have %s of any length: it is stepped over',
    async (key) => {
      const archive = [
        paxMember([
          [key, 'Yname\0'.repeat(400_000)],
          ['uid', '7'],
        ]),
        file('a'),
        file('b'),
      ];
      for (const pieceBytes of [511, 64 * 1024]) {
        const { members, end } = await scanned(concat([...archive, END]), pieceBytes);
        expect(end).toEqual({ kind: 'complete' });
        expect(members.map(({ path, uid }) => [text(path), uid])).toEqual([
          ['a', 7],
          ['b', 0],
        ]);
      }
    },
  );

  it.each(['x', 'L', 'K', 'g'])('stop the list where the archive ends within one (%s)', async (typeflag) => {
    for (const bytes of [100, 3 * MIB]) {
      const cut = rawMember({ typeflag }, 'n'.repeat(bytes)).subarray(0, 512 + bytes - 90);
      expect(await reason(file('a'), cut)).toBe('1024: the archive ends within an extended header');
    }
  });

  it.each([
    ['x', '12x'],
    ['x', '-1'],
    ['g', '9'.repeat(17)],
    ['x', '9007199254740993'],
  ])('of a size (%s) of %s leave that of the header', async (typeflag, size) => {
    expect(await names(paxMember([['size', size]], typeflag), file('a'), file('b'))).toEqual(['a', 'b', 'complete']);
  });

  it('may be many before a member', async () => {
    const many = Array.from({ length: 300 }, () => paxMember([['uid', '1']]));
    expect((await only(...many, file('a'))).uid).toBe(1);
  });

  it('of sparse files without a readable size leave that of the archive', async () => {
    const records = [
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', 's'],
      ['GNU.sparse.realsize', 'abc'],
    ] as const;
    const { members, end } = await scanned(concat([paxMember(records), file('m', '0\n'), file('b'), END]));
    expect(end).toEqual({ kind: 'complete' });
    expect(members.map(({ path, size }) => [text(path), size])).toEqual([
      ['s', 2],
      ['b', 7],
    ]);
  });

  it('cut paths that no program can extract, and the list goes on', async () => {
    const path = (bytes: number) => 'p'.repeat(bytes);
    const link = rawHeader({ name: 'a', typeflag: '2' });
    for (const bytes of [TAR_PATH_BYTES, TAR_PATH_BYTES + 1, 2 * MIB]) {
      for (const [extended, header, most] of [
        [paxMember([['path', path(bytes)]]), file('a'), TAR_PATH_BYTES],
        [long('L', path(bytes)), file('a'), TAR_PATH_BYTES],
        [concat([long('L', path(bytes)), long('K', 'to')]), link, TAR_PATH_BYTES - 2],
        [paxMember([['linkpath', path(bytes)]]), link, TAR_LINK_BYTES],
        [long('K', path(bytes)), link, TAR_LINK_BYTES],
        [concat([long('L', path(bytes)), long('K', path(bytes))]), link, TAR_LINK_BYTES],
      ] as const) {
        const { members, end } = await scanned(concat([extended, header, file('b'), END]));
        expect(end).toEqual({ kind: 'complete' });
        const [first, second] = members;
        expect(Math.max(first?.path.length ?? 0, first?.linkTarget?.length ?? 0)).toBe(most);
        expect(text(second?.path)).toBe('b');
      }
    }
  });
});
