import { concat } from '../../../src/shared/bytes.ts';
import type { Pieces, Stage } from '../../../src/shared/streams.ts';

/** Bytes that do not compress, the same at every run. */
export function noise(bytes: number, seed = 1): Uint8Array {
  const content = new Uint8Array(bytes);
  let state = seed;
  for (let i = 0; i < bytes; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    content[i] = state;
  }
  return content;
}

/** Bytes that compress about as a log does. */
export function text(bytes: number): Uint8Array {
  const content = noise(bytes, 7);
  for (let i = 0; i < bytes; i++) content[i] = i % 5 < 3 ? 97 + (i % 5) : 97 + ((content[i] ?? 0) & 7);
  return content;
}

/** `bytes` in chunks of `chunkBytes`; each is valid until the next pull only, as the contract of Pieces has it. */
export async function* chunked(bytes: Uint8Array, chunkBytes: number): Pieces & AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(chunkBytes);
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const chunk = bytes.subarray(at, at + chunkBytes);
    buffer.set(chunk);
    yield buffer.subarray(0, chunk.length);
    buffer.fill(0xee);
  }
}

export async function collect(pieces: Pieces): Promise<Uint8Array> {
  const held: Uint8Array[] = [];
  for await (const piece of pieces) held.push(piece.slice());
  return concat(held);
}

export function run(stage: Stage, input: Uint8Array, chunkBytes = 64 * 1024): Promise<Uint8Array> {
  return collect(stage(chunked(input, chunkBytes)));
}

/** Faster than toEqual, and says where. */
export function firstDifference(a: Uint8Array, b: Uint8Array): string | null {
  if (a.length !== b.length) return `lengths ${a.length} and ${b.length}`;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return `at ${i}`;
  return null;
}
