/** Archives that are made while they go out, so that their size costs no disk. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';

const BLOCK = 512;
const MIB = 1024 * 1024;
const SIZE_AT = 124;
/** Where a header has its checksum, which begins with a digit. */
export const CHECKSUM_AT = 148;
const MTIME = 1_700_000_000;

/** What a ustar header is before it has a name, a size and a checksum. */
const BLANK = blankHeader();
const BLANK_SUM = sumOf(BLANK) + 8 * 0x20;

/** One member: header, content, zeros up to a whole block. `path`: ASCII, up to 100 characters. */
export function tarMember(path: string, content: Uint8Array): Buffer {
  const member = Buffer.alloc(BLOCK + Math.ceil(content.length / BLOCK) * BLOCK);
  member.set(BLANK);
  const size = content.length.toString(8).padStart(11, '0');
  member.write(path, 0, 'latin1');
  member.write(size, SIZE_AT, 'latin1');
  const checksum = BLANK_SUM + sumOf(Buffer.from(path, 'latin1')) + sumOf(Buffer.from(size, 'latin1'));
  member.write(`${checksum.toString(8).padStart(6, '0')}\0 `, CHECKSUM_AT, 'latin1');
  member.set(content, BLOCK);
  return member;
}

/** The same bytes, but for the checksum of the first header: so it is no archive, and all else stays as it was. */
export function* notAnArchive(pieces: Iterable<Uint8Array>): Generator<Uint8Array> {
  let first = true;
  for (const piece of pieces) {
    if (first) piece[CHECKSUM_AT] = (piece[CHECKSUM_AT] ?? 0) ^ 1;
    first = false;
    yield piece;
  }
}

/** `count` small members, in no order of paths: as directories come that were never sorted. */
export function* manyMembers(count: number, contentOf: (i: number) => Uint8Array): Generator<Uint8Array> {
  yield* inPieces(members());

  function* members(): Generator<Buffer> {
    for (let i = 0; i < count; i++) yield tarMember(pathOf(i), contentOf(i));
    yield Buffer.alloc(2 * BLOCK);
  }
}

/** The path of the `i`-th of {@link manyMembers}. */
export function pathOf(i: number): string {
  const directory = Math.imul(Math.floor(i / 40), 0x9e3779b1) >>> 0;
  return `backup/${directory.toString(16).padStart(8, '0')}/src/components/file-${i}.txt`;
}

/** A member of a {@link MixedArchive}. */
export interface MixedMember {
  readonly path: string;
  readonly size: number;
  /** Where in the material its content lies. */
  readonly from: number;
}

/**
 * Archives of mixed members, 256 bytes to 128 KiB each, some 50,000 in a GiB, of what lies in a file. Every `periodBytes` they begin anew
 * under another name: so archives of any length hold the same members in the same frames, early and late.
 */
export class MixedArchive {
  readonly periodBytes: number;
  /** Of the first period. */
  readonly members: readonly MixedMember[];
  readonly #file: string;

  constructor(file: string, periodBytes: number) {
    this.#file = file;
    this.periodBytes = periodBytes;
    this.members = layout(periodBytes, statSync(file).size);
  }

  /** Every so many members one has exactly this size. */
  static readonly TARGET_BYTES = 10 * 1024;
  /** What follows the last period. */
  static readonly END_BYTES = 2 * BLOCK;

  *pieces(periods: number): Generator<Uint8Array> {
    const file = openSync(this.#file, 'r');
    try {
      yield* inPieces(this.#members(file, periods));
    } finally {
      closeSync(file);
    }
  }

  *#members(file: number, periods: number): Generator<Buffer> {
    for (let period = 0; period < periods; period++) {
      for (const member of this.members) {
        const content = Buffer.allocUnsafe(member.size);
        readSync(file, content, 0, member.size, member.from);
        yield tarMember(this.pathIn(period, member), content);
      }
    }
    yield Buffer.alloc(MixedArchive.END_BYTES);
  }

  pathIn(period: number, { path }: MixedMember): string {
    return `copy-${period}/${path}`;
  }

  /** `count` members of {@link MixedArchive.TARGET_BYTES}, from all over the period. */
  targets(count: number): MixedMember[] {
    const all = this.members.filter(({ size }) => size === MixedArchive.TARGET_BYTES);
    return Array.from({ length: count }, (_, i) => all[Math.floor(((i + 0.5) * all.length) / count)]).filter(
      (member) => member !== undefined,
    );
  }

  contentOf({ size, from }: MixedMember): Buffer {
    const file = openSync(this.#file, 'r');
    try {
      const content = Buffer.alloc(size);
      readSync(file, content, 0, size, from);
      return content;
    } finally {
      closeSync(file);
    }
  }
}

function layout(periodBytes: number, materialBytes: number): MixedMember[] {
  const random = randomNumbers();
  const members: MixedMember[] = [];
  for (let at = 0, i = 0; at < periodBytes; i++) {
    const drawn = i % 16 === 7 ? MixedArchive.TARGET_BYTES : Math.floor(256 * 2 ** (9 * random()));
    const room = periodBytes - at - BLOCK;
    const next = at + BLOCK + Math.ceil(drawn / BLOCK) * BLOCK;
    const size = next + BLOCK > periodBytes ? room : drawn;
    const from = Math.floor(random() * (materialBytes - MIB));
    members.push({ path: `packages/part-${Math.floor(i / 30)}/lib/module-${i}.js`, size, from });
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return members;
}

/** Numbers from 0 up to 1, the same ones each time (a linear congruential generator). */
export function randomNumbers(seed = 12_345): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Small pieces gathered into large ones. */
function* inPieces(pieces: Iterable<Buffer>): Generator<Uint8Array> {
  let gathered: Buffer[] = [];
  let bytes = 0;
  for (const piece of pieces) {
    gathered.push(piece);
    bytes += piece.length;
    if (bytes < MIB) continue;
    yield Buffer.concat(gathered);
    gathered = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(gathered);
}

function blankHeader(): Buffer {
  const header = Buffer.alloc(BLOCK);
  header.write('0000644\x000000000\x000000000\0', 100, 'latin1');
  header.write(MTIME.toString(8).padStart(11, '0'), 136, 'latin1');
  header.write('0', 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  return header;
}

function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) sum += byte;
  return sum;
}
