import type { Transform } from 'node:stream';
import { plainBytes } from './plain-bytes.ts';

/**
 * A transform of node:zlib as calls: push bytes in, get what came out. Its own queues never fill, since one push is
 * done before the next, so that memory is bounded by what one push can give.
 */
export class PushTransform {
  readonly #stream: Transform;
  #out: Uint8Array[] = [];
  #failure: unknown;
  #failed = false;
  #rejectPending: ((error: unknown) => void) | undefined;

  constructor(stream: Transform) {
    this.#stream = stream;
    stream.on('data', (chunk: Uint8Array) => this.#out.push(plainBytes(chunk)));
    stream.on('error', (error: unknown) => this.#fail(error));
  }

  /** What `input` gives. Rejects with the transform's error, then and at every later push. */
  push(input: Uint8Array): Promise<Uint8Array[]> {
    return this.#settled((done) => this.#stream.write(input, () => done()));
  }

  /** Ends the transform and gives the rest. Rejects where it wanted more input. */
  finish(): Promise<Uint8Array[]> {
    return this.#settled((done) => {
      this.#stream.once('end', done);
      this.#stream.end();
    });
  }

  close(): void {
    this.#stream.destroy();
  }

  #settled(start: (done: () => void) => void): Promise<Uint8Array[]> {
    if (this.#failed) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#rejectPending = reject;
      start(() => {
        const out = this.#out;
        this.#out = [];
        if (this.#failed) reject(this.#failure);
        else resolve(out);
      });
    });
  }

  #fail(error: unknown): void {
    this.#failed = true;
    this.#failure = error;
    this.#rejectPending?.(error);
  }
}
