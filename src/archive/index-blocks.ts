import { INDEX_BLOCK_MEMBERS } from '../shared/limits.ts';
import { BytesIn, BytesOut } from './index-bytes.ts';
import type { Member } from './member.ts';
import { IndexEntry, readEntry, writeEntry } from './member-codec.ts';
import { compareToKey, type MemberKey, sharedBytes } from './member-order.ts';

/** A run of entries, and where it begins in the order. */
export interface RawBlock {
  /** After every member of the block before, and no later than the first of this one; as short as such a path can be. */
  readonly key: MemberKey;
  /** Valid until the next entry is added. */
  readonly bytes: Uint8Array;
}

/** Gathers sorted entries into blocks. The first one of a block follows nothing, so that a block is read alone. */
export class BlockBuilder {
  readonly #out = new BytesOut(64 * 1024);
  readonly #previous = new IndexEntry();
  #key: MemberKey = { path: new Uint8Array(0), headerOffset: 0 };
  #entries = 0;
  #isFirst = true;

  add(entry: IndexEntry): void {
    if (this.#entries === 0) this.#begin(entry);
    writeEntry(this.#out, this.#previous, entry);
    this.#entries++;
  }

  /** Whether the block may end here: it has that many bytes, and members enough. */
  isFull(bytes: number): boolean {
    return this.#out.length >= bytes && this.#entries >= INDEX_BLOCK_MEMBERS;
  }

  get isEmpty(): boolean {
    return this.#entries === 0;
  }

  take(): RawBlock {
    this.#entries = 0;
    return { key: this.#key, bytes: this.#out.written };
  }

  #begin(entry: IndexEntry): void {
    if (!this.#isFirst) this.#key = keyBetween(this.#previous, entry);
    this.#isFirst = false;
    this.#out.clear();
    this.#previous.clear();
  }
}

/** The shortest key after `last` and not after `first`. Between two members of one path only the offset tells them apart. */
function keyBetween(last: IndexEntry, first: IndexEntry): MemberKey {
  const shared = sharedBytes(last.pathBuffer, last.pathBytes, first.pathBuffer, first.pathBytes);
  if (shared === first.pathBytes) {
    return { path: first.pathBuffer.slice(0, shared), headerOffset: first.headerOffset };
  }
  return { path: first.pathBuffer.slice(0, shared + 1), headerOffset: 0 };
}

/** Reads a block's entries one by one, all in one object: a block may hold more paths than memory does. */
export class BlockReader {
  readonly #from: BytesIn;
  readonly entry = new IndexEntry();

  constructor(raw: Uint8Array) {
    this.#from = new BytesIn(raw);
  }

  /** Goes to the next entry; false at the end. Throws IndexCorrupt. */
  next(): boolean {
    if (this.#from.left === 0) return false;
    readEntry(this.#from, this.entry);
    return true;
  }

  /** Goes to the first entry that is not before `key`; false where there is none. */
  seek(key: MemberKey): boolean {
    while (this.next()) if (compareToKey(this.entry, key) >= 0) return true;
    return false;
  }

  /** The last member of that path before `key` (whose path it is); null where there is none. */
  lastBefore(key: MemberKey): Member | null {
    let found: Member | null = null;
    while (this.next()) {
      if (compareToKey(this.entry, key) >= 0) break;
      if (this.#hasPath(key.path)) found = this.entry.member();
    }
    return found;
  }

  #hasPath(path: Uint8Array): boolean {
    const { pathBuffer, pathBytes } = this.entry;
    return pathBytes === path.length && sharedBytes(pathBuffer, pathBytes, path, path.length) === pathBytes;
  }
}
