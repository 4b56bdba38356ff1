/** Seek tables of stored files as points to seek: read with few requests, and believed in nothing that can be checked. */
import { FRAME_BYTES, MAX_SEEK_TABLE_BYTES } from '../../shared/limits.ts';
import type { ByteSpan, SeekPoints } from '../../shared/seek-points.ts';
import { MalformedZstd } from '../zstd/malformed-zstd.ts';
import { parseSeekTable, parseSeekTableFooter, type SeekEntry, seekTableBytes } from './seek-table.ts';

/** Reads a span of a stored file whole: few bytes. Fewer than asked for are the same as none. */
export type ReadBytes = (span: ByteSpan) => Promise<Uint8Array>;

/** What the catalogue says of a file in our stored form. */
export interface StoredForm {
  readonly storedBytes: number;
  readonly contentBytes: number;
  readonly frames: number;
}

/** A seek table, and what it says as points. */
export interface StoredTable {
  readonly entries: readonly SeekEntry[];
  readonly points: SeekPoints;
}

/** The points of a file in our stored form, a point a frame. Reads and throws as {@link readStoredTable}. */
export async function readStoredPoints(readBytes: ReadBytes, stored: StoredForm): Promise<SeekPoints> {
  return (await readStoredTable(readBytes, stored)).points;
}

/**
 * The seek table of a file in our stored form, from one read of its tail. Throws MalformedZstd where it is not one for
 * that file: frames and sizes are checked.
 */
export async function readStoredTable(readBytes: ReadBytes, stored: StoredForm): Promise<StoredTable> {
  const { storedBytes, frames } = stored;
  const fewestBytes = seekTableBytes(frames, false);
  if (!Number.isSafeInteger(frames) || frames < 1 || fewestBytes > Math.min(storedBytes, MAX_SEEK_TABLE_BYTES)) {
    throw new MalformedZstd(`there is no room for a seek table of ${frames} frames`, storedBytes);
  }
  const tailBytes = Math.min(storedBytes, seekTableBytes(frames, true));
  const tail = await readBytes({ offset: storedBytes - tailBytes, length: tailBytes });
  const footer = tail.length === tailBytes ? parseSeekTableFooter(tail) : null;
  if (footer === null) throw new MalformedZstd('the seek table is missing', storedBytes);
  if (footer.frames !== frames || footer.tableBytes > tailBytes) {
    throw new MalformedZstd('the seek table has another number of frames', storedBytes - tailBytes);
  }
  const entries = parseSeekTable(tail.subarray(tailBytes - footer.tableBytes));
  checkFrameContents(entries, storedBytes - footer.tableBytes);
  return { entries, points: seekPoints(entries, stored) };
}

/**
 * Entries as points, a point for each frame that has content. Throws MalformedZstd where they are not those of a file
 * of `storedBytes`, the table included, and of `contentBytes`, where that is known.
 */
export function seekPoints(
  entries: readonly SeekEntry[],
  { storedBytes, contentBytes }: { storedBytes: number; contentBytes?: number },
): SeekPoints {
  const hasChecksums = entries.length > 0 && entries.every((entry) => entry.checksum !== undefined);
  const framesEnd = storedBytes - seekTableBytes(entries.length, hasChecksums);
  const encoded = [0];
  const content = [0];
  let at = 0;
  let from = 0;
  for (const entry of entries) {
    if (entry.compressedBytes === 0) throw new MalformedZstd('the seek table has a frame of no bytes', framesEnd);
    // What has no content (a skippable frame, says the format) is no place to begin at.
    if (entry.contentBytes > 0 && at > 0) {
      encoded.push(at);
      content.push(from);
    }
    at += entry.compressedBytes;
    from += entry.contentBytes;
    if (at > framesEnd) throw new MalformedZstd('the seek table reaches beyond the file', framesEnd);
  }
  if (at !== framesEnd) throw new MalformedZstd('the seek table does not reach to itself', framesEnd);
  if (!Number.isSafeInteger(from) || (contentBytes !== undefined && from !== contentBytes)) {
    throw new MalformedZstd('the seek table adds up to another content', framesEnd);
  }
  return { encoded, content, encodedBytes: at, contentBytes: from };
}

/** Frames of our stored form hold at most FRAME_BYTES, and nothing only where the frame is alone. */
function checkFrameContents(entries: readonly SeekEntry[], tableOffset: number): void {
  for (const { contentBytes } of entries) {
    if (contentBytes > FRAME_BYTES || (contentBytes === 0 && entries.length > 1)) {
      throw new MalformedZstd(`the seek table has a frame of ${contentBytes} bytes of content`, tableOffset);
    }
  }
}
