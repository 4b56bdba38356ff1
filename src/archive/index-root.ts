/**
 * The end of an index object:
 *
 * `blocks … | root (zstd) | footer`
 *
 * | footer | bytes |
 * | --- | --- |
 * | stored length of the root, its length decompressed | 4, 4 |
 * | CRC-32 of the stored root and of the eight bytes before this | 4 |
 * | version | 4 |
 * | magic | 8 |
 *
 * All little-endian. The root: number of members; where the reading stopped, if it did; layers; directory.
 */
import { crc32 } from 'node:zlib';
import { utf8 } from '../shared/bytes.ts';
import { INDEX_LARGEST_ROOT_BYTES, INDEX_LAYER_POINTS } from '../shared/limits.ts';
import { areSeekPoints, type Layer, type SeekPoints } from '../shared/seek-points.ts';
import { type BytesIn, BytesOut, checkedNumber } from './index-bytes.ts';
import { Directory, type DirectoryBuilder } from './index-directory.ts';
import { IndexCorrupt, IndexTooNew } from './index-errors.ts';
import type { Stopped } from './member.ts';

/** "CSINDEX" and a byte that no text has. */
const MAGIC = Uint8Array.of(0x43, 0x53, 0x49, 0x4e, 0x44, 0x45, 0x58, 0x9c);
export const INDEX_VERSION = 1;
export const INDEX_FOOTER_BYTES = 24;
const CODECS = ['zstd', 'gzip'] as const satisfies readonly Layer['codec'][];
/** Layers lie one in another: an archive in gzip in our zstd has two. */
const MOST_LAYERS = 8;

/** What a root says beside the directory. */
export interface IndexFacts {
  readonly stopped: Stopped | null;
  readonly layers: readonly Layer[];
}

export interface IndexFooter {
  readonly rootBytes: number;
  readonly rootRawBytes: number;
  readonly crc32: number;
}

export function encodeRoot(members: number, { stopped, layers }: IndexFacts, directory: DirectoryBuilder): Uint8Array {
  const out = new BytesOut(64 * 1024);
  out.varint(members);
  out.byte(stopped ? 1 : 0);
  if (stopped) {
    const reason = utf8(stopped.reason);
    out.varint(stopped.offset);
    out.varint(reason.length);
    out.bytes(reason);
  }
  out.varint(layers.length);
  for (const layer of layers) writeLayer(out, layer);
  directory.writeTo(out);
  return out.written;
}

export interface IndexRoot extends IndexFacts {
  readonly members: number;
  readonly directory: Directory;
}

/** `blockBytes`: what the object holds before its root. Throws IndexCorrupt. */
export function parseRoot(from: BytesIn, blockBytes: number): IndexRoot {
  const members = from.varint();
  const stopped = from.byte() === 0 ? null : readStopped(from);
  const layers = Array.from({ length: layerCount(from) }, () => readLayer(from));
  const directory = new Directory(from, blockBytes);
  if (from.left > 0) throw new IndexCorrupt('its root is longer than what it holds');
  return { members, stopped, layers, directory };
}

function readStopped(from: BytesIn): Stopped {
  const offset = from.varint();
  return { offset, reason: new TextDecoder().decode(from.bytes(from.varint())) };
}

function layerCount(from: BytesIn): number {
  const layers = from.varint();
  if (layers > MOST_LAYERS) throw new IndexCorrupt('it has too many layers');
  return layers;
}

function writeLayer(out: BytesOut, { codec, points }: Layer): void {
  const { encoded, content, encodedBytes, contentBytes } = fewerPoints(points);
  out.byte(CODECS.indexOf(codec));
  out.varint(encoded.length);
  writeRising(out, [...encoded, encodedBytes]);
  writeRising(out, [...content, contentBytes]);
}

function readLayer(from: BytesIn): Layer {
  const codec = CODECS[from.byte()];
  if (!codec) throw new IndexCorrupt('it has a layer of an unknown kind');
  const count = from.count(2);
  if (count > INDEX_LAYER_POINTS) throw new IndexCorrupt('it has too many points');
  const encoded = readRising(from, count);
  const encodedBytes = (encoded.at(-1) ?? 0) + from.varint();
  const content = readRising(from, count);
  const contentBytes = (content.at(-1) ?? 0) + from.varint();
  checkedNumber(encodedBytes);
  checkedNumber(contentBytes);
  const points = { encoded, content, encodedBytes, contentBytes };
  if (!areSeekPoints(points)) throw new IndexCorrupt('it has points that are out of order');
  return { codec, points };
}

/** Between two points may lie several frames: where there are too many points, every second one does, or every third. */
function fewerPoints(points: SeekPoints): SeekPoints {
  const step = Math.ceil(points.encoded.length / INDEX_LAYER_POINTS);
  if (step <= 1) return points;
  const kept = (_: number, i: number) => i % step === 0;
  return { ...points, encoded: points.encoded.filter(kept), content: points.content.filter(kept) };
}

/** Numbers that never fall, each from the one before. Throws a RangeError for others. */
function writeRising(out: BytesOut, numbers: readonly number[]): void {
  let before = 0;
  for (const number of numbers) {
    out.varint(number - before);
    before = number;
  }
}

function readRising(from: BytesIn, count: number): number[] {
  let before = 0;
  return Array.from({ length: count }, () => {
    before = checkedNumber(before + from.varint());
    return before;
  });
}

export function encodeFooter(root: Uint8Array, rootRawBytes: number): Uint8Array {
  const out = new BytesOut(INDEX_FOOTER_BYTES);
  out.uint32(root.length);
  out.uint32(rootRawBytes);
  out.uint32(crc32(out.written, crc32(root)));
  out.uint32(INDEX_VERSION);
  out.bytes(MAGIC);
  return out.written;
}

/** Reads an object's last bytes. Throws IndexCorrupt, IndexTooNew. */
export function parseFooter(tail: Uint8Array, objectBytes: number): IndexFooter {
  if (tail.length < INDEX_FOOTER_BYTES) throw new IndexCorrupt('it is cut short');
  const view = new DataView(tail.buffer, tail.byteOffset + tail.length - INDEX_FOOTER_BYTES, INDEX_FOOTER_BYTES);
  if (!MAGIC.every((byte, i) => view.getUint8(16 + i) === byte))
    throw new IndexCorrupt('its end is no end of an index');
  const version = view.getUint32(12, true);
  if (version > INDEX_VERSION) throw new IndexTooNew(version);
  if (version < 1) throw new IndexCorrupt('it has no version');
  const footer = {
    rootBytes: view.getUint32(0, true),
    rootRawBytes: view.getUint32(4, true),
    crc32: view.getUint32(8, true),
  };
  if (footer.rootBytes > objectBytes - INDEX_FOOTER_BYTES) throw new IndexCorrupt('its root is larger than it');
  if (Math.max(footer.rootBytes, footer.rootRawBytes) > INDEX_LARGEST_ROOT_BYTES || footer.rootRawBytes === 0) {
    throw new IndexCorrupt('its root has a size that none has');
  }
  return footer;
}

/** `rootAndFooter`: the object's end from the root on. */
export function checkRoot(rootAndFooter: Uint8Array, footer: IndexFooter): Uint8Array {
  const root = rootAndFooter.subarray(0, footer.rootBytes);
  const lengths = rootAndFooter.subarray(footer.rootBytes, footer.rootBytes + 8);
  if (crc32(lengths, crc32(root)) !== footer.crc32) throw new IndexCorrupt('the checksum of its root is wrong');
  return root;
}
