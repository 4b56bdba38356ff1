import { crc32 } from 'node:zlib';
import { INDEX_HELD_BLOCK_BYTES, INDEX_TAIL_BYTES } from '../shared/limits.ts';
import type { ByteSpan, Layer } from '../shared/seek-points.ts';
import { BlockReader } from './index-blocks.ts';
import { BytesIn } from './index-bytes.ts';
import type { Directory } from './index-directory.ts';
import { IndexCorrupt } from './index-errors.ts';
import {
  checkRoot,
  INDEX_FOOTER_BYTES,
  type IndexFooter,
  type IndexRoot,
  parseFooter,
  parseRoot,
} from './index-root.ts';
import type { Member, Stopped } from './member.ts';
import type { MemberKey } from './member-order.ts';

/** Where an index object is read, and what decodes its frames. */
export interface IndexSource {
  /** The object's last `bytes` (or all of a shorter one) and its size; null where there is no such object. */
  readTail(bytes: number): Promise<{ bytes: Uint8Array; size: number } | null>;
  read(span: ByteSpan): Promise<Uint8Array>;
  /** Throws where the frame does not hold exactly `contentBytes`, and allocates no more than that. */
  decompress(frame: Uint8Array, contentBytes: number): Uint8Array;
}

const FIRST: MemberKey = { path: new Uint8Array(0), headerOffset: 0 };
/** What an array of numbers takes for each. */
const NUMBER_BYTES = 8;

/**
 * The index of an archive's members, as the writer left it: the root in memory, and of the blocks those that came with
 * it and the last one read. It never changes, so that it may be kept and used by several requests at once.
 *
 * Everything throws IndexCorrupt where the object is not what was written; what the source throws comes as it is.
 */
export class MemberIndex {
  readonly members: number;
  /** Where reading the archive ended before its end, if it did. */
  readonly stopped: Stopped | null;
  /** From the outside in: how the stored object becomes the archive. */
  readonly layers: readonly Layer[];
  /** Blocks read from the source so far. */
  reads = 0;
  readonly #source: IndexSource;
  readonly #directory: Directory;
  readonly #tail: HeldBlocks;
  #lastBlock = -1;
  #lastRaw: Uint8Array = new Uint8Array(0);

  private constructor(source: IndexSource, root: IndexRoot, tail: HeldBlocks) {
    this.members = root.members;
    this.stopped = root.stopped;
    this.layers = root.layers;
    this.#source = source;
    this.#directory = root.directory;
    this.#tail = tail;
  }

  /** One read where the root is within the last INDEX_TAIL_BYTES, else two. null: there is no index. Throws IndexTooNew. */
  static async open(source: IndexSource): Promise<MemberIndex | null> {
    const tail = await source.readTail(INDEX_TAIL_BYTES);
    if (!tail) return null;
    const footer = parseFooter(tail.bytes, tail.size);
    const rootStart = tail.size - INDEX_FOOTER_BYTES - footer.rootBytes;
    const tailStart = tail.size - tail.bytes.length;
    const end = await bytesFrom(source, rootStart, tailStart, tail);
    const raw = decompressed(source, checkRoot(end, footer), footer.rootRawBytes);
    const root = parseRoot(new BytesIn(raw), rootStart);
    return new MemberIndex(source, root, heldBlocks(tail.bytes, tailStart, footer));
  }

  /** What it holds, in bytes, for the size of a cache. */
  get heldBytes(): number {
    const points = this.layers.reduce((sum, { points }) => sum + 2 * points.encoded.length, 0);
    return this.#directory.heldBytes + this.#tail.bytes.length + points * NUMBER_BYTES + INDEX_HELD_BLOCK_BYTES;
  }

  /** The last member of that path; with `before`, the last one whose header comes before that. One block, at most. */
  async find(path: Uint8Array, before = Number.POSITIVE_INFINITY): Promise<Member | null> {
    if (this.#directory.blocks === 0) return null;
    const key = { path, headerOffset: before };
    const block = await this.#openBlock(this.#directory.blockBefore(key));
    return block.lastBefore(key);
  }

  /** Members in order, from the first that is not before `key` on (null: from the first). Leaving it stops the reads. */
  async *from(key: MemberKey | null): AsyncGenerator<Member, void, undefined> {
    const walk = this.walk(key ?? FIRST);
    for (let member = await walk.next(); member; member = await walk.next()) yield member;
  }

  walk(key: MemberKey): IndexWalk {
    return new IndexWalk(this.#directory, (block) => this.#openBlock(block), key);
  }

  async #openBlock(block: number): Promise<BlockReader> {
    if (block === this.#lastBlock) return new BlockReader(this.#lastRaw);
    const stored = await this.#storedBlock(block);
    if (crc32(stored) !== this.#directory.crc32(block)) throw new IndexCorrupt('the checksum of a block is wrong');
    const raw = decompressed(this.#source, stored, this.#directory.rawBytes(block));
    if (raw.length <= INDEX_HELD_BLOCK_BYTES) {
      this.#lastBlock = block;
      this.#lastRaw = raw;
    }
    return new BlockReader(raw);
  }

  async #storedBlock(block: number): Promise<Uint8Array> {
    const span = this.#directory.span(block);
    const at = span.offset - this.#tail.start;
    if (at >= 0) return this.#tail.bytes.subarray(at, at + span.length);
    this.reads++;
    return await this.#source.read(span);
  }
}

/** A way through an index, which can leap forward. Not for two at once. */
export class IndexWalk {
  /** Blocks opened so far, from wherever they came. */
  blocks = 0;
  readonly #directory: Directory;
  readonly #open: (block: number) => Promise<BlockReader>;
  #block: number;
  #reader: BlockReader | null = null;
  /** Where to go on from; null: from where the reader stands. */
  #key: MemberKey | null;

  constructor(directory: Directory, open: (block: number) => Promise<BlockReader>, key: MemberKey) {
    this.#directory = directory;
    this.#open = open;
    this.#key = key;
    this.#block = directory.blockOf(key);
  }

  /**
   * The next member in order; null at the end. With `mostBlocks` it opens no block beyond that number, and says
   * instead from where another walk goes on: a key that is after all members before.
   */
  async next(): Promise<Member | null>;
  async next(mostBlocks: number): Promise<Member | MemberKey | null>;
  async next(mostBlocks = Number.POSITIVE_INFINITY): Promise<Member | MemberKey | null> {
    while (this.#block < this.#directory.blocks) {
      if (!this.#reader && this.blocks >= mostBlocks) return this.#position();
      this.#reader ??= await this.#openNext();
      if (this.#key ? this.#reader.seek(this.#key) : this.#reader.next()) {
        this.#key = null;
        return this.#reader.entry.member();
      }
      this.#reader = null;
      this.#block++;
    }
    return null;
  }

  /** Goes on from `key`, which is after the member given last. What lies between is not read, but for this block. */
  leap(key: MemberKey): void {
    const block = this.#directory.blockOf(key);
    if (block !== this.#block) this.#reader = null;
    this.#block = block;
    this.#key = key;
  }

  async #openNext(): Promise<BlockReader> {
    this.blocks++;
    return await this.#open(this.#block);
  }

  /** The later of where the walk goes on and where the block begins that it would open. */
  #position(): MemberKey {
    const key = this.#directory.key(this.#block);
    const start = { path: key.path.slice(), headerOffset: key.headerOffset };
    return this.#key && this.#directory.blockOf(this.#key) === this.#block ? this.#key : start;
  }
}

/** The blocks that came with the root: those whole in the object from `start` on. */
interface HeldBlocks {
  readonly bytes: Uint8Array;
  readonly start: number;
}

function heldBlocks(tail: Uint8Array, tailStart: number, { rootBytes }: IndexFooter): HeldBlocks {
  const blockBytes = Math.max(tail.length - INDEX_FOOTER_BYTES - rootBytes, 0);
  // A copy, so that the rest of the tail is not held.
  return { bytes: tail.slice(0, blockBytes), start: blockBytes > 0 ? tailStart : Number.POSITIVE_INFINITY };
}

/** The object from `start` to its end: out of the tail, or read. */
async function bytesFrom(
  source: IndexSource,
  start: number,
  tailStart: number,
  tail: { bytes: Uint8Array; size: number },
): Promise<Uint8Array> {
  if (start >= tailStart) return tail.bytes.subarray(start - tailStart);
  return await source.read({ offset: start, length: tail.size - start });
}

function decompressed(source: IndexSource, frame: Uint8Array, contentBytes: number): Uint8Array {
  let content: Uint8Array;
  try {
    content = source.decompress(frame, contentBytes);
  } catch (cause) {
    throw new IndexCorrupt('a part of it cannot be decompressed', { cause });
  }
  if (content.length !== contentBytes) throw new IndexCorrupt('a part of it has the wrong size');
  return content;
}
