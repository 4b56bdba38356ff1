import { contentAt, type EncodedSpan, encodedAt, type SeekPoints } from '../../shared/seek-points.ts';
import { MalformedZstd } from '../zstd/malformed-zstd.ts';
import type { FrameStart } from '../zstd/zstd-decode.ts';

/** The points do not fit the bytes. Offsets count from the file's start. */
export class PointsRefused extends MalformedZstd {}

/** Holds what decoding meets against the points of a span, and throws {@link PointsRefused}. */
export class PointsCheck {
  readonly #points: SeekPoints;
  readonly #where: EncodedSpan;
  /** The point whose group comes next. */
  #next: number;
  #made: number;

  constructor(points: SeekPoints, where: EncodedSpan) {
    this.#points = points;
    this.#where = where;
    this.#next = where.firstPoint;
    this.#made = where.contentOffset;
  }

  /** A frame begins: every point up to here must have been a frame's start, with the content that was told. */
  frame({ encodedOffset, encodedEnd, contentBytes }: FrameStart): void {
    const at = this.#where.span.offset + encodedOffset;
    while (this.#next < this.#where.endPoint && encodedAt(this.#points, this.#next) <= at) this.#meet(at);
    const groupEnd = contentAt(this.#points, this.#next);
    if (contentBytes === null) return;
    const end = this.#made + contentBytes;
    const closesGroup =
      encodedEnd !== null && this.#where.span.offset + encodedEnd === encodedAt(this.#points, this.#next);
    if (end > groupEnd || (closesGroup && end !== groupEnd))
      this.#refuse('a frame does not hold as much as the points to seek say', at);
  }

  /**
   * Content is about to be given: it may not reach beyond the next point, which frames that tell no size are caught at.
   * Beyond the end it may: points that were gathered from a file's beginning know no better, and it is cut off.
   */
  piece(bytes: number): void {
    this.#made += bytes;
    const next = this.#points.content[this.#next];
    if (next !== undefined && this.#made > next) {
      this.#refuse(
        'there is more content before this point than the points to seek say',
        encodedAt(this.#points, this.#next),
      );
    }
  }

  #meet(frameOffset: number): void {
    const offset = encodedAt(this.#points, this.#next);
    const content = contentAt(this.#points, this.#next);
    if (content !== this.#made)
      this.#refuse('the content of this point does not begin where the points to seek say', offset);
    // Skippable frames may stand before the first frame of a file, and be all that a group without content is.
    const mayBeSkipped = offset === 0 || contentAt(this.#points, this.#next + 1) === content;
    if (offset !== frameOffset && !mayBeSkipped) this.#refuse('no frame begins where the points to seek say', offset);
    this.#next += 1;
  }

  #refuse(reason: string, offset: number): never {
    throw new PointsRefused(reason, offset);
  }
}
