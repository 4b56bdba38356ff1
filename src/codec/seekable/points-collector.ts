import { MAX_SEEK_POINTS, SEEK_POINT_BYTES } from '../../shared/limits.ts';
import type { SeekPoints } from '../../shared/seek-points.ts';
import type { FrameStart } from '../zstd/zstd-decode.ts';

/**
 * Gathers the points of a zstd file while it is decoded: hand {@link PointsCollector.add} to `zstdDecode` as `onFrame`.
 * Not every frame becomes a point: from one to the next lies at least 1 MiB of content, and where there are more than
 * MAX_SEEK_POINTS of them the distance doubles, so that memory is bounded for a file of any size and any frames.
 */
export class PointsCollector {
  readonly #maxPoints: number;
  #distance: number;
  #encoded: number[] = [0];
  #content: number[] = [0];
  #frames = 0;

  constructor({ distanceBytes = SEEK_POINT_BYTES, maxPoints = MAX_SEEK_POINTS } = {}) {
    this.#distance = distanceBytes;
    this.#maxPoints = maxPoints;
  }

  /** How many frames were met. */
  get frames(): number {
    return this.#frames;
  }

  readonly add = ({ encodedOffset, contentOffset }: FrameStart): void => {
    this.#frames += 1;
    if (contentOffset - (this.#content.at(-1) ?? 0) < this.#distance) return;
    this.#encoded.push(encodedOffset);
    this.#content.push(contentOffset);
    if (this.#content.length > this.#maxPoints) this.#thinOut();
  };

  /**
   * The points, when decoding has ended, at the end or before it.
   *
   * @param encodedBytes of the whole file, or up to where it was decoded
   * @param contentBytes what came out of that
   */
  finish(encodedBytes: number, contentBytes: number): SeekPoints {
    // A frame that was met but gave nothing is no place to begin at.
    const kept = this.#content.filter((at, i) => i === 0 || at < contentBytes).length;
    return {
      encoded: this.#encoded.slice(0, kept),
      content: this.#content.slice(0, kept),
      encodedBytes,
      contentBytes,
    };
  }

  #thinOut(): void {
    this.#distance *= 2;
    let kept = 1;
    for (let i = 1; i < this.#content.length; i++) {
      const at = this.#content[i] ?? 0;
      if (at - (this.#content[kept - 1] ?? 0) < this.#distance) continue;
      this.#content[kept] = at;
      this.#encoded[kept] = this.#encoded[i] ?? 0;
      kept += 1;
    }
    this.#content.length = kept;
    this.#encoded.length = kept;
  }
}
