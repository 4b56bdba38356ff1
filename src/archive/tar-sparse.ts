/**
 * The content of sparse members: the bytes that the archive holds, and zeros for the holes. The map that tells them
 * apart stands in the header (old GNU), in pax records (GNU 0.0 and 0.1), or as text before the data (GNU 1.0).
 * https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html
 */
import { ByteReader } from '../shared/byte-reader.ts';
import { release } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import { SPARSE_MAP_BYTES, SPARSE_SEGMENTS, ZERO_PIECE_BYTES } from '../shared/limits.ts';
import type { ByteSpan } from '../shared/seek-points.ts';
import type { Pieces } from '../shared/streams.ts';
import type { Member } from './member.ts';
import { paxInteger } from './pax-records.ts';
import { readTarEntry } from './tar-entry.ts';
import { BrokenTar, SparseMapMalformed, SparseMapTooLarge } from './tar-errors.ts';
import { paddedBytes } from './tar-header.ts';
import type { SparseMapPlace } from './tar-sparse-map.ts';

const COMMA = 0x2c;
const NEWLINE = 0x0a;
/** Digits of a number in a map, and some zeros before them. */
const NUMBER_CHARS = 32;

/** A run of bytes that the archive holds: where it belongs in the file. Whatever lies between is zeros. */
type Segment = ByteSpan;

type Bytes = AsyncGenerator<Uint8Array, void, undefined>;

/** What is stored is not what was scanned when it came in. */
class ArchiveChanged extends VaultError {
  constructor(reason: string) {
    super('stored-data-corrupt', `The archive is not what it was when it was indexed: ${reason}.`);
  }
}

/**
 * The bytes `range` of a sparse member. `archive` begins at `member.headerOffset` and reaches to the end of the
 * member's data at least; of it no more is read than the range needs, and it is left at the end.
 *
 * Throws RangeError for a range beyond the member, {@link SparseMapMalformed} and {@link SparseMapTooLarge} before the
 * first byte. Zeros are views of one buffer.
 */
export async function* sparseContent(archive: Pieces, member: Member, range: ByteSpan): Bytes {
  checkRange(range, member);
  const reader = new ByteReader(archive);
  const zeros = new Uint8Array(Math.min(ZERO_PIECE_BYTES, range.length));
  try {
    const segments = checkSegments(await readMap(reader, member), member, heldBytes(reader, member));
    yield* expanded(reader, segments, range, zeros);
  } finally {
    release(zeros);
    await reader.close();
  }
}

function checkRange({ offset, length }: ByteSpan, { size }: Member): void {
  if (offset < 0 || length < 0 || offset + length > size) throw new RangeError('the range lies beyond the member');
}

/** Data of the member that are not read yet. */
function heldBytes(reader: ByteReader, { headerOffset, dataOffset, dataBytes }: Member): number {
  return dataOffset + dataBytes - (headerOffset + reader.position);
}

/** Reads all that stands before the file's bytes. */
async function readMap(reader: ByteReader, member: Member): Promise<Segment[]> {
  const place = await findMap(reader, member);
  switch (place.kind) {
    case 'headers':
      return segmentsOf(place.pairs);
    case 'pax-text':
      if (place.text.length > SPARSE_MAP_BYTES) throw new SparseMapTooLarge();
      return segmentsOf(numbersOf(place.text));
    case 'data':
      return await readMapInData(reader);
    case 'unknown':
      throw new SparseMapMalformed('it is in a format that is not known here');
  }
}

async function findMap(reader: ByteReader, { headerOffset, dataOffset }: Member): Promise<SparseMapPlace> {
  const entry = await readTarEntry(reader, { globals: new Map(), keepsMap: true }).catch((error: unknown) => {
    throw error instanceof BrokenTar ? new ArchiveChanged(error.reason) : error;
  });
  const sparseMap = entry.kind === 'entry' ? entry.sparseMap : null;
  if (sparseMap && headerOffset + reader.position === dataOffset) return sparseMap;
  throw new ArchiveChanged('the member is not where it was');
}

function segmentsOf(pairs: readonly number[]): Segment[] {
  if (pairs.length % 2 !== 0) throw new SparseMapMalformed('a segment has no length');
  if (pairs.length > 2 * SPARSE_SEGMENTS) throw new SparseMapTooLarge();
  const segments: Segment[] = [];
  for (let i = 0; i < pairs.length; i += 2) {
    segments.push({ offset: pairs[i] ?? Number.NaN, length: pairs[i + 1] ?? Number.NaN });
  }
  return segments;
}

/** Numbers between commas. */
function numbersOf(text: Uint8Array): number[] {
  const numbers: number[] = [];
  for (let at = 0; at <= text.length; ) {
    const comma = text.indexOf(COMMA, at);
    const end = comma < 0 ? text.length : comma;
    numbers.push(paxInteger(text.subarray(at, end)));
    if (numbers.length > 2 * SPARSE_SEGMENTS) throw new SparseMapTooLarge();
    at = end + 1;
  }
  return numbers;
}

/** GNU 1.0: how many segments, then their offsets and lengths, each on a line; then NULs to a whole block. */
async function readMapInData(reader: ByteReader): Promise<Segment[]> {
  const begin = reader.position;
  const count = await readLine(reader);
  if (!(count >= 0)) throw new SparseMapMalformed('it does not say how many segments there are');
  if (count > SPARSE_SEGMENTS) throw new SparseMapTooLarge();
  const pairs: number[] = [];
  while (pairs.length < 2 * count) {
    pairs.push(await readLine(reader));
    if (reader.position - begin > SPARSE_MAP_BYTES) throw new SparseMapTooLarge();
  }
  const mapBytes = reader.position - begin;
  await reader.skip(paddedBytes(mapBytes) - mapBytes);
  return segmentsOf(pairs);
}

async function readLine(reader: ByteReader): Promise<number> {
  let end = reader.buffered.subarray(0, NUMBER_CHARS).indexOf(NEWLINE);
  if (end < 0) end = (await reader.fill(NUMBER_CHARS)).subarray(0, NUMBER_CHARS).indexOf(NEWLINE);
  if (end < 0) throw new SparseMapMalformed('a line of it is no number');
  const number = paxInteger(reader.buffered.subarray(0, end));
  reader.consume(end + 1);
  return number;
}

/**
 * Segments come in order, within the file, and hold what the archive holds: a map that says anything else would give
 * wrong bytes, or those of the next member. Empty segments (one tells where the last hole ends) are left out.
 */
function checkSegments(segments: readonly Segment[], { size }: Member, heldBytes: number): Segment[] {
  let end = 0;
  let told = 0;
  for (const { offset, length } of segments) {
    if (!(offset >= 0 && length >= 0)) throw new SparseMapMalformed('it holds what is no number');
    if (offset < end) throw new SparseMapMalformed('its segments overlap or are out of order');
    end = offset + length;
    told += length;
    if (end > size) throw new SparseMapMalformed('it reaches beyond the end of the file');
  }
  if (told !== heldBytes) throw new SparseMapMalformed('it tells of other data than the archive holds');
  return segments.filter(({ length }) => length > 0);
}

/** Data lie one segment after the other in the archive, whatever lies between them in the file. */
async function* expanded(reader: ByteReader, segments: readonly Segment[], range: ByteSpan, zeros: Uint8Array): Bytes {
  const end = range.offset + range.length;
  let at = range.offset;
  for (const { offset, length } of segments) {
    if (at >= end) break;
    if (offset + length <= at) {
      await stepOver(reader, length);
      continue;
    }
    const from = Math.min(Math.max(at, offset), end);
    yield* zeroPieces(zeros, from - at);
    at = Math.min(offset + length, end);
    if (at === from) break;
    await stepOver(reader, from - offset);
    yield* dataPieces(reader, at - from);
  }
  yield* zeroPieces(zeros, end - at);
}

function* zeroPieces(zeros: Uint8Array, bytes: number): Generator<Uint8Array, void, undefined> {
  for (let left = bytes; left > 0; left -= zeros.length) {
    yield left < zeros.length ? zeros.subarray(0, left) : zeros;
  }
}

async function stepOver(reader: ByteReader, bytes: number): Promise<void> {
  if (!(await reader.skip(bytes))) throw new ArchiveChanged('it ends within the member');
}

async function* dataPieces(reader: ByteReader, bytes: number): Bytes {
  for (let left = bytes; left > 0; ) {
    const piece = (await reader.fill(1)).subarray(0, left);
    if (piece.length === 0) throw new ArchiveChanged('it ends within the member');
    reader.consume(piece.length);
    left -= piece.length;
    yield piece;
  }
}
