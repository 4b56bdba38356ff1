import { describe, expect, it } from 'vitest';
import type { Member } from '../../../src/archive/member.ts';
import { sparseContent } from '../../../src/archive/tar-sparse.ts';
import { concat, hex, sha256, utf8 } from '../../../src/shared/bytes.ts';
import type { Pieces } from '../../../src/shared/streams.ts';
import { type ListedMember, tarVectors } from '../../vectors/tar.ts';
import { type Bytes, inPieces, scanned, text, unpack, withChecksum } from './tar-samples.ts';

const bytesOf = (name: ListedMember['path'] | null) =>
  name === null ? null : typeof name === 'string' ? utf8(name) : Uint8Array.from(name);

const asMember = ({ sha256: _, path, linkTarget, mtime, device, ...rest }: ListedMember) => ({
  ...rest,
  path: bytesOf(path),
  linkTarget: bytesOf(linkTarget),
  mtime: { seconds: mtime[0], nanos: mtime[1] },
  device: device && { major: device[0], minor: device[1] },
});

const told = ({ dataOffset: _, dataBytes: __, ...rest }: Member) => rest;

async function whole(pieces: Pieces): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece.slice());
  return concat(all);
}

function contentOf(archive: Bytes, member: Member, pieceBytes: number): Promise<Uint8Array> {
  const range = { offset: 0, length: member.size };
  if (member.type !== 'sparse') {
    return Promise.resolve(archive.subarray(member.dataOffset, member.dataOffset + member.dataBytes));
  }
  const span = archive.subarray(member.headerOffset, member.dataOffset + member.dataBytes);
  return whole(sparseContent(inPieces(span, pieceBytes), member, range));
}

describe.each(tarVectors)('the archive of $name', (vector) => {
  it.each([1, 7, 512, 513, 1 << 20])('lists the same members in pieces of %i bytes', async (pieceBytes) => {
    const { archive, listing } = await unpack(vector);
    const { members, end } = await scanned(archive, pieceBytes);
    expect(end).toEqual({ kind: 'complete' });
    expect(members.map(told)).toEqual(listing.map(asMember));
  });

  it('holds the content of every member where the scan says', async () => {
    const { archive, listing } = await unpack(vector);
    const { members } = await scanned(archive);
    for (const [i, member] of members.entries()) {
      for (const pieceBytes of member.type === 'sparse' ? [512, 4999, 1 << 20] : [1]) {
        const content = await contentOf(archive, member, pieceBytes);
        expect(hex(await sha256(content)).slice(0, 16), text(member.path)).toBe(listing[i]?.sha256);
      }
    }
  });

  it('lists what comes before a cut, wherever it is', async () => {
    const { archive } = await unpack(vector);
    const all = (await scanned(archive)).members;
    // Data of a directory (GNU's, of what was in it) are no content, so the next member tells where they end.
    const ends = all.map(({ type, dataOffset, dataBytes }, i) =>
      type === 'directory' ? (all[i + 1]?.headerOffset ?? dataOffset) : dataOffset + dataBytes,
    );
    for (let cut = 0; cut < archive.length; cut += 512) {
      for (const at of [cut, cut + ((cut * 7919) % 511) + 1]) {
        const { members, end } = await scanned(archive.subarray(0, at), 1 << 20);
        const whole = ends.filter((end) => end <= at).length;
        expect(members.length - whole, `cut at ${at}`).toBeOneOf(all[whole]?.type === 'directory' ? [0, 1] : [0]);
        expect(members).toEqual(all.slice(0, members.length));
        if (at >= 512) expect(end.kind, `cut at ${at}`).not.toBe('not-an-archive');
        if (end.kind === 'stopped') expect(end.stopped.offset).toBeLessThanOrEqual(at);
      }
    }
  });
});

describe('a vector with one byte changed', () => {
  it.each(['GNU tar, ustar', 'Python, gnu', 'bsdtar, pax', 'GNU tar, old sparse'])(
    'is read without a throw wherever that is in the first blocks (%s)',
    async (name) => {
      const vector = tarVectors.find((one) => one.name === name);
      if (!vector) throw new Error('no such vector');
      const archive = (await unpack(vector)).archive.slice(0, 16 * 1024);
      for (let at = 0; at < 4096; at++) {
        const changed = archive.slice();
        changed[at] = (changed[at] ?? 0) ^ (1 + ((at * 31) % 255));
        const { end } = await scanned(changed, 1 << 20);
        expect(['complete', 'stopped', 'not-an-archive']).toContain(end.kind);
      }
    },
  );

  it.each([
    ['GNU tar, oldgnu', 0],
    ['Python, pax', 0],
    ['Python, gnu', 8192],
    ['GNU tar, gnu', 95_232],
    ['GNU tar, old sparse', 512],
    ['GNU tar, sparse 0.0', 1536],
    ['GNU tar, sparse 0.1', 1536],
    ['GNU tar, sparse 1.0', 1536],
  ] as const)(
    'is read without a throw also where the checksum was made good again (%s, from byte %i)',
    async (name, from) => {
      const vector = tarVectors.find((one) => one.name === name);
      if (!vector) throw new Error('no such vector');
      const archive = (await unpack(vector)).archive.slice(from);
      let read = 0;
      for (let at = 0; at < 3072; at++) {
        const changed = archive.slice(0, 32 * 1024);
        changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
        for (let block = 0; block < 3072; block += 512) {
          if (text(archive.subarray(block + 257, block + 262)) === 'ustar')
            withChecksum(changed.subarray(block, block + 512));
        }
        const { members, end } = await scanned(changed, 1 << 20);
        expect(['complete', 'stopped']).toContain(end.kind);
        for (const member of members.filter(({ type }) => type === 'sparse')) read += await readSome(changed, member);
      }
      expect(read > 0).toBe(name.includes('sparse'));
    },
  );

  /** The first bytes of a sparse member, or none where its map is refused. */
  async function readSome(archive: Bytes, member: Member): Promise<number> {
    const range = { offset: 0, length: Math.min(member.size, 10_000) };
    const span = archive.subarray(member.headerOffset, member.dataOffset + member.dataBytes);
    try {
      const { length } = await whole(sparseContent(inPieces(span, 1 << 20), member, range));
      expect(length).toBe(range.length);
      return length;
    } catch (error) {
      expect(error).toMatchObject({ code: expect.stringMatching(/^sparse-map-(malformed|too-large)$/) });
      return 0;
    }
  }
});
