import { createInflateRaw, type InflateRaw } from 'node:zlib';
import { release } from '../shared/bytes.ts';
import { plainBytes } from './plain-bytes.ts';

/** Output made at once. A deflate stream may give 1,032 times its input, so output is pulled, a chunk at a time. */
const CHUNK_BYTES = 128 * 1024;
/**
 * Two chunks in its queue, as objects, so that each is read as it is: of bytes, the queue would be copied into one piece,
 * and the chunks themselves left to the collector (an isolate with 8 uploads of a tar.gz at once: 121 MiB, and 88 so).
 */
const OPTIONS = { chunkSize: CHUNK_BYTES, readableObjectMode: true, readableHighWaterMark: 2 };

/**
 * One raw deflate stream (RFC 1951) as calls. The transform of node:zlib stops when its own queue of two chunks is
 * full and goes on when it is read from, so that a bomb is held in 256 KiB whatever the size of the input.
 */
export class RawInflater {
  readonly #stream: InflateRaw = createInflateRaw(OPTIONS);
  #written = 0;
  #failure: Error | undefined;
  #ended = false;
  #wake: () => void = () => undefined;
  #chunk: Uint8Array | undefined;

  constructor() {
    this.#stream.on('readable', () => this.#wake());
    // A stream that ended within its input tells so, and may forget to settle the write (workerd 1.20261102, after a
    // last piece that filled its queue).
    this.#stream.on('end', () => {
      this.#ended = true;
      this.#wake();
    });
    this.#stream.on('error', (error) => {
      this.#failure = error;
      this.#wake();
    });
  }

  /**
   * What `input` gives; to be read to its end before `input` is used again or more is pushed. Throws the transform's
   * error. A piece is valid until the next pull.
   */
  async *push(input: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
    let written = false;
    this.#stream.write(input, () => {
      written = true;
      this.#wake();
    });
    while (true) {
      const piece: unknown = this.#stream.read();
      if (piece instanceof Uint8Array) {
        yield this.#noted(plainBytes(piece));
      } else {
        if (this.#failure) throw this.#failure;
        if (written || this.#ended) return;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  /** How much of the last input the stream took, once its output has been read: less than all where the stream ended in it. */
  taken(): number {
    const before = this.#written;
    this.#written = this.#stream.bytesWritten;
    return this.#written - before;
  }

  close(): void {
    this.#stream.destroy();
    if (this.#chunk) release(this.#chunk);
  }

  /** Pieces are views of the transform's chunks; when it fills another one, it has left the one before for good. */
  #noted(piece: Uint8Array): Uint8Array {
    if (this.#chunk && this.#chunk.buffer !== piece.buffer) release(this.#chunk);
    this.#chunk = piece;
    return piece;
  }
}
