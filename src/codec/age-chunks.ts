import { createCipheriv, createDecipheriv } from 'node:crypto';
import { release } from '../shared/bytes.ts';
import { KIB } from '../shared/limits.ts';
import { plainBytes } from './plain-bytes.ts';

/** The payload of an age file is chunks of 64 KiB, of which only the last is shorter, each sealed by itself (STREAM). */
export const CHUNK_BYTES = 64 * KIB;
export const TAG_BYTES = 16;
export const SEALED_BYTES = CHUNK_BYTES + TAG_BYTES;

const CIPHER = 'chacha20-poly1305';
const OPTIONS = { authTagLength: TAG_BYTES };
/** The nonce of a chunk: 11 bytes that count, big-endian, and one that is 1 for the last. */
const NONCE_BYTES = 12;
const COUNTER_AT = 3;
const LAST_AT = 11;

/**
 * ChaCha20-Poly1305 over the chunks of one payload, in their order. Every chunk is one update(): the runtime takes no
 * more, and gives opened bytes only once the tag is verified.
 */
export class ChunkCipher {
  readonly #key: Uint8Array;
  readonly #nonce = new DataView(new ArrayBuffer(NONCE_BYTES));
  #chunks: bigint;

  /** @param chunks those that were sealed or opened before */
  constructor(key: Uint8Array, chunks = 0) {
    this.#key = key;
    this.#chunks = BigInt(chunks);
  }

  /** How many were sealed or opened. */
  get chunks(): number {
    return Number(this.#chunks);
  }

  /** Writes the next chunk, sealed, to the front of `target`; how many bytes that were. */
  seal(chunk: Uint8Array, isLast: boolean, target: Uint8Array): number {
    const cipher = createCipheriv(CIPHER, this.#key, this.#nextNonce(isLast), OPTIONS);
    const sealed = plainBytes(cipher.update(chunk));
    cipher.final();
    target.set(sealed);
    target.set(cipher.getAuthTag(), sealed.length);
    release(sealed);
    return chunk.length + TAG_BYTES;
  }

  /** The content of the next chunk, or null for one that was not sealed so, or not at this place. */
  open(sealed: Uint8Array, isLast: boolean): Uint8Array | null {
    const decipher = createDecipheriv(CIPHER, this.#key, this.#nextNonce(isLast), OPTIONS);
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    try {
      const chunk = plainBytes(decipher.update(sealed.subarray(0, -TAG_BYTES)));
      decipher.final();
      return chunk;
    } catch {
      return null;
    }
  }

  #nextNonce(isLast: boolean): DataView {
    this.#nonce.setBigUint64(COUNTER_AT, this.#chunks++);
    this.#nonce.setUint8(LAST_AT, isLast ? 1 : 0);
    return this.#nonce;
  }
}

/**
 * Cuts pieces of any size into chunks of one size. What fills a chunk is held back until more has come, since only then
 * it is not the last. Chunks that lie within a piece are views of it; what crosses a border is copied into one buffer.
 */
export class ChunkCutter {
  readonly #held: Uint8Array;
  #length = 0;

  constructor(chunkBytes: number) {
    this.#held = new Uint8Array(chunkBytes);
  }

  /** Chunks that are not the last. To be read to the end; each is valid until the next. */
  *cut(piece: Uint8Array): Generator<Uint8Array, void, undefined> {
    const size = this.#held.length;
    let rest = piece;
    while (this.#length + rest.length > size) {
      if (this.#length === 0) {
        yield rest.subarray(0, size);
        rest = rest.subarray(size);
      } else {
        rest = this.#hold(rest);
        yield this.#held;
        this.#length = 0;
      }
    }
    this.#hold(rest);
  }

  /** The last chunk, once all has been cut: empty where there was nothing. */
  last(): Uint8Array {
    return this.#held.subarray(0, this.#length);
  }

  release(): void {
    release(this.#held);
  }

  /** Takes what fits of `bytes`; gives the rest. */
  #hold(bytes: Uint8Array): Uint8Array {
    const taken = bytes.subarray(0, this.#held.length - this.#length);
    this.#held.set(taken, this.#length);
    this.#length += taken.length;
    return bytes.subarray(taken.length);
  }
}
