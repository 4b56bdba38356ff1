/**
 * The seek table of the zstd seekable format, version 0.1.0: where each frame lies, in a skippable frame at the very
 * end, so that a decoder that does not know it steps over it.
 * https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
 */
import { MalformedZstd } from '../zstd/malformed-zstd.ts';

const SKIPPABLE_MAGIC = 0x184d2a5e;
const SEEKABLE_MAGIC = 0x8f92eab1;
const SKIPPABLE_HEADER_BYTES = 8;
export const SEEK_TABLE_FOOTER_BYTES = 9;
const CHECKSUM_FLAG = 0x80;
/** Bits 6 to 2 must be zero; 1 and 0 may hold anything. */
const RESERVED_BITS = 0x7c;

export interface SeekEntry {
  readonly compressedBytes: number;
  readonly contentBytes: number;
  /** The low 32 bits of the content's XXH64, which is what a frame's own checksum field holds. */
  readonly checksum?: number;
}

/** Bytes of one entry, without its checksum and with it. */
const ENTRY_BYTES = 8;
const CHECKED_ENTRY_BYTES = 12;

/** What the last {@link SEEK_TABLE_FOOTER_BYTES} of a file say about the table before them. */
export interface SeekTableFooter {
  readonly frames: number;
  readonly hasChecksums: boolean;
  /** The whole skippable frame, header and footer included: the table is the file's last `tableBytes`. */
  readonly tableBytes: number;
}

/** The table as a skippable frame. Checksums are written where every entry has one. */
export function encodeSeekTable(entries: readonly SeekEntry[]): Uint8Array {
  const hasChecksums = entries.every((entry) => entry.checksum !== undefined);
  const entryBytes = hasChecksums ? CHECKED_ENTRY_BYTES : ENTRY_BYTES;
  const table = new Uint8Array(seekTableBytes(entries.length, hasChecksums));
  const view = new DataView(table.buffer);
  view.setUint32(0, SKIPPABLE_MAGIC, true);
  view.setUint32(4, table.length - SKIPPABLE_HEADER_BYTES, true);
  let at = SKIPPABLE_HEADER_BYTES;
  for (const { compressedBytes, contentBytes, checksum } of entries) {
    view.setUint32(at, compressedBytes, true);
    view.setUint32(at + 4, contentBytes, true);
    if (hasChecksums) view.setUint32(at + 8, checksum ?? 0, true);
    at += entryBytes;
  }
  view.setUint32(at, entries.length, true);
  view.setUint8(at + 4, hasChecksums ? CHECKSUM_FLAG : 0);
  view.setUint32(at + 5, SEEKABLE_MAGIC, true);
  return table;
}

/** Reads the last bytes of a file; null where they end no seek table. */
export function parseSeekTableFooter(tail: Uint8Array): SeekTableFooter | null {
  if (tail.length < SEEK_TABLE_FOOTER_BYTES) return null;
  const view = new DataView(tail.buffer, tail.byteOffset + tail.length - SEEK_TABLE_FOOTER_BYTES);
  const descriptor = view.getUint8(4);
  if (view.getUint32(5, true) !== SEEKABLE_MAGIC || (descriptor & RESERVED_BITS) !== 0) return null;
  const frames = view.getUint32(0, true);
  const hasChecksums = (descriptor & CHECKSUM_FLAG) !== 0;
  return { frames, hasChecksums, tableBytes: seekTableBytes(frames, hasChecksums) };
}

/** Reads a whole table: the last `tableBytes` of a file. Throws MalformedZstd, offsets counted from the table's start. */
export function parseSeekTable(table: Uint8Array): SeekEntry[] {
  const footer = parseSeekTableFooter(table);
  if (footer?.tableBytes !== table.length) throw new MalformedZstd('the seek table has the wrong size', 0);
  const view = new DataView(table.buffer, table.byteOffset, table.length);
  const framed = view.getUint32(4, true) === table.length - SKIPPABLE_HEADER_BYTES;
  if (view.getUint32(0, true) !== SKIPPABLE_MAGIC || !framed) throw new MalformedZstd('this is no seek table', 0);
  const entryBytes = footer.hasChecksums ? CHECKED_ENTRY_BYTES : ENTRY_BYTES;
  return Array.from({ length: footer.frames }, (_, i) => {
    const at = SKIPPABLE_HEADER_BYTES + i * entryBytes;
    const entry = { compressedBytes: view.getUint32(at, true), contentBytes: view.getUint32(at + 4, true) };
    return footer.hasChecksums ? { ...entry, checksum: view.getUint32(at + 8, true) } : entry;
  });
}

/** Bytes of a whole table, as a skippable frame. */
export function seekTableBytes(frames: number, hasChecksums: boolean): number {
  return SKIPPABLE_HEADER_BYTES + frames * (hasChecksums ? CHECKED_ENTRY_BYTES : ENTRY_BYTES) + SEEK_TABLE_FOOTER_BYTES;
}
