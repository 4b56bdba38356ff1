import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { ageDecrypt } from '../../../src/codec/age.ts';
import { concat } from '../../../src/shared/bytes.ts';
import { chunked } from './bytes.ts';

/** The header that we write for one recipient, and the nonce behind it. */
export const HEADER_BYTES = 168;
export const PAYLOAD_AT = HEADER_BYTES + 16;
export const CHUNK_BYTES = 65_536;
export const SEALED_BYTES = CHUNK_BYTES + 16;

export interface KeyPair {
  readonly identity: string;
  readonly recipient: string;
}

export async function keyPair(): Promise<KeyPair> {
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}

/** What came out, and how it ended. */
export async function outcomeOf(identity: string, file: Uint8Array, chunkBytes = 50_000) {
  const given: Uint8Array[] = [];
  let error: unknown = null;
  try {
    for await (const piece of ageDecrypt(identity)(chunked(file, chunkBytes))) given.push(piece.slice());
  } catch (thrown) {
    error = thrown;
  }
  return { content: concat(given), error };
}
