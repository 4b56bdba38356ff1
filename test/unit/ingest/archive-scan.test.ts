import { constants, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { Member } from '../../../src/archive/member.ts';
import type { ZstdEngine } from '../../../src/codec/zstd/engine.ts';
import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { EnoughMembers, type ScanBounds, scanArchive } from '../../../src/ingest/archive-scan.ts';
import { concat } from '../../../src/shared/bytes.ts';
import { GIB, KIB, MIB } from '../../../src/shared/limits.ts';
import { rawHeader, text as toText } from '../archive/tar-samples.ts';
import { bothEngines } from '../codec/both-engines.ts';
import { chunked, firstDifference, noise, text } from '../codec/bytes.ts';
import { blockHeader, frameHeader, skippable, zeros } from '../codec/zstd-files.ts';
import { contentOf, gzip, inPieces, memberReader, numberOf, repeated, tarOf, zstd } from './archives.ts';

const SIZES = [0, 1, 511, 512, 513, 70_000, 3, 1_300_000, 0, 200_000, 9];
const tar = tarOf(SIZES);

interface Scan {
  readonly bounds?: ScanBounds;
  readonly pieceBytes?: number;
  readonly take?: (member: Member) => void | Promise<void>;
}

async function scan(uploaded: Uint8Array, engine: ZstdEngine, { bounds, pieceBytes = 512 * KIB, take }: Scan = {}) {
  const members: Member[] = [];
  const seen = { read: 0 };
  async function* pieces() {
    for await (const piece of chunked(uploaded, pieceBytes)) {
      seen.read += piece.length;
      yield piece;
    }
  }
  const add = (member: Member) => {
    members.push(member);
    return take?.(member);
  };
  const found = await scanArchive(pieces(), uploaded.slice(0, pieceBytes), engine, add, bounds);
  const layers = [found?.inner(uploaded.length) ?? null].filter((layer) => layer !== null);
  return { found, stopped: found?.stopped ?? null, members, layers, read: seen.read };
}

/** Every member that was told is read back out of the upload, through the layer that was told. */
async function expectContents(
  uploaded: Uint8Array,
  { members, layers }: Awaited<ReturnType<typeof scan>>,
  engine: ZstdEngine,
) {
  for (const member of members) {
    const content = await memberReader(uploaded, layers, engine).content(member);
    const number = numberOf(member);
    expect(firstDifference(content, contentOf(number, SIZES[number] ?? -1)), toText(member.path)).toBeNull();
  }
}

/** With `info` the one form that this runtime does not break at (workerd#6769); its types do not know it. */
function oneFrame(content: Uint8Array, params: Record<number, number> = {}): Uint8Array {
  const made = zstdCompressSync(content, { params, chunkSize: 2 * content.length + 1024, info: true });
  const frame: unknown = Reflect.get(made, 'buffer');
  if (!(frame instanceof Uint8Array)) throw new TypeError('node:zlib gave no bytes');
  return frame;
}

/** Raw blocks in a frame that does not tell its size. */
function unsized(content: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [frameHeader()];
  for (let at = 0; at < content.length; at += 128 * KIB) {
    const block = content.subarray(at, at + 128 * KIB);
    parts.push(Uint8Array.from(blockHeader(0, block.length, at + block.length >= content.length)), block);
  }
  return concat(parts);
}

const whole: [string, Uint8Array][] = [
  ['as it is', tar],
  ['in one zstd frame', zstd(tar)],
  ['in zstd frames of 100,000 bytes', inPieces(tar, 100_000, zstd)],
  ['in zstd frames of 700 bytes', inPieces(tar, 700, zstd)],
  ['in a zstd frame of unknown size', unsized(tar)],
  ['in zstd frames of unknown size', inPieces(tar, 300_000, unsized)],
  ['in a zstd frame with a window of 8 MiB', oneFrame(tar, { [constants.ZSTD_c_windowLog]: 23 })],
  [
    'in zstd, with skippable frames before, between and behind',
    concat([
      skippable(noise(9)),
      zstd(tar.slice(0, 99_999)),
      skippable(noise(70_000)),
      zstd(tar.slice(99_999)),
      skippable(noise(500)),
    ]),
  ],
  [
    'in zstd, with empty frames',
    concat([zstd(new Uint8Array()), unsized(new Uint8Array(1)).slice(0, 0), zstd(tar), zstd(new Uint8Array())]),
  ],
  ['in gzip', gzip(tar)],
  ['in stored gzip', gzip(tar, 0)],
  ['in many gzip members', inPieces(tar, 90_000, gzip)],
  [
    'in gzip members of 64 KiB and an empty one, as of bgzip',
    concat([inPieces(tar, 65_280, gzip), gzip(new Uint8Array())]),
  ],
  ['in gzip, with something else behind', concat([gzip(tar), text(70_000)])],
  ['in gzip, with zeros behind', concat([gzip(tar), new Uint8Array(10_240)])],
];

describe.each(bothEngines)('scanArchive with the $name engine', (engine) => {
  test.each(whole)('tells the members of an archive %s, and how to read them', async (_, uploaded) => {
    for (const pieceBytes of [1000, 512 * KIB]) {
      const scanned = await scan(uploaded, engine, { pieceBytes });
      expect(scanned.stopped).toBeNull();
      expect(scanned.members.map(({ size }) => size)).toEqual(SIZES);
      if (pieceBytes > 1000) await expectContents(uploaded, scanned, engine);
    }
  });

  test('members of an archive in many frames are read without decoding from its start', async () => {
    const sizes = Array.from({ length: 40 }, () => 150_000);
    const uploaded = inPieces(tarOf(sizes), 256 * KIB, zstd);
    const { members, layers } = await scan(uploaded, engine);
    for (const member of members) {
      const { seen, content } = memberReader(uploaded, layers, engine);
      const number = numberOf(member);
      expect(firstDifference(await content(member), contentOf(number, 150_000))).toBeNull();
      expect(seen.reads).toBe(1);
      // A point comes at every MiB, and the member may lie across one.
      expect(seen.bytes).toBeLessThan(2.6 * MIB);
    }
  });

  test('an archive that is cut anywhere tells what came whole, and why it ended there', async () => {
    for (const uploaded of [tar, inPieces(tar, 100_000, zstd), zstd(tar), unsized(tar), inPieces(tar, 90_000, gzip)]) {
      for (let i = 0; i < 40; i++) {
        const cut = uploaded.slice(0, 1 + Math.floor((i * (uploaded.length - 1)) / 40));
        const scanned = await scan(cut, engine);
        if (!scanned.found) {
          expect(scanned.members).toEqual([]);
          continue;
        }
        expect(scanned.members.map(({ size }) => size)).toEqual(SIZES.slice(0, scanned.members.length));
        if (scanned.members.length < SIZES.length) expect(scanned.stopped?.reason).toMatch(/^[A-Za-z].*[^.]$/);
        if (scanned.stopped) expect(scanned.stopped.offset).toBeLessThanOrEqual(tar.length);
      }
    }
  });

  test('of an archive that is cut or broken behind a frame, what the frames before hold is read to its last byte', async () => {
    const sizes = [512, 70_144, 1024];
    const archive = tarOf(sizes).slice(0, -1024);
    const frames = concat([zstd(archive.slice(0, 1024)), zstd(archive.slice(1024))]);
    const next = zstd(tar);
    const behind = [
      next.slice(0, 9),
      next.slice(0, 3),
      noise(100),
      unsized(tar).slice(0, 5),
      skippable(noise(50)).slice(0, 20),
    ];
    for (const rest of behind) {
      const uploaded = concat([frames, rest]);
      const { members, stopped, layers } = await scan(uploaded, engine);
      expect(members).toHaveLength(3);
      expect(stopped).not.toBeNull();
      for (const [i, member] of members.entries()) {
        const content = await memberReader(uploaded, layers, engine).content(member);
        expect(firstDifference(content, contentOf(i, sizes[i] ?? -1))).toBeNull();
      }
    }
  });

  test('a byte that is changed never makes it throw: what then reads wrong, of an archive that was told broken', async () => {
    const small = tarOf(SIZES.slice(0, 7));
    for (const uploaded of [zstd(small), inPieces(small, 20_000, zstd), gzip(small)]) {
      for (let i = 0; i < 60; i++) {
        const bad = uploaded.slice();
        const at = Math.floor((i * bad.length) / 60);
        bad[at] = (bad[at] ?? 0) ^ (1 << (i % 8));
        const { members, layers, stopped } = await scan(bad, engine);
        for (const member of members) {
          const number = numberOf(member);
          const given = await memberReader(bad, layers, engine)
            .content(member)
            .catch(() => null);
          const wrong = given && firstDifference(given, contentOf(number, SIZES[number] ?? -1));
          // The wasm engine does not look at checksums of frames.
          if (wrong && engine.name === 'native') expect(stopped).not.toBeNull();
        }
      }
    }
  });

  test.each([
    [
      'a window that is too large',
      concat([Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 14 << 3), zeros(10).slice(6)]),
      /window/,
    ],
    ['a dictionary', Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 1, 0, 7, 0, 0), /dictionary/],
  ])('a frame that needs %s ends the archive with its reason', async (_, frame, reason) => {
    const { members, stopped, read } = await scan(concat([zstd(tar), frame]), engine);
    expect(members).toHaveLength(SIZES.length);
    expect(stopped?.reason).toMatch(reason);
    expect(stopped?.reason).not.toMatch(/\.$/);
    expect(read).toBeGreaterThan(0);
    // Where it comes first, nobody can tell that it is an archive.
    expect((await scan(frame, engine)).found).toBeNull();
  });

  test.each([
    ['nothing', new Uint8Array()],
    ['a byte', noise(1)],
    ['noise', noise(3 * MIB)],
    ['text', text(3 * MIB)],
    ['a compressed dump', inPieces(text(40 * MIB), 4 * MIB, zstd)],
    ['a compressed dump in one frame', oneFrame(concat([text(9 * MIB), noise(9 * MIB)]))],
    ['a gzipped dump', gzip(concat([text(MIB), noise(9 * MIB)]))],
    ['an empty zstd file', zstd(new Uint8Array())],
    ['an empty gzip file', gzip(new Uint8Array())],
    ['only skippable frames', skippable(noise(1000))],
    ['a broken gzip file', concat([gzip(text(1)).slice(0, 12), noise(4 * MIB)])],
  ])('%s is no archive, and is left at once', async (_, uploaded) => {
    const { found, members, read } = await scan(uploaded, engine);
    expect(found).toBeNull();
    expect(members).toEqual([]);
    expect(read).toBeLessThanOrEqual(1.5 * MIB);
  });
});

/** A member of 8 GiB whose header comes in a piece of its own: what follows is its content. */
const huge = rawHeader({ name: 'huge', size: '77777777777' });

describe.each(bothEngines)('bombs and floods with the $name engine', (engine) => {
  test.each([
    ['zeros in one frame of unknown size', () => concat([zstd(huge), zeros(4 * GIB)])],
    ['zeros in one frame', () => concat([zstd(huge), zeros(4 * GIB, 4 * GIB)])],
    ['zeros in many frames', () => concat([zstd(huge), repeated(zeros(4 * MIB, 4 * MIB), 800)])],
    ['zeros in gzip', () => concat([gzip(huge), repeated(gzip(new Uint8Array(32 * MIB)), 48)])],
  ])('%s end the index where they expand too much', async (_, make) => {
    const { members, stopped } = await scan(make(), engine);
    expect(members).toEqual([]);
    expect(stopped).toEqual({ offset: 0, reason: 'The archive expands to more than 256 times its size' });
  });

  const floods: [string, Uint8Array, ScanBounds][] = [
    ['frames', repeated(zstd(new Uint8Array()), 600), { frames: 500 }],
    [
      'frames of unknown size',
      repeated(concat([frameHeader(), Uint8Array.from(blockHeader(0, 0, true))]), 600),
      { frames: 500 },
    ],
    ['skippable frames', repeated(skippable(new Uint8Array()), 600), { steps: 500 }],
    ['blocks', concat([frameHeader(), repeated(Uint8Array.from(blockHeader(0, 0, false)), 600)]), { steps: 500 }],
    [
      'blocks of a frame that tells its size',
      concat([frameHeader(0), repeated(Uint8Array.from(blockHeader(0, 0, false)), 600)]),
      { steps: 500 },
    ],
  ];
  test.each(floods)('empty %s are counted, and end the index', async (_, flood, bounds) => {
    const uploaded = concat([zstd(tar.slice(0, 512 * 3)), flood]);
    const { members, stopped } = await scan(uploaded, engine, { bounds });
    expect(members.map(({ size }) => size)).toEqual([0, 1]);
    expect(stopped?.reason).toBe('The archive is compressed in more than 500 pieces');
    expect((await scan(concat([zstd(tar), flood.slice(0, 100)]), engine, { bounds })).members).toHaveLength(
      SIZES.length,
    );
  });

  test('while much is decoded, timers fire and others work', async () => {
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 1);
    await scan(concat([zstd(huge), repeated(zstd(new Uint8Array()), 20_000)]), engine, { pieceBytes: 300_000 });
    clearInterval(timer);
    expect(ticks).toBeGreaterThanOrEqual(2);
  });
});

describe('scanArchive', () => {
  test('empty gzip members are counted, and end the index', async () => {
    const uploaded = concat([gzip(tar.slice(0, 512 * 3)), repeated(gzip(new Uint8Array()), 200)]);
    const { members, stopped } = await scan(uploaded, nativeEngine, { bounds: { frames: 100 } });
    expect(members).toHaveLength(2);
    expect(stopped?.reason).toBe('The archive is compressed in more than 100 pieces');
  });

  test.each(whole)('ends where no more members are wanted, of an archive %s', async (_, archive) => {
    const uploaded = repeated(archive, 3);
    const taken: Member[] = [];
    const take = (member: Member) => {
      if (taken.length === 6) throw new EnoughMembers({ offset: member.headerOffset, reason: 'that is enough' });
      taken.push(member);
    };
    const scanned = await scan(uploaded, nativeEngine, { take, pieceBytes: 20_000 });
    expect(scanned.stopped?.reason).toBe('that is enough');
    expect(scanned.read).toBeLessThan(archive.length + 40_000);
    await expectContents(uploaded, { ...scanned, members: taken }, nativeEngine);
  });

  test.each(whole)('throws what the taker of the members throws, of an archive %s', async (_, uploaded) => {
    const failure = new Error('the storage is away');
    for (const take of [
      () => Promise.reject(failure),
      () => {
        throw failure;
      },
    ]) {
      await expect(scan(uploaded, nativeEngine, { take })).rejects.toBe(failure);
    }
  });

  test('with the one decoder of the wasm engine it waits for nobody, and makes way for a reader', async () => {
    const wasm = bothEngines[1];
    if (!wasm) throw new Error('there are two engines');
    const uploaded = unsized(tar);
    const scanned = await scan(uploaded, wasm);
    const reader = wasm.decompressor(MIB);
    await reader.push(frameHeader());
    const busy = await scan(concat([zstd(tar.slice(0, 1024)), unsized(tar.slice(1024))]), wasm);
    expect(busy.stopped?.reason).toBe('The decoder was needed for something else');
    expect(busy.members).toHaveLength(1);
    reader.close();

    let contents: Promise<void> | undefined;
    const take = (member: Member) => {
      if (numberOf(member) === 5) contents = expectContents(uploaded, scanned, wasm);
      return scheduler.wait(10);
    };
    const displaced = await scan(uploaded, wasm, { take });
    expect(displaced.stopped?.reason).toBe('The decoder was needed for something else');
    expect(displaced.members.length).toBeLessThan(SIZES.length);
    await contents;
    expect((await scan(uploaded, wasm)).stopped).toBeNull();
  });
});
