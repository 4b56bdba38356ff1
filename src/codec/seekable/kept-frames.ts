import type { WholeFrame } from '../zstd/zstd-decode.ts';

/** Frames of less content count as small. */
const SMALL_BYTES = 1024 * 1024;
/** Each frame costs an entry of the seek table, which is read for every range. */
const MOST_SMALL_FRAMES = 1024;

/**
 * Hands frames that came from a sender from the decoder to the encoder, past the stages in between: the encoder stores them
 * as they came, because they have the stored form already (independent, at most FRAME_BYTES of content, its size in the
 * header). They must be pulled in lockstep: a frame is known until the decoder makes the next one.
 *
 * Of small frames only the first {@link MOST_SMALL_FRAMES} are kept; the content of further ones is encoded anew.
 */
export class KeptFrames {
  #last: WholeFrame | null = null;
  #small = 0;
  #kept = 0;

  /** How many frames were kept. */
  get count(): number {
    return this.#kept;
  }

  /** For the decoder: it made `frame.content` of a whole frame, and passes it on next. */
  readonly note = (frame: WholeFrame): void => {
    this.#last = frame;
  };

  /** Whether this chunk of content is a frame that can be kept. */
  holds(content: Uint8Array): boolean {
    return this.#last?.content === content;
  }

  /** For the encoder: returns the frame that this chunk of content came in, null where it is to be encoded. */
  readonly take = (content: Uint8Array): WholeFrame | null => {
    const frame = this.#last;
    this.#last = null;
    if (frame?.content !== content) return null;
    if (content.length < SMALL_BYTES && ++this.#small > MOST_SMALL_FRAMES) return null;
    this.#kept += 1;
    return frame;
  };
}
