/** The directory of blocks in an index's root: where each block begins in the order, and where it lies. */
import { INDEX_LARGEST_BLOCK_BYTES, INDEX_LARGEST_ROOT_BYTES } from '../shared/limits.ts';
import type { ByteSpan } from '../shared/seek-points.ts';
import { type BytesIn, BytesOut } from './index-bytes.ts';
import { IndexCorrupt } from './index-errors.ts';
import { comparePaths, type MemberKey, sharedBytes } from './member-order.ts';

/** Shared bytes, suffix length, header offset, stored bytes, raw bytes: a byte each at least; and the checksum. */
const SMALLEST_ENTRY_BYTES = 9;

export interface StoredBlock {
  readonly key: MemberKey;
  readonly storedBytes: number;
  readonly rawBytes: number;
  /** Of the stored bytes. */
  readonly crc32: number;
}

/** Writes blocks down as they are stored, one behind another from the object's start. */
export class DirectoryBuilder {
  readonly #out = new BytesOut();
  #previous: Uint8Array = new Uint8Array(0);
  blocks = 0;
  storedBytes = 0;
  /** Bytes of the keys as a reader holds them. */
  keyBytes = 0;

  add({ key, storedBytes, rawBytes, crc32 }: StoredBlock): void {
    const shared = sharedBytes(this.#previous, this.#previous.length, key.path, key.path.length);
    this.#out.varint(shared);
    this.#out.varint(key.path.length - shared);
    this.#out.bytes(key.path, shared);
    this.#out.varint(key.headerOffset);
    this.#out.varint(storedBytes);
    this.#out.varint(rawBytes);
    this.#out.uint32(crc32);
    this.#previous = key.path;
    this.blocks++;
    this.storedBytes += storedBytes;
    this.keyBytes += key.path.length;
  }

  writeTo(out: BytesOut): void {
    out.varint(this.blocks);
    out.bytes(this.#out.written);
  }
}

/** The same, read: flat arrays, since a million members make more than a thousand blocks. */
export class Directory {
  readonly blocks: number;
  readonly #keys = new BytesOut();
  readonly #keyEnds: Uint32Array;
  readonly #keyOffsets: Float64Array;
  readonly #starts: Float64Array;
  readonly #rawBytes: Uint32Array;
  readonly #crcs: Uint32Array;

  /** Throws IndexCorrupt where the blocks do not fill `storedBytes` exactly, or are out of order. */
  constructor(from: BytesIn, storedBytes: number) {
    this.blocks = from.count(SMALLEST_ENTRY_BYTES);
    this.#keyEnds = new Uint32Array(this.blocks);
    this.#keyOffsets = new Float64Array(this.blocks);
    this.#starts = new Float64Array(this.blocks + 1);
    this.#rawBytes = new Uint32Array(this.blocks);
    this.#crcs = new Uint32Array(this.blocks);
    for (let block = 0; block < this.blocks; block++) this.#readBlock(from, block);
    if ((this.#starts[this.blocks] ?? 0) !== storedBytes) throw new IndexCorrupt('its blocks do not fill it');
  }

  #readBlock(from: BytesIn, block: number): void {
    this.#readKey(from, block);
    const stored = from.varint();
    const raw = from.varint();
    if (raw === 0 || raw > INDEX_LARGEST_BLOCK_BYTES || stored === 0 || stored > 2 * INDEX_LARGEST_BLOCK_BYTES) {
      throw new IndexCorrupt('a block has a size that none has');
    }
    this.#starts[block + 1] = (this.#starts[block] ?? 0) + stored;
    this.#rawBytes[block] = raw;
    this.#crcs[block] = from.uint32();
    if (block > 0 && this.#compareBlocks(block - 1, block) > 0) throw new IndexCorrupt('its order is wrong');
  }

  #readKey(from: BytesIn, block: number): void {
    const shared = from.varint();
    const suffix = from.bytes(from.varint());
    const previousStart = block > 1 ? (this.#keyEnds[block - 2] ?? 0) : 0;
    if (shared > this.#keys.length - previousStart) throw new IndexCorrupt('a path is too long');
    if (this.#keys.length + shared + suffix.length > INDEX_LARGEST_ROOT_BYTES) {
      throw new IndexCorrupt('its directory is too long');
    }
    this.#keys.again(previousStart, shared);
    this.#keys.bytes(suffix);
    this.#keyEnds[block] = this.#keys.length;
    this.#keyOffsets[block] = from.varint();
  }

  /** A view. */
  key(block: number): MemberKey {
    const start = block > 0 ? (this.#keyEnds[block - 1] ?? 0) : 0;
    const path = this.#keys.buffer.subarray(start, this.#keyEnds[block]);
    return { path, headerOffset: this.#keyOffsets[block] ?? 0 };
  }

  span(block: number): ByteSpan {
    const offset = this.#starts[block] ?? 0;
    return { offset, length: (this.#starts[block + 1] ?? 0) - offset };
  }

  rawBytes(block: number): number {
    return this.#rawBytes[block] ?? 0;
  }

  crc32(block: number): number {
    return this.#crcs[block] ?? 0;
  }

  get heldBytes(): number {
    return this.#keys.buffer.length + this.blocks * (4 + 8 + 8 + 4 + 4);
  }

  /** The block in which a member of that key is, or would be; the first where the key is before all. */
  blockOf(key: MemberKey): number {
    return Math.max(this.#countWhere((block) => this.#compareToKey(block, key) <= 0) - 1, 0);
  }

  /** The block with the last member before `key`. */
  blockBefore(key: MemberKey): number {
    return Math.max(this.#countWhere((block) => this.#compareToKey(block, key) < 0) - 1, 0);
  }

  /** How many blocks from the first on are so. */
  #countWhere(holds: (block: number) => boolean): number {
    let low = 0;
    let high = this.blocks;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (holds(middle)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #compareToKey(block: number, key: MemberKey): number {
    const { path, headerOffset } = this.key(block);
    return comparePaths(path, path.length, key.path, key.path.length) || headerOffset - key.headerOffset;
  }

  #compareBlocks(a: number, b: number): number {
    return this.#compareToKey(a, this.key(b));
  }
}
