import { hkdfSync, randomBytes } from 'node:crypto';
import { Encrypter } from 'age-encryption';
import { concat, release } from '../shared/bytes.ts';
import { AGE_PIECE_CHUNKS } from '../shared/limits.ts';
import { CHUNK_BYTES, ChunkCipher, ChunkCutter, SEALED_BYTES, TAG_BYTES } from './age-chunks.ts';
import { InvalidRecipient } from './age-keys.ts';

const FILE_KEY_BYTES = 16;
export const NONCE_BYTES = 16;
const PAYLOAD_KEY_BYTES = 32;

/** How far a file is sealed: enough to go on with it, and to open it. Whoever has it can read the file. */
export interface AgeSealing {
  readonly recipients: readonly string[];
  readonly key: Uint8Array;
  /** What stands before the payload: the header and the nonce. */
  readonly header: Uint8Array;
  /** Chunks that are sealed. */
  readonly chunks: number;
  /** Content of the chunk that fills. */
  readonly held: Uint8Array;
}

/** Makes an age file: its header first, then what {@link seal} gives for all of the content, then {@link end}. */
export class AgeSealer {
  readonly #sealing: Omit<AgeSealing, 'chunks' | 'held'>;
  readonly #cipher: ChunkCipher;
  readonly #cutter = new ChunkCutter(CHUNK_BYTES);
  readonly #piece = new Uint8Array(AGE_PIECE_CHUNKS * SEALED_BYTES);

  private constructor({ chunks, held, ...sealing }: AgeSealing) {
    this.#sealing = sealing;
    this.#cipher = new ChunkCipher(sealing.key, chunks);
    for (const _ of this.#cutter.cut(held)) throw new RangeError('more than a chunk is held');
  }

  /** @param recipients checked (age-keys). Throws {@link InvalidRecipient} for a key that nobody can have. */
  static async begin(recipients: readonly string[]): Promise<{ sealer: AgeSealer; header: Uint8Array }> {
    const { header: wrapped, fileKey } = await makeHeader(recipients);
    const nonce = randomBytes(NONCE_BYTES);
    const key = payloadKey(fileKey, nonce);
    const header = concat([wrapped, nonce]);
    const sealer = new AgeSealer({ recipients, key, header, chunks: 0, held: new Uint8Array() });
    return { sealer, header };
  }

  static resume(sealing: AgeSealing): AgeSealer {
    return new AgeSealer(sealing);
  }

  /** To go on with later, by {@link resume}: what was sealed up to now, and what waits. */
  get sealing(): AgeSealing {
    return { ...this.#sealing, chunks: this.#cipher.chunks, held: this.#cutter.last().slice() };
  }

  /** Sealed chunks of what comes next; each piece is valid until the next. To be read to the end. */
  *seal(content: Uint8Array): Generator<Uint8Array, void, undefined> {
    let filled = 0;
    for (const chunk of this.#cutter.cut(content)) {
      filled += this.#cipher.seal(chunk, false, this.#piece.subarray(filled));
      if (this.#piece.length - filled >= SEALED_BYTES) continue;
      yield this.#piece.subarray(0, filled);
      filled = 0;
    }
    if (filled > 0) yield this.#piece.subarray(0, filled);
  }

  /** The last chunk. */
  end(): Uint8Array {
    return this.#piece.subarray(0, this.#cipher.seal(this.#cutter.last(), true, this.#piece));
  }

  release(): void {
    this.#cutter.release();
    release(this.#piece);
  }
}

/** The header for a file key of the package's making, and the key. */
async function makeHeader(recipients: readonly string[]): Promise<{ header: Uint8Array; fileKey: Uint8Array }> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  let fileKey = new Uint8Array();
  // A recipient of our own hears the key and adds nothing to the header.
  encrypter.addRecipient({
    wrapFileKey: (key) => {
      fileKey = key.slice();
      return [];
    },
  });
  // A point of low order is well-formed and still nobody's key: only the key agreement refuses it.
  const empty = await encrypter.encrypt(new Uint8Array()).catch((cause: unknown) => {
    throw new InvalidRecipient('A recipient is no key that can be encrypted to.', { cause });
  });
  if (fileKey.length !== FILE_KEY_BYTES) throw new Error('age-encryption told no file key');
  return { header: empty.slice(0, -NONCE_BYTES - TAG_BYTES), fileKey };
}

export function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', fileKey, nonce, 'payload', PAYLOAD_KEY_BYTES));
}
