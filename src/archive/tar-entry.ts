/**
 * All the headers of one member, in whatever form: extended ones (GNU's long names and links, pax records), its own,
 * and the further blocks of an old GNU sparse map. The scan reads them in order; a sparse member's content reads its
 * own again, since the map is not kept in an index.
 */
import type { ByteReader } from '../shared/byte-reader.ts';
import { utf8 } from '../shared/bytes.ts';
import { TAR_EXTENDED_BYTES, TAR_LINK_BYTES, TAR_PATH_BYTES } from '../shared/limits.ts';
import type { Member, MemberType } from './member.ts';
import {
  type PaxLookUp,
  type PaxMember,
  type PaxValues,
  paxInteger,
  paxIntegerOr,
  paxTime,
  recordsOfArchive,
  recordsOfMember,
  stepOverExtended,
  type TakeRecord,
  takeRecords,
  takeRecordsOf,
} from './pax-records.ts';
import { BrokenTar } from './tar-errors.ts';
import { BLOCK_BYTES, checkSize, paddedBytes, parseTarHeader, type TarHeader, untilNul } from './tar-header.ts';
import { realSizeOf, type SparseMapPlace, sparseMapOf } from './tar-sparse-map.ts';

const SLASH = 0x2f;

export interface TarEntry {
  readonly kind: 'entry';
  /** Null for what GNU tar keeps for itself (labels of volumes and the like). */
  readonly member: Member | null;
  /** Data that follow, without their padding. */
  readonly skipBytes: number;
  /** Of a sparse member; else null. */
  readonly sparseMap: SparseMapPlace | null;
}

/** A block that begins no member: zeros, anything else, part of a block (`zeros` alone or not), or nothing at all. */
export type Gap =
  | { readonly kind: 'zeros' | 'broken' | 'nothing' }
  | { readonly kind: 'cut'; readonly onlyZeros: boolean };

interface Extended {
  readonly pax: PaxMember;
  hasPax: boolean;
  longName: Uint8Array | undefined;
  longLink: Uint8Array | undefined;
}

interface EntryOptions {
  /** What global pax headers said so far; those met here are added. */
  readonly globals: PaxValues;
  /** Whether an old GNU map is gathered; it is stepped over otherwise. */
  readonly keepsMap?: boolean;
}

/**
 * Reads the next member's headers; of a {@link Gap} nothing is consumed but global headers before it. Throws
 * {@link BrokenTar} where headers began that are not whole, or whose size is none. Anything else that is wrong with
 * extended headers costs only what they say: the member's place is known.
 */
export async function readTarEntry(reader: ByteReader, options: EntryOptions): Promise<TarEntry | Gap> {
  let headerOffset = reader.position;
  let extended: Extended | null = null;
  for (;;) {
    if (reader.held < BLOCK_BYTES) await reader.fill(BLOCK_BYTES);
    const header = readHeader(reader);
    if ('kind' in header) {
      if (!extended) return header;
      throw new BrokenTar(afterExtended(header));
    }
    reader.consume(BLOCK_BYTES);
    if (!'gxXLK'.includes(header.typeflag)) return entryOf(reader, header, { ...options, extended, headerOffset });
    const bytes = checkSize(header.size, "an extended header's size");
    if (header.typeflag === 'g') {
      await readRecords(reader, bytes, recordsOfArchive(options.globals));
      // It is the archive's, not the member's, unless it stands between the member's own.
      if (!extended) headerOffset = reader.position;
    } else {
      extended ??= noneExtended();
      await readExtended(reader, bytes, header.typeflag, extended);
    }
  }
}

/** Whether a member, or the end, follows: what tells that the data a header speaks of are not there. */
async function atHeader(reader: ByteReader): Promise<boolean> {
  await reader.fill(BLOCK_BYTES);
  const next = readHeader(reader);
  return !('kind' in next) || next.kind === 'zeros' || next.kind === 'nothing';
}

function readHeader(reader: ByteReader): TarHeader | Gap {
  const bytes = reader.buffered;
  if (bytes.length === 0) return { kind: 'nothing' };
  if (bytes.length < BLOCK_BYTES) return { kind: 'cut', onlyZeros: bytes.every((byte) => byte === 0) };
  const header = parseTarHeader(bytes);
  return typeof header === 'string' ? { kind: header } : header;
}

function afterExtended(gap: Gap): string {
  return gap.kind === 'broken' ? "the header's checksum is wrong" : 'no member follows an extended header';
}

async function readExtended(reader: ByteReader, bytes: number, typeflag: string, extended: Extended): Promise<void> {
  if (typeflag === 'L') {
    extended.longName = await readName(reader, bytes);
  } else if (typeflag === 'K') {
    extended.longLink = await readName(reader, bytes);
  } else {
    await readRecords(reader, bytes, recordsOfMember(extended.pax));
    extended.hasPax = true;
  }
}

async function readRecords(reader: ByteReader, bytes: number, take: TakeRecord): Promise<void> {
  if (bytes > TAR_EXTENDED_BYTES) {
    await takeRecordsOf(reader, bytes, take);
    await stepOverExtended(reader, paddedBytes(bytes) - bytes);
    return;
  }
  await fillExtended(reader, paddedBytes(bytes));
  takeRecords(reader.buffered.subarray(0, bytes), take);
  reader.consume(paddedBytes(bytes));
}

/** Reads a long name or link up to a NUL. One that is longer than a path may be is cut. */
async function readName(reader: ByteReader, bytes: number): Promise<Uint8Array> {
  const wanted = Math.min(bytes, TAR_PATH_BYTES);
  await fillExtended(reader, wanted);
  const name = untilNul(reader.buffered.subarray(0, wanted));
  await stepOverExtended(reader, paddedBytes(bytes));
  return name;
}

async function fillExtended(reader: ByteReader, bytes: number): Promise<void> {
  if (reader.held < bytes) await reader.fill(bytes);
  if (reader.held < bytes) throw new BrokenTar('the archive ends within an extended header');
}

function noneExtended(): Extended {
  const pax = { values: new Map(), sparsePairs: [] };
  return { pax, hasPax: false, longName: undefined, longLink: undefined };
}

interface Context extends EntryOptions {
  readonly extended: Extended | null;
  readonly headerOffset: number;
}

async function entryOf(reader: ByteReader, header: TarHeader, context: Context): Promise<TarEntry> {
  const lookUp = paxLookUp(context);
  const told = sizeOf(header, lookUp);
  if ('VMN'.includes(header.typeflag)) return { kind: 'entry', member: null, skipBytes: told, sparseMap: null };

  const { extended, keepsMap = false } = context;
  const path = pathOf(header, extended, lookUp);
  const type = typeOf(header.typeflag, path);
  const paxPairs = extended?.hasPax ? extended.pax.sparsePairs : null;
  const sparseMap = type === 'file' ? await sparseMapOf(reader, { header, lookUp, paxPairs, told, keepsMap }) : null;
  const skipBytes = type === 'file' ? told : await dataBytesOf(reader, type, told, header, context);
  const dataBytes = type === 'directory' ? 0 : skipBytes;
  const linkTarget = type === 'symlink' || type === 'hardlink' ? linkOf(header, extended, lookUp) : null;
  const pathBytes = TAR_PATH_BYTES - (linkTarget?.length ?? 0);
  const member: Member = {
    path: withoutSlashes(path.subarray(0, pathBytes)),
    type: sparseMap ? 'sparse' : type,
    size: sparseMap ? realSizeOf(header, lookUp, dataBytes) : dataBytes,
    mode: header.mode,
    uid: paxIntegerOr(lookUp('uid'), header.uid),
    gid: paxIntegerOr(lookUp('gid'), header.gid),
    mtime: timeOr(lookUp('mtime'), header.mtime),
    linkTarget,
    device: type === 'character' || type === 'block' ? header.device : null,
    headerOffset: context.headerOffset,
    dataOffset: reader.position,
    dataBytes,
  };
  return { kind: 'entry', member, skipBytes, sparseMap };
}

/** What pax headers say of this member: its own before the global ones, and an empty value is none. */
function paxLookUp({ extended, globals }: Context): PaxLookUp {
  return (key) => {
    const value = extended?.pax.values.get(key) ?? globals.get(key);
    return value && value.length > 0 ? value : undefined;
  };
}

/** A size in a record that is none is passed over, as GNU tar does: the header has one too. */
function sizeOf(header: TarHeader, lookUp: PaxLookUp): number {
  const size = lookUp('size');
  const told = size ? paxInteger(size) : Number.NaN;
  return told >= 0 ? told : checkSize(header.size, "the member's size");
}

const EMPTY_NAME = utf8('.');

/** GNU tar reads "." where a member has no name, also where its own record empties that of the header. */
function pathOf(header: TarHeader, extended: Extended | null, lookUp: PaxLookUp): Uint8Array {
  const inPax = lookUp('GNU.sparse.name') ?? extended?.pax.values.get('path') ?? lookUp('path');
  const path = cutPath(inPax ?? extended?.longName ?? header.name, TAR_PATH_BYTES);
  return path.length === 0 ? EMPTY_NAME : path;
}

function linkOf(header: TarHeader, extended: Extended | null, lookUp: PaxLookUp): Uint8Array {
  return cutPath(lookUp('linkpath') ?? extended?.longLink ?? header.link, TAR_LINK_BYTES);
}

/** Up to a NUL, with which no file system's path goes on, and to the longest that is kept. */
function cutPath(path: Uint8Array, mostBytes: number): Uint8Array {
  const end = path.indexOf(0);
  const bytes = Math.min(end < 0 ? path.length : end, mostBytes);
  return bytes === path.length ? path : path.slice(0, bytes);
}

/** "/" alone stays. */
function withoutSlashes(path: Uint8Array): Uint8Array {
  let end = path.length;
  while (end > 1 && path[end - 1] === SLASH) end -= 1;
  return end === path.length ? path : path.slice(0, end);
}

/** POSIX: an unknown typeflag is a file's. In old archives a name with a slash at its end is a directory's. */
function typeOf(typeflag: string, path: Uint8Array): MemberType {
  switch (typeflag) {
    case '1':
      return 'hardlink';
    case '2':
      return 'symlink';
    case '3':
      return 'character';
    case '4':
      return 'block';
    case '5':
    case 'D':
      return 'directory';
    case '6':
      return 'fifo';
    case '0':
    case '7':
      return path.at(-1) === SLASH ? 'directory' : 'file';
    default:
      return 'file';
  }
}

/**
 * Data of what is no file. Symbolic links, devices and pipes have none, whatever their size says. Of a hard link POSIX
 * lets pax archives hold the data, while GNU tar ignores its size, and others wrote the file's size without the data.
 * Of a directory POSIX says that its size is what it may grow to, while GNU tar steps over as many bytes; both have
 * archives that need it so. Where nobody can tell, the next block does: a member that begins there is no data.
 */
async function dataBytesOf(
  reader: ByteReader,
  type: MemberType,
  told: number,
  { typeflag, format }: TarHeader,
  { extended }: Context,
): Promise<number> {
  if (told === 0 || (type !== 'hardlink' && type !== 'directory')) return 0;
  if (typeflag === 'D' || (type === 'hardlink' && extended?.hasPax)) return told;
  if (type === 'hardlink' && format === 'gnu') return 0;
  return (await atHeader(reader)) ? 0 : told;
}

function timeOr(value: Uint8Array | undefined, otherwise: number): Member['mtime'] {
  return (value && paxTime(value)) ?? { seconds: otherwise, nanos: 0 };
}
