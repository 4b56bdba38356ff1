/**
 * The headers of a zstd file, RFC 8878: pure arithmetic on bytes, so that a file is walked frame by frame and block by
 * block, and refused where need be, before any decoder sees it.
 */

/** Section 3.1.1. */
export const FRAME_MAGIC = 0xfd2fb528;
/** Section 3.1.2: sixteen of them, 0x184D2A50 to 0x184D2A5F. */
export const SKIPPABLE_MAGIC = 0x184d2a50;
export const SKIPPABLE_HEADER_BYTES = 8;
/** Magic, descriptor, window, dictionary id, content size (section 3.1.1.1). */
export const LARGEST_FRAME_HEADER_BYTES = 4 + 1 + 1 + 4 + 8;
export const BLOCK_HEADER_BYTES = 3;
export const CHECKSUM_BYTES = 4;
/** Section 3.1.1.2.4: no block holds or gives more. */
export const LARGEST_BLOCK_BYTES = 128 * 1024;

export type FrameHeader =
  | { readonly kind: 'frame'; readonly frame: ZstdFrameHeader }
  | { readonly kind: 'skippable'; readonly headerBytes: number; readonly contentBytes: number }
  /** The bytes end inside the header. */
  | { readonly kind: 'cut' }
  | { readonly kind: 'unknown' };

export interface ZstdFrameHeader {
  readonly headerBytes: number;
  /** Memory that a decoder needs for what later blocks may refer to. */
  readonly windowBytes: number;
  /** null where the frame does not tell. Infinity where it is more than a number holds exactly. */
  readonly contentBytes: number | null;
  /** 0: none. */
  readonly dictionaryId: number;
  readonly hasChecksum: boolean;
  /** Whether a bit is set that a decoder must refuse (section 3.1.1.1.1.4). */
  readonly reservedBit: boolean;
}

const BLOCK_KINDS = ['raw', 'rle', 'compressed', 'reserved'] as const;
export type BlockKind = (typeof BLOCK_KINDS)[number];

export interface BlockHeader {
  readonly kind: BlockKind;
  readonly last: boolean;
  /** Bytes a raw or rle block gives, or a compressed one holds. */
  readonly sizeField: number;
  /** Bytes that follow the header. */
  readonly storedBytes: number;
  /** Bytes it gives, or for a compressed block at most gives. */
  readonly atMostBytes: number;
}

const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;

/** Reads the header that `bytes` begin with; {@link LARGEST_FRAME_HEADER_BYTES} are always enough. */
export function parseFrameHeader(bytes: Uint8Array): FrameHeader {
  if (bytes.length < 4) return { kind: 'cut' };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const magic = view.getUint32(0, true);
  if ((magic & ~0xf) >>> 0 === SKIPPABLE_MAGIC) {
    if (bytes.length < SKIPPABLE_HEADER_BYTES) return { kind: 'cut' };
    return { kind: 'skippable', headerBytes: SKIPPABLE_HEADER_BYTES, contentBytes: view.getUint32(4, true) };
  }
  if (magic !== FRAME_MAGIC) return { kind: 'unknown' };
  return parseZstdFrameHeader(view);
}

/** Section 3.1.1.1. */
function parseZstdFrameHeader(view: DataView): FrameHeader {
  if (view.byteLength < 5) return { kind: 'cut' };
  const descriptor = view.getUint8(4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const windowFieldBytes = singleSegment ? 0 : 1;
  const dictionaryBytes = DICTIONARY_ID_BYTES[(descriptor & 3) as 0 | 1 | 2 | 3];
  const sizeBytes = sizeFlag === 0 && singleSegment ? 1 : CONTENT_SIZE_BYTES[sizeFlag as 0 | 1 | 2 | 3];
  const dictionaryAt = 5 + windowFieldBytes;
  const sizeAt = dictionaryAt + dictionaryBytes;
  const headerBytes = sizeAt + sizeBytes;
  if (view.byteLength < headerBytes) return { kind: 'cut' };
  const contentBytes = readContentSize(view, sizeAt, sizeBytes);
  const frame = {
    headerBytes,
    windowBytes: singleSegment ? (contentBytes ?? 0) : windowSize(view.getUint8(5)),
    contentBytes,
    dictionaryId: readLittleEndian(view, dictionaryAt, dictionaryBytes),
    hasChecksum: (descriptor & 4) !== 0,
    reservedBit: (descriptor & 8) !== 0,
  };
  return { kind: 'frame', frame };
}

/** Section 3.1.1.1.2. */
function windowSize(field: number): number {
  const base = 2 ** (10 + (field >> 3));
  return base + (base / 8) * (field & 7);
}

/** Section 3.1.1.1.4; the field of two bytes counts from 256. */
function readContentSize(view: DataView, at: number, bytes: number): number | null {
  if (bytes === 0) return null;
  const value = readLittleEndian(view, at, bytes);
  if (value > Number.MAX_SAFE_INTEGER) return Number.POSITIVE_INFINITY;
  return bytes === 2 ? value + 256 : value;
}

function readLittleEndian(view: DataView, at: number, bytes: number): number {
  let value = 0;
  for (let i = bytes - 1; i >= 0; i--) value = value * 256 + view.getUint8(at + i);
  return value;
}

/** Section 3.1.1.2, from the three bytes at `at`. */
export function parseBlockHeader(bytes: Uint8Array, at: number): BlockHeader {
  const field = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
  const kind = BLOCK_KINDS[((field >> 1) & 3) as 0 | 1 | 2 | 3];
  const sizeField = field >> 3;
  return {
    kind,
    last: (field & 1) === 1,
    sizeField,
    storedBytes: kind === 'rle' ? 1 : sizeField,
    atMostBytes: kind === 'compressed' ? LARGEST_BLOCK_BYTES : sizeField,
  };
}
