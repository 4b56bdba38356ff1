/**
 * Whether a member is sparse, and where its map stands: in the header and in blocks after it (old GNU), in pax records
 * (GNU 0.0 and 0.1), or before the data (GNU 1.0).
 * https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html
 */
import type { ByteReader } from '../shared/byte-reader.ts';
import { SPARSE_SEGMENTS } from '../shared/limits.ts';
import { type PaxLookUp, paxInteger, paxIntegerOr } from './pax-records.ts';
import { BrokenTar, SparseMapTooLarge } from './tar-errors.ts';
import { BLOCK_BYTES, type Field, numberField, type TarHeader } from './tar-header.ts';

/** Old GNU maps: entries of two numbers, in the header (offsets here are those of its part) and in blocks after it. */
const OLD_MAP_NUMBER_BYTES = 12;
const OLD_MAP_ENTRY_BYTES = 2 * OLD_MAP_NUMBER_BYTES;
const OLD_MAP_IN_HEADER = { entries: 4, more: 96 } as const;
const OLD_MAP_IN_BLOCK = { entries: 21, more: 504 } as const;
const OLD_REAL_SIZE: Field = [97, 12];

/** Where the map of a sparse member stands. `pairs`: offsets and lengths by turns, NaN for what is no number. */
export type SparseMapPlace =
  | { readonly kind: 'headers'; readonly pairs: readonly number[] }
  | { readonly kind: 'pax-text'; readonly text: Uint8Array }
  | { readonly kind: 'data' }
  /** Told as sparse in a way that we do not know. */
  | { readonly kind: 'unknown' };

/** What is known of a member that may be sparse. */
interface Candidate {
  readonly header: TarHeader;
  readonly lookUp: PaxLookUp;
  /** What pax headers of its own repeat for GNU 0.0; null where it has none. */
  readonly paxPairs: readonly number[] | null;
  /** Bytes that the archive holds of it. */
  readonly told: number;
  /** Whether an old GNU map is gathered; it is stepped over otherwise. */
  readonly keepsMap: boolean;
}

/** Null where the member is not sparse. The blocks of an old GNU map are consumed. */
export async function sparseMapOf(
  reader: ByteReader,
  { header, lookUp, paxPairs, told, keepsMap }: Candidate,
): Promise<SparseMapPlace | null> {
  if (header.oldSparse) return { kind: 'headers', pairs: await readOldMap(reader, header.oldSparse, keepsMap) };
  if (!paxPairs) return null;
  const text = lookUp('GNU.sparse.map');
  if (text) return { kind: 'pax-text', text };
  if (isVersion1(lookUp)) return { kind: 'data' };
  if (lookUp('GNU.sparse.size')) return { kind: 'headers', pairs: paxPairs };
  const otherSize = lookUp('GNU.sparse.realsize') ?? lookUp('SCHILY.realsize');
  return paxIntegerOr(otherSize, told) === told ? null : { kind: 'unknown' };
}

function isVersion1(lookUp: PaxLookUp): boolean {
  return paxIntegerOr(lookUp('GNU.sparse.major'), 0) === 1 && paxIntegerOr(lookUp('GNU.sparse.minor'), 0) === 0;
}

/** Pairs of an old GNU map: the header's entries, then those of the blocks that follow it, which are consumed. */
async function readOldMap(reader: ByteReader, inHeader: Uint8Array, keeps: boolean): Promise<number[]> {
  const pairs: number[] = [];
  if (keeps) addOldEntries(inHeader, OLD_MAP_IN_HEADER.entries, pairs);
  let more = inHeader[OLD_MAP_IN_HEADER.more] !== 0;
  while (more) {
    const block = await reader.fill(BLOCK_BYTES);
    if (block.length < BLOCK_BYTES) throw new BrokenTar("the archive ends within a sparse file's map");
    if (keeps) addOldEntries(block, OLD_MAP_IN_BLOCK.entries, pairs);
    more = block[OLD_MAP_IN_BLOCK.more] !== 0;
    reader.consume(BLOCK_BYTES);
  }
  return pairs;
}

/** An entry without a length is not used, nor are those after it. */
function addOldEntries(bytes: Uint8Array, entries: number, pairs: number[]): void {
  for (let at = 0; at < entries * OLD_MAP_ENTRY_BYTES; at += OLD_MAP_ENTRY_BYTES) {
    if (bytes[at + OLD_MAP_NUMBER_BYTES] === 0) return;
    pairs.push(numberField(bytes, [at, OLD_MAP_NUMBER_BYTES]));
    pairs.push(numberField(bytes, [at + OLD_MAP_NUMBER_BYTES, OLD_MAP_NUMBER_BYTES]));
    if (pairs.length > 2 * SPARSE_SEGMENTS) throw new SparseMapTooLarge();
  }
}

/** Returns the size with the holes. If no size is readable, the size is `heldBytes`, the bytes in the archive, as in GNU tar. */
export function realSizeOf({ oldSparse }: TarHeader, lookUp: PaxLookUp, heldBytes: number): number {
  const inPax = lookUp('GNU.sparse.realsize') ?? lookUp('GNU.sparse.size') ?? lookUp('SCHILY.realsize');
  const size = inPax || !oldSparse ? paxInteger(inPax ?? new Uint8Array()) : numberField(oldSparse, OLD_REAL_SIZE);
  return size >= 0 ? size : heldBytes;
}
