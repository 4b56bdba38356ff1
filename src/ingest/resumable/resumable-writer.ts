import { AgeSealer, type AgeSealing } from '../../codec/age-sealer.ts';
import { type CompressionPace, lowestLevel, pacedCompressor } from '../../codec/cpu-pace.ts';
import { updateCrc32 } from '../../codec/crc32.ts';
import { plainBytes } from '../../codec/plain-bytes.ts';
import { encodeSeekTable, type SeekEntry } from '../../codec/seekable/seek-table.ts';
import { seekEntry } from '../../codec/seekable/seekable-encoder.ts';
import { isAge, isCompressedAlready, isEnoughToSniff } from '../../codec/sniff.ts';
import type { FrameCompressor, ZstdEngine } from '../../codec/zstd/engine.ts';
import { release } from '../../shared/bytes.ts';
import { VaultError } from '../../shared/errors.ts';
import { GrowingBuffer } from '../../shared/growing-buffer.ts';
import type { IsolateMemory, RestAccount } from '../../shared/isolate-memory.ts';
import { FRAME_BYTES, partBytesFor } from '../../shared/limits.ts';
import { dataKey, sentKey } from '../../store/object-keys.ts';
import type { ObjectStore } from '../../store/object-store.ts';
import { ResumableParts } from './resumable-parts.ts';
import type { SessionStore } from './session-store.ts';
import type { SessionOrder, StoredObject, Written } from './upload-record.ts';

/** Another request goes on with the upload: this one may write no more. */
export class PieceSuperseded extends VaultError {
  constructor() {
    super('upload-superseded', 'Another request went on with this upload. Ask where it stands, and go on there.');
  }
}

/**
 * Content that comes in pieces becomes the object that an upload in one request would make. No state of a codec crosses a
 * piece, because only whole frames are compressed and only whole parts are sent; what fills neither yet is
 * kept as bytes:
 *
 *     content   |frame|frame|frame|tail       the tail waits for the rest of its frame
 *     encoded   |====part====|==rest          the rest waits for the rest of its part
 *
 * A checkpoint makes durable what has come. It may be taken at any time, also while the writer waits for something: what
 * it tells of moves on in one step, when a frame is in its parts as a whole.
 */
export class ResumableWriter {
  readonly #store: SessionStore;
  readonly #engine: ZstdEngine;
  readonly #order: SessionOrder;
  readonly #parts: ResumableParts;
  #offset: number;
  #crc32: number;
  #compressed: boolean | null;
  #frames: number;
  /** Those of them that are not noted yet. */
  readonly #newFrames: SeekEntry[] = [];
  /**
   * The tail: content of the frame that fills, or all of it while too little has come to tell how it is stored. In memory
   * are the bytes behind `missing`, which are in the storage alone.
   */
  readonly #tail = new GrowingBuffer(FRAME_BYTES);
  #filled = 0;
  #missing = 0;
  /** While its content is compressed, the tail stays where it is. */
  #compressing = false;
  /** Content up to here is durable. */
  #keptTo: number;
  #compressor: FrameCompressor | null = null;
  #pace: CompressionPace | null = null;
  /** Of frames whose request could compute no more; null while all have the level that was asked for. */
  #lowestLevel: number | null;
  /** Where the object is encrypted, and how far what counts of it is. */
  #sealer: AgeSealer | null = null;
  #sealing: AgeSealing | null = null;
  #fenced = false;
  readonly #memory: IsolateMemory;
  readonly #account: RestAccount;

  /**
   * Goes on where the upload stands. It holds what comes: the rest of a frame and of a part at most, beside two parts on
   * their way. What was kept before is read when its frame or part is full; what comes is kept, and its memory given
   * back, when the isolate has too much of it and the sender is idle.
   */
  constructor(
    objects: ObjectStore,
    memory: IsolateMemory,
    store: SessionStore,
    engine: ZstdEngine,
    order: SessionOrder,
    from: Written,
  ) {
    this.#store = store;
    this.#memory = memory;
    this.#account = memory.rest.open(async () => this.#putAside());
    this.#engine = engine;
    const isEncoded = order.codings.length > 0;
    // An encoding is kept as it was sent until the upload ends, and is decoded then (decode-sent.ts).
    this.#order = isEncoded ? { ...order, compression: 'none', recipients: [] } : order;
    const key = (isEncoded ? sentKey : dataKey)(order.backup_id);
    this.#offset = this.#keptTo = from.offset;
    this.#crc32 = from.crc32;
    this.#compressed = from.compressed;
    this.#frames = from.frames;
    this.#lowestLevel = from.lowest_level;
    const stands = { bytes: from.encoded_bytes, parts: from.parts, partBytes: partBytesFor(order.max_bytes) };
    this.#parts = new ResumableParts(objects, store, key, stands, () => this.#checkFence(), {
      count: (bytes) => this.#account.add(bytes),
      flight: () => memory.flights.acquire(order.backup_id),
    });
    // What an earlier writer put aside and never noted, its sender sends again.
    store.dropFrom('tail', from.offset);
    store.dropFrom('rest', from.encoded_bytes);
    this.#sealing = store.sealing;
    if (this.#sealing) this.#sealer = AgeSealer.resume(this.#sealing);
    if (from.compressed === false) return;
    this.#filled = this.#missing = from.offset - this.#tailStart;
  }

  /** Content taken so far, durable or not. */
  get offset(): number {
    return this.#offset;
  }

  /** What the content taken so far came to. */
  get encodedBytes(): number {
    return this.#parts.counted;
  }

  /** Whether the storage refused a part: what was taken can be kept, and no more be taken. */
  get broken(): boolean {
    return this.#parts.failed;
  }

  /** Another request begins: what that may compute is its own. */
  paceBy(pace: CompressionPace): void {
    this.#pace = pace;
  }

  /** From now on this writer changes nothing: where it would, it throws {@link PieceSuperseded}. */
  fence(): void {
    this.#fenced = true;
  }

  /** Takes content, and copies it. Waits while as many parts are on their way as may be, and while the isolate is full. */
  async write(piece: Uint8Array): Promise<void> {
    await this.#memory.rest.room();
    for (let at = 0; at < piece.length; ) {
      if (this.#compressed === false) return this.#writeAsItCame(piece.subarray(at));
      const taken = piece.subarray(at, at + FRAME_BYTES - this.#filled);
      const before = this.#tail.capacity;
      this.#tail.append(taken);
      this.#account.add(this.#tail.capacity - before);
      this.#filled += taken.length;
      this.#count(taken);
      at += taken.length;
      if (this.#compressed === null && isEnoughToSniff(this.#content())) await this.#decide();
      if (this.#filled === FRAME_BYTES) await this.#endFrame();
    }
  }

  /** Makes durable what was taken, and what `note` does with it, in one transaction. Synchronous. */
  checkpoint(note: (written: Written) => void): void {
    this.#checkFence();
    const tailStart = this.#offset - this.#filled;
    const keptTo = Math.max(this.#keptTo, tailStart);
    this.#store.transaction(() => {
      const parts = this.#parts.checkpoint();
      if (this.#sealing) this.#store.sealing = this.#sealing;
      this.#store.addFrames(this.#frames - this.#newFrames.length, this.#newFrames);
      this.#store.dropBefore('tail', tailStart);
      this.#keepTail(keptTo);
      note({
        offset: this.#offset,
        crc32: this.#crc32,
        compressed: this.#compressed,
        frames: this.#frames,
        encoded_bytes: this.#parts.counted,
        parts,
        lowest_level: this.#lowestLevel,
      });
    });
    this.#parts.checkpointed();
    this.#newFrames.length = 0;
    this.#keptTo = this.#offset;
  }

  /** Keeps what came without noting it, and gives its memory back. What the storage refuses stays in memory. */
  #putAside(): void {
    try {
      if (!this.#fenced) this.#keepAside();
    } catch (cause) {
      const upload = this.#order.backup_id;
      console.warn(JSON.stringify({ level: 'warn', event: 'put-aside-failed', upload, cause: String(cause) }));
    }
  }

  #keepAside(): void {
    const keptTo = Math.max(this.#keptTo, this.#offset - this.#filled);
    this.#store.transaction(() => {
      this.#parts.keepAside();
      this.#keepTail(keptTo);
    });
    this.#parts.keptAside();
    this.#keptTo = this.#offset;
    if (this.#compressing) return;
    this.#missing = this.#filled;
    this.#clearTail();
  }

  /** Keeps the tail from byte `from` of the content on. */
  #keepTail(from: number): void {
    const start = this.#offset - this.#filled + this.#missing;
    this.#store.keep('tail', from, this.#tail.bytes.subarray(from - start));
  }

  #clearTail(): void {
    this.#account.add(-this.#tail.capacity);
    this.#tail.clear();
  }

  /** Waits for parts that are on their way where that is cheaper than to keep them. */
  settleMost(): Promise<void> {
    return this.#parts.settleMost();
  }

  /** Waits for parts that are on their way, so that a checkpoint need not keep them. */
  settle(): Promise<void> {
    return this.#parts.settle();
  }

  /**
   * Ends the content: the last frame, the seek table, the last part. What `note` does with the object is done in one
   * transaction with noting its parts; the object is whole once its multipart upload is completed, if it has one. May be
   * done again, from the same {@link Written}, after it was cut off.
   */
  async seal(note: (stored: StoredObject) => void): Promise<StoredObject> {
    if (this.#compressed === null) await this.#decide();
    if (this.#compressed) {
      if (this.#filled > 0) await this.#endFrame();
      if (this.#frames === 0) await this.#addFrame(this.#engine.compressFrame(new Uint8Array(), this.#order.level));
      await this.#put(encodeSeekTable([...this.#store.frames(), ...this.#newFrames]));
    }
    if (this.#sealer) await this.#parts.append(this.#sealer.end());
    this.#parts.count();
    const open = await this.#parts.finish();
    this.#checkFence();
    const { level } = this.#order;
    const stored: StoredObject = {
      bytes: this.#parts.counted,
      compression: this.#compressed
        ? {
            codec: 'zstd',
            level,
            ...lowestLevel(this.#lowestLevel ?? level, level),
            engine: this.#engine.name,
            frames: this.#frames,
          }
        : { codec: 'none' },
      open,
      stored_at: new Date().toISOString(),
    };
    this.#store.transaction(() => {
      this.#parts.note();
      // Of a short upload it was decided only now; the object is opened with it.
      if (this.#sealing) this.#store.sealing = this.#sealing;
      note(stored);
    });
    return stored;
  }

  /** Gives all memory back, once nothing is on its way any more. */
  async close(): Promise<void> {
    this.#compressor?.close();
    this.#sealer?.release();
    this.#account.close();
    this.#tail.clear();
    await this.#parts.close();
  }

  /** Where the frame that fills begins in the content. */
  get #tailStart(): number {
    return this.#frames * FRAME_BYTES;
  }

  #count(taken: Uint8Array): void {
    this.#offset += taken.length;
    this.#crc32 = updateCrc32(this.#crc32, taken);
  }

  /** The first bytes tell whether compressing is worth it, and whether somebody has encrypted already. */
  async #decide(): Promise<void> {
    const { compression, recipients, default_recipients } = this.#order;
    const first = this.#content();
    const compressed = compression === 'zstd' || (compression === 'auto' && !isCompressedAlready(first));
    await this.#encryptFor(recipients ?? (isAge(first) ? [] : default_recipients));
    if (!compressed) {
      await this.#put(first);
      this.#filled = this.#missing = 0;
      this.#clearTail();
    }
    this.#countPut();
    this.#compressed = compressed;
  }

  async #encryptFor(recipients: readonly string[]): Promise<void> {
    if (recipients.length === 0) return;
    const { sealer, header } = await AgeSealer.begin(recipients);
    this.#sealer = sealer;
    await this.#parts.append(header);
  }

  /** In steps, each of which counts: buffers become free for the next only then. */
  async #writeAsItCame(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += FRAME_BYTES) {
      const step = bytes.subarray(at, at + FRAME_BYTES);
      await this.#put(step);
      this.#countPut();
      this.#count(step);
    }
  }

  async #endFrame(): Promise<void> {
    this.#compressor ??= pacedCompressor(this.#engine, (bytes) => this.#nextLevel(bytes));
    this.#compressing = true;
    const content = this.#content();
    const frame = await this.#compressor.compress(content);
    if (this.#missing > 0) release(content);
    this.#compressing = false;
    const { length } = frame;
    this.#account.add(length);
    await this.#addFrame(frame);
    release(frame);
    this.#account.add(-length);
  }

  #nextLevel(contentBytes: number): number {
    const { level } = this.#order;
    const next = this.#pace?.next(contentBytes) ?? level;
    if (next < level) this.#lowestLevel = Math.min(this.#lowestLevel ?? level, next);
    return next;
  }

  /** A frame of the tail's content. All of it moves at once, after the last wait. */
  async #addFrame(frame: Uint8Array): Promise<void> {
    const bytes = plainBytes(frame);
    await this.#put(bytes);
    this.#countPut();
    this.#newFrames.push(seekEntry(bytes, this.#filled, this.#engine.writesChecksum));
    this.#frames += 1;
    this.#filled = this.#missing = 0;
    this.#clearTail();
  }

  /** The whole tail: a view of it, or where some of it is in the storage alone, a copy. */
  #content(): Uint8Array {
    if (this.#missing === 0) return this.#tail.bytes;
    const whole = new Uint8Array(this.#filled);
    this.#store.readKept('tail', this.#offset - this.#filled, whole.subarray(0, this.#missing));
    whole.set(this.#tail.bytes, this.#missing);
    return whole;
  }

  /** Puts bytes of the object into its parts, encrypted where it is. */
  async #put(bytes: Uint8Array): Promise<void> {
    if (!this.#sealer) return this.#parts.append(bytes);
    for (const sealed of this.#sealer.seal(bytes)) await this.#parts.append(sealed);
  }

  #countPut(): void {
    this.#parts.count();
    if (this.#sealer) this.#sealing = this.#sealer.sealing;
  }

  #checkFence(): void {
    if (this.#fenced) throw new PieceSuperseded();
  }
}
