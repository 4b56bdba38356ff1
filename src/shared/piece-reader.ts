import { release } from './bytes.ts';

/** Large reads of a stream through one buffer that is used again: what a read gave is valid until the next. */
export interface PieceReader {
  /**
   * The next bytes: `atLeast` of them but at the end of the stream, `atMost` of them, or null at the end. An error of the
   * stream is thrown as it is, and the bytes of a read that it cut short are lost.
   */
  read(atLeast: number, atMost: number): Promise<Uint8Array | null>;
  /** From the next read on at most `bufferBytes` may be asked for. What the last read gave is no longer valid. */
  resize(bufferBytes: number): void;
  /** Of a stream that has ended or failed: harmless. */
  cancel(reason: unknown): Promise<void>;
  /** Unlocks the stream and gives the buffer back. The last call. */
  release(): void;
}

/** @param bufferBytes the most that a read may ask for */
export function pieceReader(stream: ReadableStream<Uint8Array>, bufferBytes: number): PieceReader {
  const byob = byobReader(stream);
  return byob ? new BufferReads(byob, bufferBytes) : new ChunkReads(stream.getReader(), bufferBytes);
}

/** A reader that fills our buffer, or null where the stream is not one of bytes (a stream that JavaScript made). */
function byobReader(stream: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | null {
  try {
    return stream.getReader({ mode: 'byob' });
  } catch (error) {
    if (stream.locked) throw error;
    return null;
  }
}

class BufferReads implements PieceReader {
  readonly #reader: ReadableStreamBYOBReader;
  #buffer: ArrayBuffer;

  constructor(reader: ReadableStreamBYOBReader, bufferBytes: number) {
    this.#reader = reader;
    this.#buffer = new ArrayBuffer(bufferBytes);
  }

  async read(atLeast: number, atMost: number): Promise<Uint8Array | null> {
    if (this.#buffer.detached) return null;
    const { value } = await this.#reader.readAtLeast(atLeast, new Uint8Array(this.#buffer, 0, atMost));
    if (!value) return null;
    this.#buffer = value.buffer as ArrayBuffer;
    return value.byteLength > 0 ? value : null;
  }

  resize(bufferBytes: number): void {
    if (this.#buffer.detached) return;
    this.#buffer.transfer(0);
    this.#buffer = new ArrayBuffer(bufferBytes);
  }

  async cancel(reason: unknown): Promise<void> {
    await this.#reader.cancel(reason).catch(() => undefined);
  }

  release(): void {
    this.#reader.releaseLock();
    if (!this.#buffer.detached) this.#buffer.transfer(0);
  }
}

/** Chunks as they come, copied into the buffer. */
class ChunkReads implements PieceReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #buffer: Uint8Array;
  #chunk: Uint8Array = new Uint8Array();

  constructor(reader: ReadableStreamDefaultReader<Uint8Array>, bufferBytes: number) {
    this.#reader = reader;
    this.#buffer = new Uint8Array(bufferBytes);
  }

  async read(atLeast: number, atMost: number): Promise<Uint8Array | null> {
    let filled = this.#take(0, atMost);
    while (filled < atLeast) {
      const { done, value } = await this.#reader.read();
      if (done) break;
      this.#chunk = value;
      filled += this.#take(filled, atMost);
    }
    return filled > 0 ? this.#buffer.subarray(0, filled) : null;
  }

  resize(bufferBytes: number): void {
    release(this.#buffer);
    this.#buffer = new Uint8Array(bufferBytes);
  }

  async cancel(reason: unknown): Promise<void> {
    await this.#reader.cancel(reason).catch(() => undefined);
  }

  release(): void {
    this.#reader.releaseLock();
    release(this.#buffer);
  }

  /** Moves what fits from the chunk into the buffer, behind `filled`; how much that was. */
  #take(filled: number, atMost: number): number {
    const taken = this.#chunk.subarray(0, atMost - filled);
    this.#buffer.set(taken, filled);
    this.#chunk = this.#chunk.subarray(taken.length);
    return taken.length;
  }
}
