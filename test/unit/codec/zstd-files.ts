/** zstd files made by hand, RFC 8878: what no honest encoder writes. */
import { concat } from '../../../src/shared/bytes.ts';

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
const BLOCK_BYTES = 128 * 1024;

export function skippable(content: Uint8Array, nibble = 0): Uint8Array {
  const frame = new Uint8Array(8 + content.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, 0x184d2a50 + nibble, true);
  view.setUint32(4, content.length, true);
  frame.set(content, 8);
  return frame;
}

/** A header with a window of 128 KiB and, if given, a content size of eight bytes. */
export function frameHeader(contentBytes?: number): Uint8Array {
  if (contentBytes === undefined) return Uint8Array.of(...MAGIC, 0, 7 << 3);
  const size = new Uint8Array(8);
  new DataView(size.buffer).setBigUint64(0, BigInt(contentBytes), true);
  return Uint8Array.of(...MAGIC, 3 << 6, 7 << 3, ...size);
}

export function blockHeader(type: number, size: number, last: boolean): number[] {
  const field = (size << 3) | (type << 1) | (last ? 1 : 0);
  return [field & 0xff, (field >> 8) & 0xff, (field >> 16) & 0xff];
}

/** `contentBytes` of zeros, four bytes for each 128 KiB; the header says `claimed`, or nothing. */
export function zeros(contentBytes: number, claimed?: number): Uint8Array {
  const blocks = Math.ceil(contentBytes / BLOCK_BYTES);
  const body = new Uint8Array(4 * blocks);
  for (let i = 0; i < blocks; i++) {
    const last = i === blocks - 1;
    body.set(blockHeader(1, last ? contentBytes - i * BLOCK_BYTES : BLOCK_BYTES, last), 4 * i);
  }
  return concat([frameHeader(claimed), body]);
}
