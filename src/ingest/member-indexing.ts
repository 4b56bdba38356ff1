import { IndexFull, MemberIndexWriter, type MemberIndexWriterOptions } from '../archive/index-writer.ts';
import type { Member } from '../archive/member.ts';
import type { ArchiveSummary } from '../catalogue/backups.ts';
import type { StageOf } from '../codec/pipeline.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { HandOff } from '../shared/hand-off.ts';
import { PART_BYTES } from '../shared/limits.ts';
import type { Layer } from '../shared/seek-points.ts';
import type { UploadMemory } from '../shared/upload-memory.ts';
import { indexKey, indexRunKey } from '../store/object-keys.ts';
import type { ObjectStore, OpenUpload } from '../store/object-store.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { EnoughMembers, type ScannedArchive, scanArchive } from './archive-scan.ts';

/** Blocks of the index: read in milliseconds at any level, and written while the sender waits. */
const INDEX_LEVEL = 3;

/** Each has its default. */
export type IndexBounds = Pick<MemberIndexWriterOptions, 'runBytes' | 'maxRuns'>;

/**
 * Indexes the members of an archive while its bytes go by: {@link give} the pieces of an upload, {@link end} them, and
 * {@link write} the index once the data is stored. Whatever is wrong with an archive ends its index, never the upload;
 * only a storage that fails does. For what is no archive it costs a look at the first block.
 */
export class MemberIndexing {
  readonly #store: ObjectStore;
  readonly #memory: UploadMemory;
  readonly #engine: ZstdEngine;
  readonly #backupId: string;
  readonly #index: MemberIndexWriter;
  readonly #handOff = new HandOff();
  #given = 0;
  #scan: Promise<ScannedArchive | null> | null = null;
  #writer: ObjectWriter | null = null;
  #failure: { readonly error: unknown } | null = null;

  /** @param memory of the upload; the index borrows from it and the caller closes it */
  constructor(
    store: ObjectStore,
    memory: UploadMemory,
    engine: ZstdEngine,
    backupId: string,
    bounds: IndexBounds = {},
  ) {
    this.#store = store;
    this.#memory = memory;
    this.#engine = engine;
    this.#backupId = backupId;
    this.#index = new MemberIndexWriter({
      ...bounds,
      runs: {
        put: (run, bytes) => store.put(indexRunKey(backupId, run), bytes),
        read: (run, span) => store.readBytes(indexRunKey(backupId, run), span),
      },
    });
  }

  /** The next piece of the upload; it may be used again once this has settled. Rejects where the storage failed. */
  async give(piece: Uint8Array): Promise<void> {
    this.#scan ??= this.#begin(piece);
    this.#given += piece.length;
    await this.#handOff.give(piece);
    if (this.#failure) throw this.#failure.error;
  }

  /** There is no more, or no more is wanted: waits for the scan to end. Rejects where the storage failed. */
  async end(): Promise<void> {
    this.#handOff.end();
    await this.#scan;
    if (this.#failure) throw this.#failure.error;
  }

  /**
   * Writes the index object; null where the upload was no archive. After {@link end}.
   *
   * @param outer how the uploaded bytes are compressed where they are stored; null where they are not
   */
  async write(outer: Layer | null, noteOpen: (open: OpenUpload) => Promise<void>): Promise<ArchiveSummary | null> {
    const archive = await this.#scan;
    if (!archive) return null;
    const { stopped } = archive;
    const layers = [outer, archive.inner(this.#given)].filter((layer) => layer !== null);
    const writer = new ObjectWriter(this.#store, this.#memory, indexKey(this.#backupId), PART_BYTES, noteOpen);
    this.#writer = writer;
    const compressor = this.#engine.compressor(INDEX_LEVEL);
    try {
      const pieces = this.#index.finish({ stopped, layers }, (bytes) => compressor.compress(bytes));
      for await (const piece of pieces) await writer.write(piece);
      await writer.close();
    } finally {
      compressor.close();
    }
    await this.#removeRuns();
    return { format: 'tar', members: this.#index.members, stopped };
  }

  /** After a failure: what is on its way to the storage is awaited and removed; objects that are there, are not. */
  async abort(): Promise<void> {
    await this.#writer?.abort();
  }

  /** The scan as a promise that never rejects: give() and end() tell its failure. */
  async #begin(first: Uint8Array): Promise<ScannedArchive | null> {
    try {
      return await scanArchive(this.#handOff.pieces, first, this.#engine, (member) => this.#add(member), {
        hold: (bytes) => this.#memory.window(bytes),
      });
    } catch (error) {
      this.#failure = { error };
      return null;
    }
  }

  /** At a member that the index does not take, the scan ends: what is listed is then a whole beginning. */
  #add(member: Member): void | Promise<void> {
    try {
      return this.#index.add(member);
    } catch (error) {
      if (!(error instanceof IndexFull) && !(error instanceof RangeError)) throw error;
      throw new EnoughMembers({ offset: member.headerOffset, reason: error.message });
    }
  }

  async #removeRuns(): Promise<void> {
    const keys = Array.from({ length: this.#index.runCount }, (_, run) => indexRunKey(this.#backupId, run));
    if (keys.length === 0) return;
    // What stays behind goes with the backup: everything under its id is removed then.
    await this.#store.remove(keys).catch((cause: unknown) => {
      const event = { level: 'warn', event: 'index-runs-left', backup_id: this.#backupId, cause: String(cause) };
      console.warn(JSON.stringify(event));
    });
  }
}

/** Lists the members of an archive that goes by. */
export function membersInto(indexing: MemberIndexing): StageOf<[], []> {
  return async function* listed(source) {
    try {
      for await (const piece of source) {
        await indexing.give(piece);
        yield piece;
      }
    } finally {
      await indexing.end();
    }
  };
}
