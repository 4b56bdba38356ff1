import { encodeSeekTable, parseSeekTable, parseSeekTableFooter, type SeekEntry } from '../codec/seekable/seek-table.ts';
import { MalformedZstd } from '../codec/zstd/malformed-zstd.ts';
import { FRAME_BYTES } from '../shared/limits.ts';
import type { ByteSpan } from '../shared/seek-points.ts';

/** What the catalogue and the storage say of a file in our stored form. */
export interface StoredFile {
  /** Bytes of the object that is there, which may be others than were written. */
  readonly objectBytes: number;
  readonly contentBytes: number;
  readonly frames: number;
}

export type StoredTable =
  | { readonly kind: 'whole'; readonly entries: readonly SeekEntry[] }
  | { readonly kind: 'broken'; readonly reason: string };

/**
 * The seek table at the end of a file, from one read, and whether it can be one of that file. What it says of single
 * frames is compared when they are read.
 */
export async function readStoredTable(
  readBytes: (span: ByteSpan) => Promise<Uint8Array>,
  file: StoredFile,
): Promise<StoredTable> {
  const length = Math.min(file.objectBytes, largestTableBytes(file.frames));
  if (length === 0) return broken('the stored object is empty');
  const tail = await readBytes({ offset: file.objectBytes - length, length });
  try {
    const tableBytes = parseSeekTableFooter(tail)?.tableBytes ?? 0;
    if (tableBytes === 0 || tableBytes > tail.length) return broken('the seek table does not end as one');
    const entries = parseSeekTable(tail.subarray(tail.length - tableBytes));
    const lie = lieOf(entries, file.objectBytes - tableBytes, file);
    return lie === null ? { kind: 'whole', entries } : broken(lie);
  } catch (error) {
    if (error instanceof MalformedZstd) return broken(error.reason);
    throw error;
  }
}

function broken(reason: string): StoredTable {
  return { kind: 'broken', reason };
}

const EMPTY = encodeSeekTable([]).length;
const ENTRY_BYTES = encodeSeekTable([{ compressedBytes: 0, contentBytes: 0, checksum: 0 }]).length - EMPTY;

/** With checksums: without them it is shorter, and what is read too much is left alone. */
function largestTableBytes(frames: number): number {
  return EMPTY + frames * ENTRY_BYTES;
}

/** What in the table cannot be true; null where nothing is. */
function lieOf(entries: readonly SeekEntry[], framesBytes: number, file: StoredFile): string | null {
  if (entries.length !== file.frames) return 'the seek table has another number of frames than were written';
  let compressed = 0;
  let content = 0;
  for (const entry of entries) {
    compressed += entry.compressedBytes;
    content += entry.contentBytes;
    if (entry.contentBytes > FRAME_BYTES) return 'the seek table tells of a larger frame than is ever written';
  }
  if (compressed !== framesBytes) return 'the seek table adds up to another size than the frames have';
  if (content !== file.contentBytes) return 'the seek table adds up to another size than the content has';
  return null;
}
