import { describe, expect, it } from 'vitest';
import type { Member } from '../../../src/archive/member.ts';
import { sparseContent } from '../../../src/archive/tar-sparse.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { KIB, SPARSE_MAP_BYTES, SPARSE_SEGMENTS, ZERO_PIECE_BYTES } from '../../../src/shared/limits.ts';
import type { ByteSpan } from '../../../src/shared/seek-points.ts';
import { tarVectors } from '../../vectors/tar.ts';
import { END, GNU, inPieces, octal, padded, paxMember, rawHeader, scanned, unpack } from './tar-samples.ts';

type Pairs = readonly (readonly [offset: number, bytes: number])[];

/** Data that tell where in the file they belong. */
const byteAt = (at: number) => 97 + ((at * 7) % 26);

const dataOf = (pairs: Pairs) =>
  concat(pairs.map(([offset, bytes]) => Uint8Array.from({ length: Math.max(0, bytes) }, (_, i) => byteAt(offset + i))));

function fileOf(size: number, pairs: Pairs): Uint8Array {
  const file = new Uint8Array(size);
  for (const [offset, bytes] of pairs) for (let i = 0; i < bytes; i++) file[offset + i] = byteAt(offset + i);
  return file;
}

interface Sparse {
  readonly size: number;
  readonly pairs: Pairs;
  /** What the archive holds, where that is not what the map says. */
  readonly data?: Uint8Array;
}

const mapFields = (pairs: Pairs, at: number) =>
  Object.fromEntries(
    pairs.flatMap(([offset, bytes], i) => [
      [at + 24 * i, octal(offset)],
      [at + 24 * i + 12, octal(bytes)],
    ]),
  );

function oldGnu({ size, pairs, data = dataOf(pairs) }: Sparse): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (let from = 4; from < pairs.length; from += 21) {
    const block = new Uint8Array(512);
    for (const [offset, value] of Object.entries(mapFields(pairs.slice(from, from + 21), 0)))
      block.set(utf8(value), Number(offset));
    block[504] = from + 21 < pairs.length ? 1 : 0;
    blocks.push(block);
  }
  const more = Uint8Array.of(pairs.length > 4 ? 1 : 0);
  const fields = { ...mapFields(pairs.slice(0, 4), 386), 482: more, 483: octal(size) };
  const header = rawHeader({ name: 'sparse', typeflag: 'S', magic: GNU, size: octal(data.length), fields });
  return concat([header, ...blocks, padded(data)]);
}

const inPax = (records: readonly (readonly [string, string])[], data: Uint8Array) =>
  concat([paxMember(records), rawHeader({ name: 'sparse', size: octal(data.length) }), padded(data)]);

function pax00({ size, pairs, data = dataOf(pairs) }: Sparse): Uint8Array {
  const map = pairs.flatMap(([offset, bytes]) => [
    ['GNU.sparse.offset', String(offset)] as const,
    ['GNU.sparse.numbytes', String(bytes)] as const,
  ]);
  return inPax([['GNU.sparse.size', String(size)], ['GNU.sparse.numblocks', String(pairs.length)], ...map], data);
}

function pax01({ size, pairs, data = dataOf(pairs) }: Sparse): Uint8Array {
  return inPax(
    [
      ['GNU.sparse.size', String(size)],
      ['GNU.sparse.map', pairs.flat().join(',')],
    ],
    data,
  );
}

const version1 = (size: number): (readonly [string, string])[] => [
  ['GNU.sparse.major', '1'],
  ['GNU.sparse.minor', '0'],
  ['GNU.sparse.name', 'named'],
  ['GNU.sparse.realsize', String(size)],
];

function pax10({ size, pairs, data = dataOf(pairs) }: Sparse): Uint8Array {
  const map = padded(utf8(`${[pairs.length, ...pairs.flat()].join('\n')}\n`));
  return inPax(version1(size), concat([map, data]));
}

const formats = [
  ['old GNU', oldGnu],
  ['GNU 0.0', pax00],
  ['GNU 0.1', pax01],
  ['GNU 1.0', pax10],
] as const;

async function member(archive: Uint8Array): Promise<Member> {
  const { members, end } = await scanned(concat([archive, END]));
  expect(end.kind).toBe('complete');
  const [first] = members;
  if (!first || members.length !== 1) throw new Error(`${members.length} members`);
  return first;
}

async function content(archive: Uint8Array, of: Member, range: ByteSpan, pieceBytes = 700): Promise<Uint8Array> {
  const span = archive.subarray(of.headerOffset, of.dataOffset + of.dataBytes);
  const all: Uint8Array[] = [];
  for await (const piece of sparseContent(inPieces(span, pieceBytes), of, range)) {
    expect(piece.length).toBeGreaterThan(0);
    expect(piece.length).toBeLessThanOrEqual(Math.max(ZERO_PIECE_BYTES, pieceBytes));
    all.push(piece.slice());
  }
  return concat(all);
}

const whole = (of: Member) => ({ offset: 0, length: of.size });

const samples: readonly (readonly [string, Sparse])[] = [
  [
    'data first and last',
    {
      size: 3000,
      pairs: [
        [0, 100],
        [1000, 512],
        [2900, 100],
      ],
    },
  ],
  [
    'holes first and last',
    {
      size: 3000,
      pairs: [
        [100, 1],
        [1000, 0],
        [1000, 513],
        [3000, 0],
      ],
    },
  ],
  ['nothing but a hole', { size: 2000, pairs: [[2000, 0]] }],
  [
    'no hole',
    {
      size: 2000,
      pairs: [
        [0, 1000],
        [1000, 1000],
      ],
    },
  ],
  ['a large hole', { size: 3 * ZERO_PIECE_BYTES + 10, pairs: [[3 * ZERO_PIECE_BYTES, 10]] }],
  ['no bytes', { size: 0, pairs: [[0, 0]] }],
  ['four segments', { size: 4000, pairs: Array.from({ length: 4 }, (_, i) => [i * 1000, 10]) }],
  ['five segments', { size: 5000, pairs: Array.from({ length: 5 }, (_, i) => [i * 1000, 10]) }],
  ['25 segments', { size: 25_000, pairs: Array.from({ length: 25 }, (_, i) => [i * 1000, 10]) }],
  ['26 segments', { size: 26_000, pairs: Array.from({ length: 26 }, (_, i) => [i * 1000 + i, 10 + i]) }],
  ['300 segments', { size: 30_000, pairs: Array.from({ length: 300 }, (_, i) => [i * 100, 1 + (i % 100)]) }],
];

describe.each(formats)('a sparse member of %s', (_, make) => {
  it.each(samples)('with %s', async (_, sparse) => {
    const archive = make(sparse);
    const of = await member(archive);
    expect(of).toMatchObject({ type: 'sparse', size: sparse.size });
    for (const pieceBytes of [1, 512, 100_000]) {
      expect(await content(archive, of, whole(of), pieceBytes)).toEqual(fileOf(sparse.size, sparse.pairs));
    }
  });

  it('gives every range of a small file', async () => {
    const sparse: Sparse = {
      size: 24,
      pairs: [
        [2, 3],
        [5, 0],
        [5, 4],
        [15, 6],
      ],
    };
    const archive = make(sparse);
    const of = await member(archive);
    const file = fileOf(sparse.size, sparse.pairs);
    for (let offset = 0; offset <= 24; offset++) {
      for (let length = 0; offset + length <= 24; length++) {
        expect(await content(archive, of, { offset, length })).toEqual(file.subarray(offset, offset + length));
      }
    }
  });

  it.each([
    [
      'overlaps itself',
      [
        [0, 100],
        [50, 100],
      ],
      'segments overlap or are out of order',
    ],
    [
      'is out of order',
      [
        [500, 10],
        [100, 10],
      ],
      'segments overlap or are out of order',
    ],
    [
      'reaches beyond the file',
      [
        [0, 10],
        [999, 2],
      ],
      'reaches beyond the end of the file',
    ],
    [
      'ends beyond the file',
      [
        [0, 10],
        [1001, 0],
      ],
      'reaches beyond the end of the file',
    ],
  ] as const)('is refused where its map %s', async (_, pairs, reason) => {
    const archive = make({ size: 1000, pairs });
    const of = await member(archive);
    await expect(content(archive, of, whole(of))).rejects.toThrow(
      expect.objectContaining({ code: 'sparse-map-malformed', message: expect.stringContaining(reason) }),
    );
  });

  it.each([9, 11])('is refused where the archive holds %i bytes and the map tells of 10', async (bytes) => {
    const archive = make({ size: 1000, pairs: [[100, 10]], data: new Uint8Array(bytes) });
    const of = await member(archive);
    await expect(content(archive, of, whole(of))).rejects.toMatchObject({ code: 'sparse-map-malformed' });
  });

  it('is refused where the stored bytes end early or are others', async () => {
    const archive = make({
      size: 1000,
      pairs: [
        [100, 10],
        [300, 500],
      ],
    });
    const of = await member(archive);
    for (let cut = 0; cut < of.dataOffset + of.dataBytes; cut += 97) {
      const read = content(archive.subarray(0, cut), of, whole(of));
      await expect(read).rejects.toMatchObject({ code: expect.stringMatching(/^stored-data-corrupt|^sparse-map/) });
    }
    const others = content(concat([rawHeader({ name: 'a' }), archive]), of, whole(of));
    await expect(others).rejects.toMatchObject({ code: 'stored-data-corrupt' });
  });

  it('refuses a range beyond the file', async () => {
    const archive = make({ size: 100, pairs: [[0, 10]] });
    const of = await member(archive);
    for (const range of [
      { offset: 0, length: 101 },
      { offset: 101, length: 0 },
      { offset: -1, length: 1 },
    ]) {
      await expect(content(archive, of, range)).rejects.toThrow(RangeError);
    }
  });

  it('reads no more than the range needs and leaves the source', async () => {
    const archive = make({
      size: 100 * KIB,
      pairs: [
        [0, 20 * KIB],
        [50 * KIB, 20 * KIB],
      ],
    });
    const of = await member(archive);
    const seen = { pulled: 0, left: false };
    const source = async function* () {
      try {
        for (let at = 0; at < archive.length; at += 512) {
          seen.pulled += 1;
          yield archive.subarray(at, at + 512);
        }
      } finally {
        seen.left = true;
      }
    };
    for await (const _ of sparseContent(source(), of, { offset: 1, length: 1000 }));
    expect(seen.pulled * 512).toBeLessThanOrEqual(of.dataOffset + 512 + 1001 + 511);
    expect(seen.left).toBe(true);

    seen.left = false;
    for await (const _ of sparseContent(source(), of, whole(of))) break;
    expect(seen.left).toBe(true);
  });
});

describe('the map of a sparse member', () => {
  const many = (segments: number): Sparse => ({
    size: segments * 2,
    pairs: Array.from({ length: segments }, (_, i) => [i * 2, 1]),
  });

  it.each([
    ['old GNU', oldGnu],
    ['GNU 0.1', pax01],
    ['GNU 1.0', pax10],
  ] as const)('may have 65,536 segments and no more (%s)', async (_, make) => {
    const sparse = many(SPARSE_SEGMENTS);
    const archive = make(sparse);
    const of = await member(archive);
    const got = await content(archive, of, { offset: of.size - 10, length: 10 }, 100_000);
    expect(got).toEqual(fileOf(sparse.size, sparse.pairs).subarray(-10));

    const larger = make(many(SPARSE_SEGMENTS + 1));
    const ofLarger = await member(larger);
    await expect(content(larger, ofLarger, { offset: 0, length: 1 }, 100_000)).rejects.toMatchObject({
      code: 'sparse-map-too-large',
    });
  });

  it('has at most a MiB of text', async () => {
    const line = `${'0'.repeat(15)}1\n`;
    const text = `60000\n${line.repeat(SPARSE_MAP_BYTES / line.length + 10)}`;
    const archive = inPax(version1(1000), padded(utf8(text)));
    const of = await member(archive);
    await expect(content(archive, of, whole(of), 100_000)).rejects.toMatchObject({ code: 'sparse-map-too-large' });
  });

  it.each([
    ['words', pax(['GNU.sparse.map', '0,ten'])],
    ['an odd count of numbers', pax(['GNU.sparse.map', '0,1,2'])],
    ['an empty number', pax(['GNU.sparse.map', '0,'])],
    ['negative numbers', pax(['GNU.sparse.map', '-1,1'])],
    ['lengths without offsets', pax(['GNU.sparse.numbytes', '1'], ['GNU.sparse.numbytes', '1'])],
    ['offsets without lengths', pax(['GNU.sparse.offset', '1'])],
    ['no lines', inPax(version1(1000), utf8('x'.repeat(600)))],
    ['no count', inPax(version1(1000), padded(utf8('many\n0\n1\n')))],
    ['a negative count', inPax(version1(1000), padded(utf8('-1\n')))],
    ['fewer lines than it says', inPax(version1(1000), padded(utf8('2\n0\n1\n')))],
    ['another version', inPax([...version1(1000), ['GNU.sparse.major', '2']], utf8('x'))],
    ['no map, but another size', inPax([['SCHILY.realsize', '1000']], utf8('x'))],
  ])('is refused where it has %s', async (_, archive) => {
    const of = await member(archive);
    expect(of).toMatchObject({ type: 'sparse', size: 1000 });
    await expect(content(archive, of, whole(of))).rejects.toMatchObject({ code: 'sparse-map-malformed' });
  });

  function pax(...records: readonly (readonly [string, string])[]): Uint8Array {
    return inPax([['GNU.sparse.size', '1000'], ...records], utf8('x'));
  }

  it('is not looked for where a file only tells its size again', async () => {
    expect(await member(inPax([['SCHILY.realsize', '4']], utf8('four')))).toMatchObject({ type: 'file', size: 4 });
  });
});

describe('sparse members by other programs', () => {
  it.each(tarVectors.filter(({ name }) => name.includes('sparse')))('give the same ranges ($name)', async (vector) => {
    const { archive } = await unpack(vector);
    const { members } = await scanned(archive);
    for (const of of members.filter(({ type }) => type === 'sparse')) {
      const file = await content(archive, of, whole(of), 100_000);
      for (let i = 0; i < 25; i++) {
        const offset = (i * 7919 * 13) % (file.length + 1);
        const length = Math.min((i * 104_729) % 30_000, file.length - offset);
        expect(await content(archive, of, { offset, length })).toEqual(file.subarray(offset, offset + length));
      }
    }
  });
});
