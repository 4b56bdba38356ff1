import { createHash } from 'node:crypto';

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
