/**
 * A member as bytes: what the index's blocks and the writer's runs are made of. Entries stand in order, each told by
 * how it differs from the one before:
 *
 * | what | as |
 * | --- | --- |
 * | bytes that the path shares with the one before; bytes that follow; those bytes | varint, varint, bytes |
 * | header offset, from where the data of the one before ended | signed |
 * | flags: type in bits 0 to 2, then below | byte |
 * | with EXTRAS: what else stands here | byte |
 * | size | varint |
 * | without PLAIN: data offset from the header's, bytes of data | varint, varint |
 * | without SAME_OWNER: mode, uid, gid | varint each |
 * | without SAME_TIME: seconds, from the one before (with ABSOLUTE_TIME: as they are); with NANOS: nanoseconds | signed, varint |
 * | with LINK: its length and bytes; with DEVICE: major, minor | varint, bytes; varint, varint |
 *
 * In an archive packed in the order of names the header offset is a zero, and in most archives owner and time are
 * those of the neighbour. This project's own node_modules (7,575 members, names of 54 bytes): 17.5 bytes a member, of
 * which zstd leaves 8.8. A made-up one of a million members, with times of their own: 34, and 16.6.
 */
import { INDEX_NAME_BYTES } from '../shared/limits.ts';
import { type BytesIn, type BytesOut, checkedNumber } from './index-bytes.ts';
import { IndexCorrupt } from './index-errors.ts';
import type { Member, MemberType } from './member.ts';
import { type PathHolder, sharedBytes } from './member-order.ts';

/** Their places are written: only ever add at a new version. */
const TYPES = ['file', 'directory', 'symlink', 'hardlink', 'character', 'block', 'fifo', 'sparse'] as const;
TYPES satisfies readonly MemberType[];

const TYPE_BITS = 0x07;
const SAME_OWNER = 0x08;
const SAME_TIME = 0x10;
const NANOS = 0x20;
/** The data begin one header after the header, and are `size` bytes. */
const PLAIN = 0x40;
const EXTRAS = 0x80;

const LINK = 0x01;
const DEVICE = 0x02;
const ABSOLUTE_TIME = 0x04;
const KNOWN_EXTRAS = LINK | DEVICE | ABSOLUTE_TIME;

const HEADER_BYTES = 512;
const SECOND_IN_NANOS = 1_000_000_000;
/** Most that an entry takes beside its names: fourteen numbers of eight bytes, and the flags. */
export const ENTRY_NUMBERS_BYTES = 128;

/** Some programs wrote with a sign what systems hold without one: -2, nobody. */
function withoutSign(id: number): number {
  return id < 0 ? id >>> 0 : id;
}

/** One entry, used again for the next: a million members leave no objects behind. */
export class IndexEntry implements PathHolder {
  pathBuffer = new Uint8Array(256);
  pathBytes = 0;
  headerOffset = -1;
  type = 0;
  size = 0;
  mode = 0;
  uid = 0;
  gid = 0;
  seconds = 0;
  nanos = 0;
  /** Valid as long as what it was read from. */
  link: Uint8Array | null = null;
  major = -1;
  minor = -1;
  dataOffset = 0;
  dataBytes = 0;

  /** As before the first entry of a block or run. */
  clear(): void {
    this.pathBytes = 0;
    this.headerOffset = -1;
    this.mode = this.uid = this.gid = this.seconds = this.nanos = this.dataOffset = this.dataBytes = 0;
  }

  /** Takes over what the next entry is told by. */
  follow(entry: IndexEntry, shared: number): void {
    this.setPath(entry.pathBuffer, shared, entry.pathBytes);
    this.headerOffset = entry.headerOffset;
    this.mode = entry.mode;
    this.uid = entry.uid;
    this.gid = entry.gid;
    this.seconds = entry.seconds;
    this.nanos = entry.nanos;
    this.dataOffset = entry.dataOffset;
    this.dataBytes = entry.dataBytes;
  }

  setMember(member: Member): void {
    this.setPath(member.path, 0, member.path.length);
    this.headerOffset = member.headerOffset;
    this.type = TYPES.indexOf(member.type);
    this.size = member.size;
    this.mode = member.mode;
    this.uid = withoutSign(member.uid);
    this.gid = withoutSign(member.gid);
    this.seconds = member.mtime.seconds;
    this.nanos = member.mtime.nanos;
    this.link = member.linkTarget;
    this.major = member.device?.major ?? -1;
    this.minor = member.device?.minor ?? -1;
    this.dataOffset = member.dataOffset;
    this.dataBytes = member.dataBytes;
  }

  /** A copy that stays. */
  member(): Member {
    return {
      path: this.pathBuffer.slice(0, this.pathBytes),
      type: TYPES[this.type] ?? 'file',
      size: this.size,
      mode: this.mode,
      uid: this.uid,
      gid: this.gid,
      mtime: { seconds: this.seconds, nanos: this.nanos },
      linkTarget: this.link?.slice() ?? null,
      device: this.major < 0 ? null : { major: this.major, minor: this.minor },
      headerOffset: this.headerOffset,
      dataOffset: this.dataOffset,
      dataBytes: this.dataBytes,
    };
  }

  /** Sets the path's bytes from `from` on; those before it stay. */
  setPath(path: Uint8Array, from: number, bytes: number): void {
    if (bytes > this.pathBuffer.length) {
      const grown = new Uint8Array(2 * bytes);
      grown.set(this.pathBuffer.subarray(0, from));
      this.pathBuffer = grown;
    }
    const buffer = this.pathBuffer;
    for (let i = from; i < bytes; i++) buffer[i] = path[i] ?? 0;
    this.pathBytes = bytes;
  }

  /** Where the next member's header is expected. */
  get end(): number {
    const end = this.dataOffset + Math.ceil(this.dataBytes / HEADER_BYTES) * HEADER_BYTES;
    return Number.isSafeInteger(end) ? end : 0;
  }
}

/** Writes `entry`, which comes after `previous`; then `previous` is what the next one follows. */
export function writeEntry(out: BytesOut, previous: IndexEntry, entry: IndexEntry): void {
  const shared = sharedBytes(previous.pathBuffer, previous.pathBytes, entry.pathBuffer, entry.pathBytes);
  out.varint(shared);
  out.varint(entry.pathBytes - shared);
  out.bytes(entry.pathBuffer, shared, entry.pathBytes);
  out.signed(entry.headerOffset - previous.end);
  writeFields(out, previous, entry);
  previous.follow(entry, shared);
}

function writeFields(out: BytesOut, previous: IndexEntry, entry: IndexEntry): void {
  const flags = flagsOf(previous, entry);
  const extras = extrasOf(previous, entry);
  out.byte(flags | (extras === 0 ? 0 : EXTRAS));
  if (extras !== 0) out.byte(extras);
  out.varint(entry.size);
  if (!(flags & PLAIN)) {
    out.varint(entry.dataOffset - entry.headerOffset);
    out.varint(entry.dataBytes);
  }
  if (!(flags & SAME_OWNER)) {
    out.varint(entry.mode);
    out.varint(entry.uid);
    out.varint(entry.gid);
  }
  if (!(flags & SAME_TIME)) out.signed(entry.seconds - (extras & ABSOLUTE_TIME ? 0 : previous.seconds));
  if (flags & NANOS) out.varint(entry.nanos);
  if (entry.link) {
    out.varint(entry.link.length);
    out.bytes(entry.link);
  }
  if (extras & DEVICE) {
    out.varint(entry.major);
    out.varint(entry.minor);
  }
}

function flagsOf(previous: IndexEntry, entry: IndexEntry): number {
  const sameOwner = entry.mode === previous.mode && entry.uid === previous.uid && entry.gid === previous.gid;
  const sameTime = entry.seconds === previous.seconds && entry.nanos === previous.nanos;
  const plain = entry.dataOffset === entry.headerOffset + HEADER_BYTES && entry.dataBytes === entry.size;
  return (
    entry.type |
    (sameOwner ? SAME_OWNER : 0) |
    (sameTime ? SAME_TIME : 0) |
    (!sameTime && entry.nanos > 0 ? NANOS : 0) |
    (plain ? PLAIN : 0)
  );
}

function extrasOf(previous: IndexEntry, entry: IndexEntry): number {
  const farTime = !Number.isSafeInteger(entry.seconds - previous.seconds);
  return (entry.link ? LINK : 0) | (entry.major >= 0 ? DEVICE : 0) | (farTime ? ABSOLUTE_TIME : 0);
}

/**
 * Reads the entry that follows `entry` into it. Throws IndexCorrupt for what `writeEntry` never writes, also where the
 * entry does not come after the one before it.
 */
export function readEntry(from: BytesIn, entry: IndexEntry): void {
  const expected = entry.end;
  const samePath = readPath(from, entry);
  const headerOffset = checkedNumber(expected + from.signed());
  if (samePath && headerOffset < entry.headerOffset) throw new IndexCorrupt('its order is wrong');
  entry.headerOffset = headerOffset;
  const flags = from.byte();
  const extras = flags & EXTRAS ? from.byte() : 0;
  if (extras & ~KNOWN_EXTRAS) throw new IndexCorrupt('an entry has unknown parts');
  entry.type = flags & TYPE_BITS;
  readData(from, entry, flags);
  readOwnerAndTime(from, entry, flags, extras);
  readExtras(from, entry, extras);
}

/** Whether the path is the one before. A path that is not that, nor comes after it, is refused. */
function readPath(from: BytesIn, entry: IndexEntry): boolean {
  const shared = from.varint();
  const suffixBytes = from.varint();
  if (shared > entry.pathBytes || suffixBytes > INDEX_NAME_BYTES || shared + suffixBytes > INDEX_NAME_BYTES) {
    throw new IndexCorrupt('a path is too long');
  }
  if (suffixBytes > from.left) throw new IndexCorrupt('it is cut short');
  const start = from.at;
  if (shared < entry.pathBytes) {
    const greater = suffixBytes > 0 && (from.buffer[start] ?? 0) > (entry.pathBuffer[shared] ?? 0);
    if (!greater) throw new IndexCorrupt('its order is wrong');
  }
  appendSuffix(entry, shared, from.buffer, start, suffixBytes);
  from.at += suffixBytes;
  return suffixBytes === 0;
}

function appendSuffix(entry: IndexEntry, shared: number, bytes: Uint8Array, start: number, length: number): void {
  if (shared + length > entry.pathBuffer.length) entry.setPath(entry.pathBuffer, shared, shared + length);
  const buffer = entry.pathBuffer;
  for (let i = 0; i < length; i++) buffer[shared + i] = bytes[start + i] ?? 0;
  entry.pathBytes = shared + length;
}

function readData(from: BytesIn, entry: IndexEntry, flags: number): void {
  entry.size = from.varint();
  if (flags & PLAIN) {
    entry.dataOffset = checkedNumber(entry.headerOffset + HEADER_BYTES);
    entry.dataBytes = entry.size;
    return;
  }
  entry.dataOffset = checkedNumber(entry.headerOffset + from.varint());
  entry.dataBytes = from.varint();
}

function readOwnerAndTime(from: BytesIn, entry: IndexEntry, flags: number, extras: number): void {
  if (!(flags & SAME_OWNER)) {
    entry.mode = from.varint();
    entry.uid = from.varint();
    entry.gid = from.varint();
  }
  if (flags & SAME_TIME) return;
  const seconds = from.signed() + (extras & ABSOLUTE_TIME ? 0 : entry.seconds);
  if (!Number.isSafeInteger(seconds)) throw new IndexCorrupt('a number is too large');
  entry.seconds = seconds;
  entry.nanos = flags & NANOS ? from.varint() : 0;
  if (entry.nanos >= SECOND_IN_NANOS) throw new IndexCorrupt('a number is too large');
}

function readExtras(from: BytesIn, entry: IndexEntry, extras: number): void {
  entry.link = extras & LINK ? from.bytes(from.varint()) : null;
  entry.major = extras & DEVICE ? from.varint() : -1;
  entry.minor = extras & DEVICE ? from.varint() : -1;
}
