/**
 * One header block of a tar archive, in any of its forms: v7, POSIX ustar (IEEE 1003.1, pax, "ustar Interchange
 * Format") and GNU (https://www.gnu.org/software/tar/manual/html_node/Standard.html).
 *
 *       0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8 | 156 typeflag 1
 *     157 linkname 100 | 257 magic 6 | 263 version 2 | 265 uname 32 | 297 gname 32 | 329 devmajor 8 | 337 devminor 8
 *     345 prefix 155 (ustar), or 386 sparse map 4 × 24 | 482 more of it 1 | 483 real size 12 (GNU)
 */
import { BrokenTar } from './tar-errors.ts';

export const BLOCK_BYTES = 512;

/** Fields as [offset, length]. */
export const FIELDS = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  typeflag: [156, 1],
  link: [157, 100],
  magic: [257, 8],
  major: [329, 8],
  minor: [337, 8],
  prefix: [345, 155],
  oldSparse: [386, 109],
} as const satisfies Record<string, readonly [number, number]>;

export type Field = readonly [offset: number, length: number];

const SPACE = 0x20;
const ZERO = 0x30;
const SLASH = 0x2f;

const NO_TEXT = new Uint8Array(0);
const NO_DEVICE = { major: 0, minor: 0 };

export interface TarHeader {
  readonly format: 'v7' | 'ustar' | 'gnu';
  /** One character; NUL, of the oldest archives, is told as '0'. */
  readonly typeflag: string;
  readonly name: Uint8Array;
  readonly link: Uint8Array;
  /** NaN where the field holds no number. */
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: number;
  readonly device: { readonly major: number; readonly minor: number };
  /** Of an old GNU sparse file: a copy of its fields, from the map to the size with the holes; else null. */
  readonly oldSparse: Uint8Array | null;
}

/** Reads the block that `bytes` begin with (at least {@link BLOCK_BYTES}); what it gives keeps nothing of `bytes`. */
export function parseTarHeader(bytes: Uint8Array): TarHeader | 'zeros' | 'broken' {
  const sum = sumOf(bytes);
  if (sum === 0) return 'zeros';
  if (!hasChecksum(bytes, sum)) return 'broken';
  const format = formatOf(bytes);
  const typeflag = String.fromCharCode(bytes[FIELDS.typeflag[0]] || ZERO);
  return {
    format,
    typeflag,
    name: nameOf(bytes, format),
    link: textField(bytes, FIELDS.link),
    size: numberField(bytes, FIELDS.size),
    mode: numberField(bytes, FIELDS.mode) & 0o7777,
    uid: numberField(bytes, FIELDS.uid) || 0,
    gid: numberField(bytes, FIELDS.gid) || 0,
    mtime: numberField(bytes, FIELDS.mtime) || 0,
    device: typeflag === '3' || typeflag === '4' ? deviceOf(bytes) : NO_DEVICE,
    oldSparse: typeflag === 'S' ? bytes.slice(FIELDS.oldSparse[0], FIELDS.oldSparse[0] + FIELDS.oldSparse[1]) : null,
  };
}

function deviceOf(bytes: Uint8Array): TarHeader['device'] {
  return { major: numberField(bytes, FIELDS.major) || 0, minor: numberField(bytes, FIELDS.minor) || 0 };
}

/**
 * Returns a number: octal digits after blanks, up to a blank, as GNU tar reads them, so digits after a NUL do not count;
 * an empty field is 0. Where the first bit is set, a two's complement of the other bits, most significant first (GNU,
 * star). NaN for anything else and for what a double cannot hold exactly.
 */
export function numberField(bytes: Uint8Array, [offset, length]: Field): number {
  const first = bytes[offset] ?? 0;
  const value = first & 0x80 ? base256(bytes, offset, length) : octal(bytes, offset, length);
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

function base256(bytes: Uint8Array, offset: number, length: number): number {
  const first = (bytes[offset] ?? 0) & 0x7f;
  let value = first & 0x40 ? first - 0x80 : first;
  for (let at = offset + 1; at < offset + length; at++) value = value * 256 + (bytes[at] ?? 0);
  return value;
}

function octal(bytes: Uint8Array, offset: number, length: number): number {
  const end = offset + length;
  // An old program wrote a NUL first where the field before it was full. GNU tar steps over that one, and no other.
  let at = bytes[offset] === 0 ? offset + 1 : offset;
  while (at < end && bytes[at] === SPACE) at++;
  let value = 0;
  for (; at < end && !isBlank(bytes[at]); at++) {
    const digit = (bytes[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 7) return Number.NaN;
    value = value * 8 + digit;
  }
  return value;
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === 0;
}

/** Up to the first NUL or the field's end. A copy. Most links and many other fields are empty, and cost nothing. */
export function textField(bytes: Uint8Array, [offset, length]: Field): Uint8Array {
  if (bytes[offset] === 0) return NO_TEXT;
  return untilNul(bytes.subarray(offset, offset + length));
}

/** Up to the first NUL, if there is one. A copy. */
export function untilNul(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return bytes.slice(0, end < 0 ? bytes.length : end);
}

/**
 * The sum of the block's bytes; 0 for zeros alone. Four at once, as two pairs of 16 bits that cannot overflow: the sum
 * is most of what a member of few bytes costs.
 */
export function sumOf(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, BLOCK_BYTES);
  let pairs = 0;
  for (let at = 0; at < BLOCK_BYTES; at += 4) {
    const four = view.getUint32(at);
    pairs += (four & 0xff00ff) + ((four >>> 8) & 0xff00ff);
  }
  return (pairs & 0xffff) + Math.floor(pairs / 0x10000);
}

/** The checksum is the sum with its own field taken for spaces. Some old programs summed signed bytes. */
function hasChecksum(bytes: Uint8Array, sum: number): boolean {
  const [offset, length] = FIELDS.checksum;
  const told = octal(bytes, offset, length);
  let unsigned = sum;
  for (let at = offset; at < offset + length; at++) unsigned += SPACE - (bytes[at] ?? 0);
  if (told === unsigned) return true;
  let signed = unsigned;
  for (let at = 0; at < BLOCK_BYTES; at++) {
    const inField = at >= offset && at < offset + length;
    if (!inField && (bytes[at] ?? 0) > 0x7f) signed -= 0x100;
  }
  return told === signed;
}

/** "ustar" and a NUL are POSIX's, "ustar" and spaces GNU's, who wrote the field before POSIX decided on it. */
function formatOf(bytes: Uint8Array): TarHeader['format'] {
  const [at] = FIELDS.magic;
  const isUstar =
    bytes[at] === 0x75 &&
    bytes[at + 1] === 0x73 &&
    bytes[at + 2] === 0x74 &&
    bytes[at + 3] === 0x61 &&
    bytes[at + 4] === 0x72;
  if (!isUstar) return 'v7';
  return bytes[at + 5] === SPACE && bytes[at + 6] === SPACE ? 'gnu' : 'ustar';
}

/** GNU keeps times and a sparse map where ustar has the prefix. */
function nameOf(bytes: Uint8Array, format: TarHeader['format']): Uint8Array {
  const name = textField(bytes, FIELDS.name);
  if (format !== 'ustar' || bytes[FIELDS.prefix[0]] === 0) return name;
  const prefix = textField(bytes, FIELDS.prefix);
  const whole = new Uint8Array(prefix.length + 1 + name.length);
  whole.set(prefix);
  whole[prefix.length] = SLASH;
  whole.set(name, prefix.length + 1);
  return whole;
}

/** `what`, for the reason: whose size it is. */
export function checkSize(size: number, what: string): number {
  if (size >= 0) return size;
  throw new BrokenTar(`${what} is no number that can be`);
}

/** `bytes` and the padding to whole blocks. */
export function paddedBytes(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}
