/**
 * Headers of a fresh archive: ustar (IEEE 1003.1), with a pax header before one that cannot say it all. That is what
 * GNU tar, bsdtar and Python read without a question.
 */
import { concat, utf8 } from '../shared/bytes.ts';
import type { Member, MemberType } from './member.ts';
import { BLOCK_BYTES, FIELDS, type Field, paddedBytes, sumOf } from './tar-header.ts';

/** Two blocks of zeros. */
export const TAR_END = new Uint8Array(2 * BLOCK_BYTES);

const SLASH = 0x2f;
const NAME_BYTES = FIELDS.name[1];
/** Octal digits, and a NUL at the end, in fields of 8 and 12 bytes. */
const LARGEST_SHORT = 8 ** 7 - 1;
const LARGEST_LONG = 8 ** 11 - 1;
const NANOS_DIGITS = 9;

const TYPEFLAGS: Readonly<Record<MemberType, string>> = {
  file: '0',
  sparse: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** What a header tells; a {@link Member} of any archive will do. */
export type MemberToWrite = Pick<
  Member,
  'path' | 'type' | 'size' | 'mode' | 'uid' | 'gid' | 'mtime' | 'linkTarget' | 'device'
>;

/**
 * What stands before a member's data: its header, and a pax header where it needs one. A sparse member becomes a file
 * of its whole size; what is no file has no data, whatever its size says. `size` bytes and {@link tarPadding} follow.
 */
export function tarHeader(member: MemberToWrite): Uint8Array {
  const path = member.type === 'directory' ? withSlash(member.path) : member.path;
  const plain = { ...member, path, size: hasData(member.type) ? member.size : 0 };
  const records = paxRecordsOf(plain);
  const header = ustarHeader(plain, TYPEFLAGS[member.type]);
  if (records.length === 0) return header;
  const data = concat(records);
  return concat([ustarHeader(paxHeaderOf(data.length), 'x'), data, tarPadding(data.length), header]);
}

/** What follows `size` bytes of data: zeros up to a whole block. */
export function tarPadding(size: number): Uint8Array {
  return new Uint8Array(paddedBytes(size) - size);
}

function hasData(type: MemberType): boolean {
  return type === 'file' || type === 'sparse';
}

function withSlash(path: Uint8Array): Uint8Array {
  return path.at(-1) === SLASH ? path : concat([path, Uint8Array.of(SLASH)]);
}

function paxHeaderOf(size: number): MemberToWrite {
  const none = { seconds: 0, nanos: 0 };
  const path = utf8('PaxHeader');
  return { path, type: 'file', size, mode: 0o644, uid: 0, gid: 0, mtime: none, linkTarget: null, device: null };
}

/** Of numbers and names that do not fit their field, as much as does: a pax header says the rest. */
function ustarHeader(member: MemberToWrite, typeflag: string): Uint8Array {
  const header = new Uint8Array(BLOCK_BYTES);
  header.set(member.path.subarray(0, NAME_BYTES));
  setOctal(header, FIELDS.mode, member.mode);
  setOctal(header, FIELDS.uid, member.uid);
  setOctal(header, FIELDS.gid, member.gid);
  setOctal(header, FIELDS.size, member.size);
  setOctal(header, FIELDS.mtime, member.mtime.seconds);
  header.set(utf8(typeflag), FIELDS.typeflag[0]);
  header.set((member.linkTarget ?? new Uint8Array()).subarray(0, NAME_BYTES), FIELDS.link[0]);
  header.set(utf8('ustar\x0000'), FIELDS.magic[0]);
  setDevice(header, FIELDS.major, member.device?.major ?? 0);
  setDevice(header, FIELDS.minor, member.device?.minor ?? 0);
  setChecksum(header);
  return header;
}

/** A number that does not fit becomes 0. */
function setOctal(header: Uint8Array, [offset, length]: Field, value: number): void {
  const fits = value >= 0 && value < 8 ** (length - 1);
  header.set(utf8((fits ? value : 0).toString(8).padStart(length - 1, '0')), offset);
}

/** pax has no record for devices; in the field a number with the first bit set goes on in bytes (GNU, libarchive, Python). */
function setDevice(header: Uint8Array, field: Field, value: number): void {
  if (value >= 0 && value <= LARGEST_SHORT) {
    setOctal(header, field, value);
    return;
  }
  const view = new DataView(header.buffer, field[0], field[1]);
  view.setBigInt64(0, BigInt(value));
  view.setUint8(0, view.getUint8(0) | 0x80);
}

/** The sum of all bytes, of the checksum's own as if they were spaces. */
function setChecksum(header: Uint8Array): void {
  const [offset, length] = FIELDS.checksum;
  header.fill(0x20, offset, offset + length);
  header.set(utf8(`${sumOf(header).toString(8).padStart(6, '0')}\0 `), offset);
}

function paxRecordsOf({ path, linkTarget, size, uid, gid, mtime }: MemberToWrite): Uint8Array[] {
  const names: [string, Uint8Array][] = [];
  if (needsRecord(path)) names.push(['path', path]);
  if (linkTarget && needsRecord(linkTarget)) names.push(['linkpath', linkTarget]);
  const records = names.map(([key, value]) => paxRecord(key, value));
  // pax text is UTF-8 unless it says otherwise, which it must say first.
  if (!names.every(([, value]) => isUtf8(value))) records.unshift(paxRecord('hdrcharset', utf8('BINARY')));
  if (size > LARGEST_LONG) records.push(paxRecord('size', utf8(String(size))));
  if (uid < 0 || uid > LARGEST_SHORT) records.push(paxRecord('uid', utf8(String(uid))));
  if (gid < 0 || gid > LARGEST_SHORT) records.push(paxRecord('gid', utf8(String(gid))));
  const isPlainTime = mtime.nanos === 0 && mtime.seconds >= 0 && mtime.seconds <= LARGEST_LONG;
  if (!isPlainTime) records.push(paxRecord('mtime', utf8(decimalTime(mtime))));
  return records;
}

/**
 * A name fits into its field as it is up to 100 bytes, if those mean the same everywhere: ASCII, or bytes that are no
 * text in UTF-8 anyway. One with a NUL would end there.
 */
function needsRecord(name: Uint8Array): boolean {
  if (name.length > NAME_BYTES || name.includes(0)) return true;
  return name.some((byte) => byte > 0x7f) && isUtf8(name);
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** The length counts itself. */
function paxRecord(key: string, value: Uint8Array): Uint8Array {
  const rest = concat([utf8(` ${key}=`), value, utf8('\n')]);
  let length = rest.length + 1;
  while (rest.length + String(length).length !== length) length = rest.length + String(length).length;
  return concat([utf8(String(length)), rest]);
}

/** Nanoseconds count forward, also before 1970: -2 s and 0.5 s on top are "-1.5". */
function decimalTime({ seconds, nanos }: Member['mtime']): string {
  const borrows = seconds < 0 && nanos > 0;
  const sign = seconds < 0 ? '-' : '';
  const whole = Math.abs(borrows ? seconds + 1 : seconds);
  const fraction = String(borrows ? 1e9 - nanos : nanos).padStart(NANOS_DIGITS, '0');
  return nanos === 0 ? `${sign}${whole}` : `${sign}${whole}.${fraction}`;
}
