/** Archives for the tests of the way in, and what is expected of them. */
import { gzipSync } from 'node:zlib';
import type { Member } from '../../../src/archive/member.ts';
import { readLayers } from '../../../src/codec/seekable/layer-reader.ts';
import type { ZstdEngine } from '../../../src/codec/zstd/engine.ts';
import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { concat } from '../../../src/shared/bytes.ts';
import type { Layer } from '../../../src/shared/seek-points.ts';
import { octal, padded, rawHeader, text } from '../archive/tar-samples.ts';
import { collect, noise } from '../codec/bytes.ts';

/** Files `0.bin`, `1.bin` … of the given sizes, whose content is noise of their own. */
export function tarOf(sizes: readonly number[]): Uint8Array<ArrayBuffer> {
  const members = sizes.map((size, i) =>
    concat([rawHeader({ name: `${i}.bin`, size: octal(size) }), padded(contentOf(i, size))]),
  );
  return new Uint8Array(concat([...members, new Uint8Array(1024)]));
}

export function contentOf(i: number, size: number): Uint8Array {
  return noise(size, i + 1);
}

export function gzip(content: Uint8Array, level = 6): Uint8Array {
  return new Uint8Array(gzipSync(content, { level }));
}

/** As many frames as it takes, or gzip members, each of `bytes` of the content. */
export function inPieces(content: Uint8Array, bytes: number, pack: (part: Uint8Array) => Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < content.length; at += bytes) parts.push(pack(content.subarray(at, at + bytes)));
  return concat(parts);
}

export function zstd(content: Uint8Array): Uint8Array {
  return nativeEngine.compressFrame(content, 1);
}

export function repeated(unit: Uint8Array, times: number): Uint8Array {
  const all = new Uint8Array(unit.length * times);
  for (let i = 0; i < times; i++) all.set(unit, i * unit.length);
  return all;
}

/** Reads members through the layers out of the stored bytes; `read` counts the stored bytes that were read for it. */
export function memberReader(stored: Uint8Array, layers: readonly Layer[], engine: ZstdEngine) {
  const seen = { reads: 0, bytes: 0 };
  async function* read({ offset, length }: { offset: number; length: number }): AsyncGenerator<Uint8Array> {
    seen.reads += 1;
    for (let at = offset; at < offset + length; at += 64 * 1024) {
      const piece = stored.slice(at, Math.min(at + 64 * 1024, offset + length));
      seen.bytes += piece.length;
      yield piece;
    }
  }
  const contents = readLayers(read, layers, { engine });
  const content = (member: Member) => collect(contents({ offset: member.dataOffset, length: member.dataBytes }));
  return { seen, content };
}

/** The number in the name of a member that {@link tarOf} made. */
export function numberOf(member: Member): number {
  return Number.parseInt(text(member.path), 10);
}
