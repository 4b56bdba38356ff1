/**
 * Extended headers of the pax format (IEEE 1003.1, pax, "pax Extended Header"): records of the form
 * `LENGTH KEY=VALUE\n`, LENGTH counting all of the record in decimal.
 */
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

/** Gives the value that counts for a member; undefined where there is none, or an empty one. */
export type PaxLookUp = (key: string) => Uint8Array | undefined;

/** What the extended headers before a member say. An empty value takes away what a global header says. */
export interface PaxMember {
  readonly values: PaxValues;
  /** Offsets and lengths by turns, as GNU.sparse 0.0 repeats them; NaN for what is out of turn or no number. */
  readonly sparsePairs: number[];
}

/** Adds the records of an extended header of one member. Later ones win. */
export function addMemberRecords(data: Uint8Array, pax: PaxMember): void {
  for (const { key, value } of paxRecords(data)) {
    if (KNOWN.has(key)) pax.values.set(key, value.slice());
    else if (key === 'GNU.sparse.offset') addToPairs(pax.sparsePairs, 0, value);
    else if (key === 'GNU.sparse.numbytes') addToPairs(pax.sparsePairs, 1, value);
  }
}

function addToPairs(pairs: number[], turn: 0 | 1, value: Uint8Array): void {
  pairs.push(pairs.length % 2 === turn ? paxInteger(value) : Number.NaN);
}

/** Adds the records of a global header: an empty value takes away. */
export function addGlobalRecords(data: Uint8Array, globals: PaxValues): void {
  for (const { key, value } of paxRecords(data)) {
    if (!KNOWN.has(key) || OF_ONE_FILE.test(key)) continue;
    if (value.length > 0) globals.set(key, value.slice());
    else globals.delete(key);
  }
}

interface PaxRecord {
  readonly key: string;
  /** A view of the data. */
  readonly value: Uint8Array;
}

/** Throws {@link BrokenTar} for what is no record; NULs at the end are padding that some programs count in. */
function* paxRecords(data: Uint8Array): Generator<PaxRecord, void, undefined> {
  let at = 0;
  while (at < data.length && data[at] !== 0) {
    const blank = data.indexOf(SPACE, at);
    const length = blank < 0 ? Number.NaN : paxInteger(data.subarray(at, blank));
    const end = at + length;
    const equals = data.indexOf(EQUALS, blank);
    const isRecord = end <= data.length && equals > blank && equals < end && data[end - 1] === NEWLINE;
    if (!isRecord) throw new BrokenTar('an extended header is malformed');
    yield { key: ascii(data.subarray(blank + 1, equals)), value: data.subarray(equals + 1, end - 1) };
    at = end;
  }
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
