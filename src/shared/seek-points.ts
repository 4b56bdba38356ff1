/** The vocabulary of random access: places of a compressed file at which decoding may begin. */

/** A span of bytes. */
export interface ByteSpan {
  readonly offset: number;
  readonly length: number;
}

/** Reads a span of something, in order; what it gives has exactly `span.length` bytes, or it throws. */
export type ReadSpan = (span: ByteSpan) => AsyncIterable<Uint8Array>;

/**
 * Points in order: the i-th says that what decodes to the content from byte `content[i]` on begins at byte `encoded[i]`.
 * The first is (0, 0). Between two points lies one frame, or several.
 */
export interface SeekPoints {
  readonly encoded: readonly number[];
  readonly content: readonly number[];
  /** Where the last frame ends (a seek table may follow). */
  readonly encodedBytes: number;
  readonly contentBytes: number;
}

/** One compression around a content, with its points. gzip has but one: its content is found from the start. */
export interface Layer {
  readonly codec: 'zstd' | 'gzip';
  readonly points: SeekPoints;
}
