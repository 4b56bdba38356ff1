/**
 * Spellings of a path in an archive: when two of them are the same. An archive spells a path as it likes ("a", "./a", "/a", "d//a"), and a hard
 * link may spell its target otherwise than the target does itself. An extraction makes one file of them, so they are one
 * path here: GNU tar drops everything up to the last "..", and leading slashes; empty segments and "." mean nothing.
 */
import { concat, utf8 } from '../shared/bytes.ts';
import type { Member } from './member.ts';
import type { MemberIndex } from './member-index.ts';
import { startsWith } from './member-order.ts';

const SLASH_BYTE = 0x2f;
const DOT = 0x2e;
const SLASH = utf8('/');
const HERE = utf8('./');

/** Prefixes that a search for odd spellings looks up. An archive of nothing but "././././…" must not cost more. */
const MOST_PREFIXES = 200;

/** The last member of exactly these bytes before `before`, a place in the archive. */
type Find = (path: Uint8Array) => Promise<Member | null>;

/**
 * Returns the last member of that path before `before`, a place in the archive, however either of them is spelt. Null
 * where there is none.
 */
export async function findSpelt(
  index: MemberIndex,
  path: Uint8Array,
  before = Number.POSITIVE_INFINITY,
): Promise<Member | null> {
  const find: Find = (spelling) => index.find(spelling, before);
  const segments = segmentsOf(path);
  const plain = concat(segments.flatMap((segment, place) => (place === 0 ? [segment] : [SLASH, segment])));
  const usual = [path, plain, concat([HERE, plain]), concat([SLASH, plain])];
  let last: Member | null = null;
  for (const spelling of usual) last = later(last, await find(spelling));
  return last ?? (segments.length > 0 ? await findOdd(index, segments, find) : null);
}

/** The path without what a request may add or leave out before it: "/" and "./", any number of times. */
export function withoutLead(path: Uint8Array): Uint8Array {
  let at = 0;
  for (;;) {
    if (path[at] === SLASH_BYTE) at += 1;
    else if (path[at] === DOT && path[at + 1] === SLASH_BYTE) at += 2;
    else return path.subarray(at);
  }
}

/** The segments that count: those after the last "..", without empty ones and ".". */
function segmentsOf(path: Uint8Array): Uint8Array[] {
  const segments = rawSegments(path);
  return segments
    .slice(segments.findLastIndex(isParent) + 1)
    .filter((segment) => segment.length > 0 && !(segment.length === 1 && segment[0] === DOT));
}

function rawSegments(path: Uint8Array): Uint8Array[] {
  const segments: Uint8Array[] = [];
  for (let at = 0; at <= path.length; ) {
    const slash = path.indexOf(SLASH_BYTE, at);
    const end = slash < 0 ? path.length : slash;
    segments.push(path.subarray(at, end));
    at = end + 1;
  }
  return segments;
}

function isParent(segment: Uint8Array): boolean {
  return segment.length === 2 && segment[0] === DOT && segment[1] === DOT;
}

/** Tries "/" and "./" wherever they may stand, as far as the index has members with such a beginning. */
async function findOdd(index: MemberIndex, segments: readonly Uint8Array[], find: Find): Promise<Member | null> {
  let last: Member | null = null;
  let left = MOST_PREFIXES;
  const prefixes: { readonly prefix: Uint8Array; readonly done: number }[] = [{ prefix: concat([]), done: 0 }];
  for (let next = prefixes.pop(); next && left > 0; next = prefixes.pop()) {
    const { prefix, done } = next;
    const segment = segments[done] ?? new Uint8Array();
    const deeper = [
      { prefix: concat([prefix, SLASH]), done },
      { prefix: concat([prefix, HERE]), done },
    ];
    if (done + 1 === segments.length) last = later(last, await find(concat([prefix, segment])));
    else deeper.push({ prefix: concat([prefix, segment, SLASH]), done: done + 1 });
    for (const one of deeper) {
      left -= 1;
      if (await beginsSome(index, one.prefix)) prefixes.push(one);
    }
  }
  return last;
}

async function beginsSome(index: MemberIndex, prefix: Uint8Array): Promise<boolean> {
  const first = await index.walk({ path: prefix, headerOffset: 0 }).next();
  return first !== null && startsWith(first.path, prefix);
}

function later(a: Member | null, b: Member | null): Member | null {
  return a && b ? (a.headerOffset >= b.headerOffset ? a : b) : (a ?? b);
}
