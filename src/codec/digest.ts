import { createHash, type Hash } from 'node:crypto';
import { VaultError } from '../shared/errors.ts';

/** A running SHA-256. */
export interface Sha256Digest {
  update(bytes: Uint8Array): void;
  /** The 32 bytes; nothing may be added afterwards. */
  digest(): Uint8Array;
}

/** node:crypto's, since WebCrypto has no running digest, and DigestStream costs a chunk more than a byte. */
export function sha256Digest(): Sha256Digest {
  const hash = createHash('sha256');
  return {
    update: (bytes) => {
      hash.update(bytes);
    },
    digest: () => new Uint8Array(hash.digest()),
  };
}

/** The digests that a sender may announce, and their lengths in bytes. */
export const DIGEST_BYTES = { md5: 16, sha1: 20, sha256: 32, sha512: 64 } as const;
export type DigestAlgorithm = keyof typeof DIGEST_BYTES;

/** A digest that a sender announced for its bytes. */
export interface ExpectedDigest {
  readonly algorithm: DigestAlgorithm;
  /** Lower case. */
  readonly hex: string;
}

/** The bytes that came are not those that a digest was announced for. */
export class DigestMismatch extends VaultError {
  constructor({ algorithm, hex }: ExpectedDigest) {
    super(
      'checksum-mismatch',
      `The bytes that arrived have the ${algorithm} ${hex}, not the one announced. Send them again.`,
    );
  }
}

/** Compares bytes that go by with the digests announced for them. Computes nothing where none was. */
export class DigestCheck {
  readonly #running: readonly { readonly expected: ExpectedDigest; readonly hash: Hash }[];

  constructor(expected: readonly ExpectedDigest[]) {
    this.#running = expected.map((each) => ({ expected: each, hash: createHash(each.algorithm) }));
  }

  update(bytes: Uint8Array): void {
    for (const { hash } of this.#running) hash.update(bytes);
  }

  /** To be called once, after the last byte. Throws {@link DigestMismatch} for the first digest that differs. */
  check(): void {
    for (const { expected, hash } of this.#running) {
      const hex = hash.digest('hex');
      if (hex !== expected.hex) throw new DigestMismatch({ algorithm: expected.algorithm, hex });
    }
  }
}
