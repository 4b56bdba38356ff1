/**
 * Whether bytes are compressed already, told from how they begin: compressing them again costs time and saves nothing.
 * The numbers are each format's own magic; brotli and raw deflate have none.
 */
import { beginsWithAgeHeader } from './age-header.ts';

/** Longer than any magic number below. */
const SNIFF_BYTES = 24;

interface Magic {
  readonly at: number;
  readonly bytes: readonly number[];
}

/** RFC 1952 */
const GZIP = [0x1f, 0x8b, 0x08];
/** RFC 8878 */
const ZSTD = [0x28, 0xb5, 0x2f, 0xfd];

const MAGICS: readonly Magic[] = [
  { at: 0, bytes: GZIP },
  { at: 0, bytes: ZSTD },
  { at: 0, bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] }, // xz
  { at: 0, bytes: ascii('PK\x03\x04') }, // zip, and what is built on it: jar, docx, apk
  { at: 0, bytes: ascii('PK\x05\x06') }, // an empty zip
  { at: 0, bytes: [0x04, 0x22, 0x4d, 0x18] }, // lz4 frame
  { at: 0, bytes: [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c] }, // 7z
  { at: 0, bytes: ascii('Rar!\x1a\x07') },
  { at: 0, bytes: ascii('LZIP') },
  { at: 0, bytes: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a] }, // PNG
  { at: 0, bytes: [0xff, 0xd8, 0xff] }, // JPEG
  { at: 4, bytes: ascii('ftyp') }, // MP4, HEIC, AVIF
  { at: 8, bytes: ascii('WEBP') },
  { at: 0, bytes: ascii('OggS') },
  { at: 0, bytes: [0x1a, 0x45, 0xdf, 0xa3] }, // Matroska, WebM
];

/** Skippable frames of zstd and lz4 begin with any of sixteen magics (RFC 8878, section 3.1.2). */
const SKIPPABLE = [0x2a, 0x4d, 0x18];
/** "BZh", the level, and pi: the magic of the first block. Without the latter a text could begin like this. */
const BZIP2_BLOCK = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];

/** The compressions that the vault itself can look into, by how a file begins. null for any other bytes. */
export function compressedAs(first: Uint8Array): 'zstd' | 'gzip' | null {
  if (holds(first, 0, GZIP)) return 'gzip';
  return holds(first, 0, ZSTD) || isSkippable(first) ? 'zstd' : null;
}

/** Whether a file came encrypted in the age format. @param first bytes that {@link isEnoughToSniff}, or the whole file */
export function isAge(first: Uint8Array): boolean {
  return beginsWithAgeHeader(first) === true;
}

/**
 * Encrypted bytes look random, so they count as compressed.
 *
 * @param first bytes that {@link isEnoughToSniff}, or the whole file
 */
export function isCompressedAlready(first: Uint8Array): boolean {
  return (
    MAGICS.some(({ at, bytes }) => holds(first, at, bytes)) || isSkippable(first) || isBzip2(first) || isAge(first)
  );
}

/** Whether more bytes would change nothing about what {@link isAge} and {@link isCompressedAlready} return. */
export function isEnoughToSniff(first: Uint8Array): boolean {
  return first.length >= SNIFF_BYTES && beginsWithAgeHeader(first) !== null;
}

function isSkippable(first: Uint8Array): boolean {
  return ((first[0] ?? 0) & 0xf0) === 0x50 && holds(first, 1, SKIPPABLE);
}

function isBzip2(first: Uint8Array): boolean {
  return holds(first, 0, ascii('BZh')) && holds(first, 4, BZIP2_BLOCK);
}

function holds(bytes: Uint8Array, at: number, wanted: readonly number[]): boolean {
  return wanted.every((byte, i) => bytes[at + i] === byte);
}

function ascii(text: string): number[] {
  return Array.from(text, (character) => character.charCodeAt(0));
}
