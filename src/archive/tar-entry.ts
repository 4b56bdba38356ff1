/**
 * All the headers of one member, in whatever form: extended ones (GNU's long names and links, pax records), its own,
 * and the further blocks of an old GNU sparse map. The scan reads them in order; a sparse member's content reads its
 * own again, since the map is not kept in an index.
 */
import type { ByteReader } from '../shared/byte-reader.ts';
import { TAR_EXTENDED_BYTES, TAR_EXTENDED_HEADERS, TAR_PATH_BYTES } from '../shared/limits.ts';
import type { Member, MemberType } from './member.ts';
import {
  addGlobalRecords,
  addMemberRecords,
  type PaxLookUp,
  type PaxMember,
  type PaxValues,
  paxInteger,
  paxIntegerOr,
  paxTime,
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
 * {@link BrokenTar} where headers began that are not whole or cannot be.
 */
export async function readTarEntry(reader: ByteReader, options: EntryOptions): Promise<TarEntry | Gap> {
  let headerOffset = reader.position;
  let extended: Extended | null = null;
  let extendedBytes = 0;
  for (let before = 0; before <= TAR_EXTENDED_HEADERS; before++) {
    if (reader.held < BLOCK_BYTES) await reader.fill(BLOCK_BYTES);
    const header = readHeader(reader);
    if ('kind' in header) {
      if (!extended) return header;
      throw new BrokenTar(afterExtended(header));
    }
    reader.consume(BLOCK_BYTES);
    if (!'gxXLK'.includes(header.typeflag)) return entryOf(reader, header, { ...options, extended, headerOffset });
    extendedBytes += checkSize(header.size, "an extended header's size");
    if (extendedBytes > TAR_EXTENDED_BYTES) {
      throw new BrokenTar(`a member's extended headers have more than the ${TAR_EXTENDED_BYTES} bytes allowed`);
    }
    const data = await readExtended(reader, header.size);
    if (header.typeflag === 'g') {
      addGlobalRecords(data, options.globals);
      // It is the archive's, not the member's, unless it stands between the member's own.
      if (!extended) headerOffset = reader.position;
    } else {
      extended ??= noneExtended();
      addExtended(extended, header.typeflag, data);
    }
  }
  throw new BrokenTar(`a member has more than ${TAR_EXTENDED_HEADERS} extended headers`);
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

/** The data of an extended header, a view that is valid until the reader moves on. */
async function readExtended(reader: ByteReader, size: number): Promise<Uint8Array> {
  const padded = paddedBytes(size);
  if (reader.held < padded) await reader.fill(padded);
  if (reader.held < padded) throw new BrokenTar('the archive ends within an extended header');
  const data = reader.buffered.subarray(0, size);
  reader.consume(padded);
  return data;
}

function noneExtended(): Extended {
  const pax = { values: new Map(), sparsePairs: [] };
  return { pax, hasPax: false, longName: undefined, longLink: undefined };
}

function addExtended(extended: Extended, typeflag: string, data: Uint8Array): void {
  if (typeflag === 'L') {
    extended.longName = untilNul(data);
  } else if (typeflag === 'K') {
    extended.longLink = untilNul(data);
  } else {
    addMemberRecords(data, extended.pax);
    extended.hasPax = true;
  }
}

interface Context extends EntryOptions {
  readonly extended: Extended | null;
  readonly headerOffset: number;
}

async function entryOf(reader: ByteReader, header: TarHeader, context: Context): Promise<TarEntry> {
  const lookUp = paxLookUp(context);
  const size = lookUp('size');
  const told = checkSize(size ? paxInteger(size) : header.size, "the member's size");
  if ('VMN'.includes(header.typeflag)) return { kind: 'entry', member: null, skipBytes: told, sparseMap: null };

  const { extended, keepsMap = false } = context;
  const path = pathOf(header, extended, lookUp);
  const type = typeOf(header.typeflag, path);
  const paxPairs = extended?.hasPax ? extended.pax.sparsePairs : null;
  const sparseMap = type === 'file' ? await sparseMapOf(reader, { header, lookUp, paxPairs, told, keepsMap }) : null;
  const skipBytes = type === 'file' ? told : await dataBytesOf(reader, type, told, header, context);
  const dataBytes = type === 'directory' ? 0 : skipBytes;
  const linkTarget = type === 'symlink' || type === 'hardlink' ? linkOf(header, extended, lookUp) : null;
  const member: Member = {
    path: withoutSlashes(path),
    type: sparseMap ? 'sparse' : type,
    size: sparseMap ? realSizeOf(header, lookUp) : dataBytes,
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

function pathOf(header: TarHeader, extended: Extended | null, lookUp: PaxLookUp): Uint8Array {
  return checkPath(lookUp('GNU.sparse.name') ?? lookUp('path') ?? extended?.longName ?? header.name);
}

function linkOf(header: TarHeader, extended: Extended | null, lookUp: PaxLookUp): Uint8Array {
  return checkPath(lookUp('linkpath') ?? extended?.longLink ?? header.link);
}

function checkPath(path: Uint8Array): Uint8Array {
  if (path.length <= TAR_PATH_BYTES) return path;
  throw new BrokenTar(`a path has ${path.length} bytes, more than the ${TAR_PATH_BYTES} allowed`);
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
