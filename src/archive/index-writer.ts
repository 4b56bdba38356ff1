import { crc32 } from 'node:zlib';
import {
  INDEX_BLOCK_BYTES,
  INDEX_BLOCK_DOUBLINGS,
  INDEX_CHUNK_BYTES,
  INDEX_DIRECTORY_STEP_BYTES,
  INDEX_MAX_RUNS,
  INDEX_RUN_BYTES,
} from '../shared/limits.ts';
import { MemberArena } from './index-arena.ts';
import { BlockBuilder, type RawBlock } from './index-blocks.ts';
import { DirectoryBuilder } from './index-directory.ts';
import { IndexFull } from './index-errors.ts';
import { encodeFooter, encodeRoot, type IndexFacts } from './index-root.ts';
import { encodeRun, type IndexRuns, mergeRuns } from './index-runs.ts';
import type { Member } from './member.ts';
import type { IndexEntry } from './member-codec.ts';

export { IndexFull };

export interface MemberIndexWriterOptions {
  /** Where sorted members wait that do not fit into memory. */
  readonly runs: IndexRuns;
  /** Bytes of members in memory; INDEX_RUN_BYTES by default. */
  readonly runBytes?: number;
  /** INDEX_MAX_RUNS by default. */
  readonly maxRuns?: number;
  /** Largest read of a run; INDEX_CHUNK_BYTES by default. */
  readonly chunkBytes?: number;
  /** Bytes of a block before compression; INDEX_BLOCK_BYTES by default. */
  readonly blockBytes?: number;
}

/** One zstd frame that holds the bytes; it knows its content's size. */
export type CompressFrame = (bytes: Uint8Array) => Promise<Uint8Array> | Uint8Array;

/**
 * Makes the index of an archive's members, which come in any order: they are gathered and sorted in memory, and where
 * they are too many, put aside in sorted runs that are merged at the end. Memory: two times `runBytes`, and at the end
 * what merging takes, however many there are.
 */
export class MemberIndexWriter {
  readonly #runs: IndexRuns;
  readonly #maxRuns: number;
  readonly #chunkBytes: number;
  readonly #blockBytes: number;
  readonly #arena: MemberArena;
  readonly #runBytes: number[] = [];
  #members = 0;

  constructor({
    runs,
    runBytes = INDEX_RUN_BYTES,
    maxRuns = INDEX_MAX_RUNS,
    chunkBytes = INDEX_CHUNK_BYTES,
    blockBytes = INDEX_BLOCK_BYTES,
  }: MemberIndexWriterOptions) {
    this.#runs = runs;
    this.#maxRuns = maxRuns;
    this.#chunkBytes = chunkBytes;
    this.#blockBytes = blockBytes;
    this.#arena = new MemberArena(runBytes);
  }

  /** How many it holds. */
  get members(): number {
    return this.#members;
  }

  /** How many runs were put; the caller removes them, numbers 0 to this. */
  get runCount(): number {
    return this.#runBytes.length;
  }

  /**
   * A promise only where members are put aside: it is awaited before the next is added. What `runs.put` throws comes as
   * it is, and the index is lost then. Throws IndexFull where there are too many members or a name is too long: what
   * was added before stays good, and `finish` may follow. Throws a RangeError for numbers that no member has.
   */
  add(member: Member): void | Promise<void> {
    const putting = this.#arena.hasRoom(member) ? undefined : this.#putRun(1);
    // Where this member is refused nobody awaits it: a run that was lost then is missed at the end.
    putting?.catch(() => undefined);
    this.#arena.add(member);
    this.#members++;
    return putting;
  }

  /** `spare`: runs that must be left after it; the last one is for `finish`. The arena is empty when it returns. */
  #putRun(spare: number): Promise<void> {
    const run = this.#runBytes.length;
    if (run + spare >= this.#maxRuns) throw new IndexFull('the archive has more files than an index takes');
    const encoded = encodeRun(this.#arena.sorted());
    this.#runBytes.push(encoded.length);
    this.#arena.clear();
    return this.#runs.put(run, encoded.written).finally(() => encoded.release());
  }

  /** The index object in pieces: blocks, root, footer. Nothing may be added any more. */
  async *finish(facts: IndexFacts, compress: CompressFrame): AsyncGenerator<Uint8Array, void, undefined> {
    const directory = new DirectoryBuilder();
    for await (const { key, bytes } of this.#blocks(directory)) {
      const stored = await compress(bytes);
      directory.add({ key, storedBytes: stored.length, rawBytes: bytes.length, crc32: crc32(stored) });
      yield stored;
    }
    const root = encodeRoot(this.#members, facts, directory);
    const storedRoot = await compress(root);
    yield storedRoot;
    yield encodeFooter(storedRoot, root.length);
  }

  async *#blocks(directory: DirectoryBuilder): AsyncGenerator<RawBlock, void, undefined> {
    const builder = new BlockBuilder();
    try {
      for await (const entries of this.#sorted()) {
        for (const entry of entries) {
          builder.add(entry);
          if (builder.isFull(this.#fullBytes(directory))) yield builder.take();
        }
      }
      if (!builder.isEmpty) yield builder.take();
    } finally {
      this.#arena.release();
    }
  }

  /** Long paths that differ late make long keys: blocks grow, so that a reader can hold the directory of any index. */
  #fullBytes(directory: DirectoryBuilder): number {
    const steps = Math.floor(directory.keyBytes / INDEX_DIRECTORY_STEP_BYTES);
    return this.#blockBytes << Math.min(steps, INDEX_BLOCK_DOUBLINGS);
  }

  async *#sorted(): AsyncGenerator<Iterable<IndexEntry>, void, undefined> {
    if (this.#runBytes.length === 0) {
      yield this.#arena.sorted();
      return;
    }
    if (this.#arena.members > 0) await this.#putRun(0);
    this.#arena.release();
    yield* mergeRuns(this.#runs, this.#runBytes, this.#chunkBytes);
  }
}
