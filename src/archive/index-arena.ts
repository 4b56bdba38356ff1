import { release } from '../shared/bytes.ts';
import { INDEX_NAME_BYTES } from '../shared/limits.ts';
import { BytesIn, BytesOut } from './index-bytes.ts';
import { IndexFull } from './index-errors.ts';
import type { Member } from './member.ts';
import { ENTRY_NUMBERS_BYTES, IndexEntry, readEntry, writeEntry } from './member-codec.ts';

const FIRST_BYTES = 16 * 1024;
const FIRST_OFFSETS = 256;

/**
 * Members as they come, each an entry that follows nothing, one behind another in one buffer, with an array of where
 * they begin: what a sort moves are four bytes a member.
 */
export class MemberArena {
  readonly #largestBytes: number;
  readonly #out: BytesOut;
  readonly #entry = new IndexEntry();
  readonly #nothing = new IndexEntry();
  #offsets = new Uint32Array(FIRST_OFFSETS);
  members = 0;

  constructor(largestBytes: number) {
    this.#largestBytes = largestBytes;
    this.#out = new BytesOut(Math.min(FIRST_BYTES, largestBytes));
  }

  /** Whether the member may be added now; an empty arena has room for any. Throws IndexFull for names that are too long. */
  hasRoom(member: Member): boolean {
    const nameBytes = member.path.length + (member.linkTarget?.length ?? 0);
    if (nameBytes > INDEX_NAME_BYTES) throw new IndexFull(`a name is longer than ${INDEX_NAME_BYTES} bytes`);
    return this.members === 0 || this.#out.length + nameBytes + ENTRY_NUMBERS_BYTES <= this.#largestBytes;
  }

  /** Throws a RangeError for numbers that no member has, and is as before then. */
  add(member: Member): void {
    const start = this.#out.length;
    this.#entry.setMember(member);
    this.#nothing.clear();
    try {
      writeEntry(this.#out, this.#nothing, this.#entry);
    } catch (error) {
      this.#out.length = start;
      throw error;
    }
    this.#noteOffset(start);
  }

  #noteOffset(start: number): void {
    if (this.members === this.#offsets.length) {
      const grown = new Uint32Array(2 * this.members);
      grown.set(this.#offsets);
      this.#offsets = grown;
    }
    this.#offsets[this.members++] = start;
  }

  /** All entries in order, each in the same object. Nothing may be added meanwhile. */
  *sorted(): Generator<IndexEntry, void, undefined> {
    const entry = new IndexEntry();
    const { buffer, length } = this.#out;
    const offsets = this.#offsets.subarray(0, this.members);
    offsets.sort((a, b) => compareEntries(buffer, a, b));
    const from = new BytesIn(buffer, 0, length);
    for (const offset of offsets) {
      entry.clear();
      from.at = offset;
      readEntry(from, entry);
      yield entry;
    }
  }

  clear(): void {
    this.#out.clear();
    this.members = 0;
  }

  /** Gives the memory back; the arena is of no use then. */
  release(): void {
    this.#out.release();
    release(new Uint8Array(this.#offsets.buffer));
    this.#offsets = new Uint32Array(0);
    this.members = 0;
  }
}

/** Compares where they lie: behind a zero (they share nothing with nothing) the path's length, the path, the offset. */
function compareEntries(buffer: Uint8Array, a: number, b: number): number {
  const aLength = buffer[a + 1] ?? 0;
  const bLength = buffer[b + 1] ?? 0;
  if (aLength >= 0x80 || bLength >= 0x80) return compareLongEntries(buffer, a, b);
  const shorter = Math.min(aLength, bLength);
  for (let i = 2; i < shorter + 2; i++) {
    const difference = (buffer[a + i] ?? 0) - (buffer[b + i] ?? 0);
    if (difference !== 0) return difference;
  }
  return aLength - bLength || offsetAt(buffer, a + 2 + aLength) - offsetAt(buffer, b + 2 + bLength);
}

/** The same where a length takes more than a byte. */
function compareLongEntries(buffer: Uint8Array, a: number, b: number): number {
  const left = new BytesIn(buffer, a + 1);
  const right = new BytesIn(buffer, b + 1);
  const leftPath = left.bytes(left.varint());
  const rightPath = right.bytes(right.varint());
  const shorter = Math.min(leftPath.length, rightPath.length);
  for (let i = 0; i < shorter; i++) {
    const difference = (leftPath[i] ?? 0) - (rightPath[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return leftPath.length - rightPath.length || left.signed() - right.signed();
}

function offsetAt(buffer: Uint8Array, at: number): number {
  return new BytesIn(buffer, at).signed();
}
