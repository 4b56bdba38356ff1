import {
  parseSeekTable,
  parseSeekTableFooter,
  SEEK_TABLE_FOOTER_BYTES,
  seekTableBytes,
} from '../../../src/codec/seekable/seek-table.ts';
import { type ReadBytes, seekPoints } from '../../../src/codec/seekable/seek-table-points.ts';
import { MalformedZstd } from '../../../src/codec/zstd/malformed-zstd.ts';
import { MAX_SEEK_TABLE_BYTES } from '../../../src/shared/limits.ts';
import type { SeekPoints } from '../../../src/shared/seek-points.ts';

/**
 * The points of somebody's seekable file: a read of its footer, and one of its table. null where it ends with no seek
 * table, or with one larger than it is worth to hold. Throws MalformedZstd where the table lies.
 */
export async function readForeignPoints(readBytes: ReadBytes, storedBytes: number): Promise<SeekPoints | null> {
  if (storedBytes < seekTableBytes(0, false)) return null;
  const end = { offset: storedBytes - SEEK_TABLE_FOOTER_BYTES, length: SEEK_TABLE_FOOTER_BYTES };
  const footer = parseSeekTableFooter(await readBytes(end));
  if (footer === null) return null;
  const { tableBytes } = footer;
  if (tableBytes > storedBytes) throw new MalformedZstd('the seek table is larger than the file', end.offset);
  if (tableBytes > MAX_SEEK_TABLE_BYTES) return null;
  const table = await readBytes({ offset: storedBytes - tableBytes, length: tableBytes });
  return seekPoints(parseSeekTable(table), { storedBytes });
}
