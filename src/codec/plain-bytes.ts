/**
 * The same bytes as a plain Uint8Array. What node:zlib gives are Buffers, whose slice() makes no copy but a view: who
 * keeps bytes of a piece by slice(), as everywhere here, would find them overwritten or gone.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
