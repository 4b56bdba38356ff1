import { ByteReader } from '../shared/byte-reader.ts';
import { MIB } from '../shared/limits.ts';
import type { ByteSpan, Layer, ReadSpan, SeekPoints } from '../shared/seek-points.ts';

/** What is cheaper to read and drop than to open another read for. */
const SKIP_BYTES = MIB;

/**
 * Reads many spans of the decoded archive, mostly in order, through as few reads of the storage as make sense: it goes
 * on in the stream that the span before has left open, unless decoding can begin anew nearer to the next one. One span
 * at a time, each read to its end or left; to be closed in a `finally`.
 */
export class ForwardReader {
  readonly #read: ReadSpan;
  readonly #layers: readonly Layer[];
  /** Nothing at or behind it will be asked for. */
  readonly #end: number;
  #open: { readonly reader: ByteReader; readonly start: number } | null = null;

  constructor(read: ReadSpan, layers: readonly Layer[], end: number) {
    this.#read = read;
    this.#layers = layers;
    this.#end = end;
  }

  readonly span: ReadSpan = (span) => this.#pieces(span);

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    await open?.reader.close();
  }

  async *#pieces({ offset, length }: ByteSpan): AsyncGenerator<Uint8Array, void, undefined> {
    const reader = await this.#readerAt(offset);
    for (let left = length; left > 0; ) {
      const held = await reader.fill(1);
      if (held.length === 0) throw new Error(`the archive ended ${left} bytes early`);
      const piece = held.subarray(0, Math.min(left, held.length));
      left -= piece.length;
      yield piece;
      reader.consume(piece.length);
    }
  }

  async #readerAt(offset: number): Promise<ByteReader> {
    if (this.#open) {
      const { reader, start } = this.#open;
      const at = start + reader.position;
      if (at <= offset && !worthJumping(this.#layers, at, offset) && (await reader.skip(offset - at))) return reader;
      await this.close();
    }
    const reader = new ByteReader(this.#read({ offset, length: this.#end - offset }));
    this.#open = { reader, start: offset };
    return reader;
  }
}

/** Whether a whole group of frames (of bytes, where nothing is compressed) lies between. */
function worthJumping(layers: readonly Layer[], from: number, to: number): boolean {
  const points = layers.at(-1)?.points;
  if (!points) return to - from > SKIP_BYTES;
  return groupOf(points, to) > groupOf(points, from) + 1;
}

/** The last point at or before `offset`. */
function groupOf({ content }: SeekPoints, offset: number): number {
  let low = 0;
  for (let high = content.length; high - low > 1; ) {
    const middle = (low + high) >> 1;
    if ((content[middle] ?? 0) <= offset) low = middle;
    else high = middle;
  }
  return low;
}
