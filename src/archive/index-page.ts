import { base64url, bytesFromBase64url } from '../shared/bytes.ts';
import { INDEX_NAME_BYTES, INDEX_PAGE_BLOCKS } from '../shared/limits.ts';
import { BytesIn, BytesOut } from './index-bytes.ts';
import type { Member } from './member.ts';
import type { IndexWalk, MemberIndex } from './member-index.ts';
import { compareKeys, type MemberKey, startsWith } from './member-order.ts';

export interface PageQuery {
  /** What the paths begin with. */
  readonly prefix: Uint8Array;
  /** Whether what lies deeper than the prefix is collapsed: of "src/lib/a.ts" and prefix "src/" the prefix "src/lib/". */
  readonly delimiter: boolean;
  /** The `next` of the page before; null for the first. */
  readonly after: MemberKey | null;
  /** Members and prefixes together, 1 or more. */
  readonly limit: number;
  /** Blocks to open, 1 or more; INDEX_PAGE_BLOCKS by default. */
  readonly maxBlocks?: number;
}

export interface IndexPage {
  readonly members: Member[];
  /** Collapsed ones, each with its slash at the end. */
  readonly prefixes: Uint8Array[];
  /** Where the next page goes on; null: there is no more. A page may be short, or empty, and have one. */
  readonly next: MemberKey | null;
}

const SLASH = 0x2f;

/** A page of the members whose path begins with the prefix, in order. Collapsed ones are leapt over, not read. */
export async function listPage(index: MemberIndex, query: PageQuery): Promise<IndexPage> {
  const { prefix, after, limit, maxBlocks = INDEX_PAGE_BLOCKS } = query;
  const members: Member[] = [];
  const prefixes: Uint8Array[] = [];
  const walk = index.walk(startOf(prefix, after));
  for (;;) {
    const found = await walk.next(maxBlocks);
    if (!found || !startsWith(found.path, prefix)) return { members, prefixes, next: null };
    if (!isMember(found) || members.length + prefixes.length >= limit) {
      return { members, prefixes, next: keyOf(found) };
    }
    const collapsed = query.delimiter ? collapse(found.path, prefix) : null;
    if (collapsed) leapOver(walk, collapsed, prefixes);
    else members.push(found);
  }
}

/** Pages begin where the prefix does, or after what was given. */
function startOf(prefix: Uint8Array, after: MemberKey | null): MemberKey {
  const start = { path: prefix, headerOffset: 0 };
  return after && compareKeys(after, start) > 0 ? after : start;
}

function isMember(found: Member | MemberKey): found is Member {
  return 'type' in found;
}

function keyOf({ path, headerOffset }: MemberKey): MemberKey {
  return { path, headerOffset };
}

/** The part of the path up to the first slash behind the prefix, with it; null where there is none. */
function collapse(path: Uint8Array, prefix: Uint8Array): Uint8Array | null {
  const slash = path.indexOf(SLASH, prefix.length);
  return slash < 0 ? null : path.slice(0, slash + 1);
}

function leapOver(walk: IndexWalk, collapsed: Uint8Array, prefixes: Uint8Array[]): void {
  prefixes.push(collapsed);
  const path = collapsed.slice();
  path[path.length - 1] = SLASH + 1;
  walk.leap({ path, headerOffset: 0 });
}

/** The next page's key as opaque text. */
export function encodeCursor({ path, headerOffset }: MemberKey): string {
  const out = new BytesOut(path.length + 8);
  out.varint(headerOffset);
  out.bytes(path);
  return base64url(out.written);
}

/** Throws a SyntaxError where `text` is none of ours. */
export function decodeCursor(text: string): MemberKey {
  if (text.length > 2 * INDEX_NAME_BYTES) throw new SyntaxError('the cursor is too long');
  try {
    const from = new BytesIn(bytesFromBase64url(text));
    return { headerOffset: from.varint(), path: from.bytes(from.left) };
  } catch (cause) {
    throw new SyntaxError('the cursor cannot be read', { cause });
  }
}
