/**
 * Extended headers of the pax format (IEEE 1003.1, pax, "pax Extended Header"): records of the form
 * `LENGTH KEY=VALUE\n`, LENGTH counting all of the record in decimal.
 */
import type { ByteReader } from '../shared/byte-reader.ts';
import { SPARSE_MAP_BYTES, SPARSE_SEGMENTS, TAR_PATH_BYTES, TAR_RECORD_HEAD_BYTES } from '../shared/limits.ts';
import { BrokenTar } from './tar-errors.ts';

/** What we use of them; the others (owners' names, other times, attributes) are stepped over. */
const KNOWN = new Set([
  'path',
  'linkpath',
  'size',
  'mtime',
  'uid',
  'gid',
  'GNU.sparse.major',
  'GNU.sparse.minor',
  'GNU.sparse.name',
  'GNU.sparse.size',
  'GNU.sparse.realsize',
  'GNU.sparse.numblocks',
  'GNU.sparse.map',
  'SCHILY.realsize',
]);

/** Of global headers these are not taken: they describe one file. */
const OF_ONE_FILE = /^GNU\.sparse\.|^SCHILY\.realsize$/;

const SPACE = 0x20;
const EQUALS = 0x3d;
const NEWLINE = 0x0a;
const MINUS = 0x2d;
const ZERO = 0x30;

export type PaxValues = Map<string, Uint8Array>;

/** Returns the value that counts for a member; undefined where there is none, or an empty one. */
export type PaxLookUp = (key: string) => Uint8Array | undefined;

/** What the extended headers before a member say. An empty value takes away what a global header says. */
export interface PaxMember {
  readonly values: PaxValues;
  /** Offsets and lengths by turns, as GNU.sparse 0.0 repeats them; NaN for what is out of turn or no number. */
  readonly sparsePairs: number[];
}

/** Takes a record. `value` is a view of the header's data. */
export type TakeRecord = (key: string, value: Uint8Array) => void;

/** Takes the records of an extended header of one member. Later ones win. */
export function recordsOfMember({ values, sparsePairs }: PaxMember): TakeRecord {
  return (key, value) => {
    if (KNOWN.has(key)) values.set(key, value.slice(0, usedBytesOf(key)));
    else if (key === 'GNU.sparse.offset') addToPairs(sparsePairs, 0, value);
    else if (key === 'GNU.sparse.numbytes') addToPairs(sparsePairs, 1, value);
  };
}

/** A map of one pair too many is refused when the member is read, so further pairs need not be held. */
function addToPairs(pairs: number[], turn: 0 | 1, value: Uint8Array): void {
  if (pairs.length > 2 * SPARSE_SEGMENTS) return;
  pairs.push(pairs.length % 2 === turn ? paxInteger(value) : Number.NaN);
}

/** Takes the records of a global header: an empty value takes away. */
export function recordsOfArchive(globals: PaxValues): TakeRecord {
  return (key, value) => {
    if (!KNOWN.has(key) || OF_ONE_FILE.test(key)) return;
    if (value.length > 0) globals.set(key, value.slice(0, usedBytesOf(key)));
    else globals.delete(key);
  };
}

/**
 * Passes on the records of `data`. The first malformed record ends them, and those before it count, as in GNU tar: only
 * what the header says of its member is lost, the place of the member is known.
 */
export function takeRecords(data: Uint8Array, take: TakeRecord): void {
  for (let at = 0; at < data.length; ) {
    const head = recordHead(data.subarray(at), data.length - at);
    if (!head || data[at + head.length - 1] !== NEWLINE) return;
    take(head.key, data.subarray(at + head.valueAt, at + head.length - 1));
    at += head.length;
  }
}

/**
 * The same for a header of `bytes` that is not held: values that are not used are stepped over. Consumes the header's
 * data, without their padding. Throws {@link BrokenTar} where the archive ends within them.
 */
export async function takeRecordsOf(reader: ByteReader, bytes: number, take: TakeRecord): Promise<void> {
  const end = reader.position + bytes;
  for (let head = await nextHead(reader, end); head; head = await nextHead(reader, end)) {
    const valueBytes = head.length - 1 - head.valueAt;
    const usedBytes = Math.min(valueBytes, usedBytesOf(head.key));
    await stepOverExtended(reader, head.valueAt);
    const value = (await reader.fill(usedBytes)).slice(0, usedBytes);
    await stepOverExtended(reader, valueBytes);
    if ((await reader.fill(1))[0] !== NEWLINE) break;
    reader.consume(1);
    take(head.key, value);
  }
  await stepOverExtended(reader, end - reader.position);
}

async function nextHead(reader: ByteReader, end: number): Promise<RecordHead | null> {
  const left = end - reader.position;
  const bytes = Math.min(left, TAR_RECORD_HEAD_BYTES);
  return recordHead((await reader.fill(bytes)).subarray(0, bytes), left);
}

/** Steps over `bytes` of an extended header. Throws {@link BrokenTar} where the archive ends within them. */
export async function stepOverExtended(reader: ByteReader, bytes: number): Promise<void> {
  if (!(await reader.skip(bytes))) throw new BrokenTar('the archive ends within an extended header');
}

/** Bytes of a value that are kept. A longer sparse map is rejected when the member is read; a longer path is cut. */
function usedBytesOf(key: string): number {
  if (key === 'GNU.sparse.map') return SPARSE_MAP_BYTES + 1;
  return KNOWN.has(key) || key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes' ? TAR_PATH_BYTES : 0;
}

interface RecordHead {
  readonly key: string;
  /** Length of the whole record. */
  readonly length: number;
  readonly valueAt: number;
}

/** Reads how a record begins. Null at the end, at NULs (some programs count them in), and for what is no record. */
function recordHead(data: Uint8Array, left: number): RecordHead | null {
  if (data.length === 0 || data[0] === 0) return null;
  const blank = data.indexOf(SPACE);
  const length = blank < 0 ? Number.NaN : paxInteger(data.subarray(0, blank));
  const equals = data.indexOf(EQUALS, blank);
  const isRecord = length <= left && equals > blank && equals < length - 1;
  return isRecord ? { key: ascii(data.subarray(blank + 1, equals)), length, valueAt: equals + 1 } : null;
}

/** Keys and numbers are short; of anything longer the beginning is enough to know that it is none. */
const TEXT_CHARS = 64;

/** A loop: spread arguments made this a sixth of the whole scan. */
function ascii(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < Math.min(bytes.length, TEXT_CHARS); at++) text += String.fromCharCode(bytes[at] ?? 0);
  return text;
}

/** A decimal integer; NaN for anything else and for what a double cannot hold exactly. */
export function paxInteger(value: Uint8Array): number {
  const isNegative = value[0] === MINUS;
  const begin = isNegative ? 1 : 0;
  if (value.length === begin) return Number.NaN;
  let number = 0;
  for (let at = begin; at < value.length; at++) {
    const digit = (value[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) return Number.NaN;
    number = number * 10 + digit;
    if (number > Number.MAX_SAFE_INTEGER) return Number.NaN;
  }
  return isNegative ? 0 - number : number;
}

export function paxIntegerOr(value: Uint8Array | undefined, otherwise: number): number {
  const number = value ? paxInteger(value) : otherwise;
  return Number.isNaN(number) ? otherwise : number;
}

/**
 * A time: decimal, perhaps negative, perhaps with a fraction of any length, of which nanoseconds are kept, rounded
 * down. Null for anything else.
 */
export function paxTime(value: Uint8Array): { seconds: number; nanos: number } | null {
  const [, sign, whole = '', fraction = ''] = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(ascii(value)) ?? [];
  if (sign === undefined) return null;
  const seconds = Number(whole);
  const nanos = Number(fraction.slice(0, 9).padEnd(9, '0'));
  if (sign === '') return { seconds, nanos };
  const below = nanos + (/[1-9]/.test(fraction.slice(9)) ? 1 : 0);
  return below === 0 ? { seconds: 0 - seconds, nanos: 0 } : { seconds: -seconds - 1, nanos: 1e9 - below };
}
