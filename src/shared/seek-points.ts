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

/** Where to decode for a span of content: one contiguous span of encoded bytes, and what comes out of it. */
export interface EncodedSpan {
  readonly span: ByteSpan;
  /** The points whose groups it is: from `firstPoint` to before `endPoint`. */
  readonly firstPoint: number;
  readonly endPoint: number;
  /** Where in the content decoding begins, at or before the span asked for. */
  readonly contentOffset: number;
  /** How much content the encoded bytes hold. */
  readonly contentBytes: number;
}

/**
 * The groups (what lies between two points) that hold `span` of the content, and no others. An empty span needs no
 * bytes: its groups are none. Throws a RangeError where the span reaches beyond the content.
 */
export function encodedSpan(points: SeekPoints, span: ByteSpan): EncodedSpan {
  checkSpan(span, points.contentBytes);
  const firstPoint = lastAtMost(points.content, span.offset);
  const endPoint = span.length === 0 ? firstPoint : lastAtMost(points.content, span.offset + span.length - 1) + 1;
  const from = encodedAt(points, firstPoint);
  const contentOffset = contentAt(points, firstPoint);
  return {
    span: { offset: from, length: encodedAt(points, endPoint) - from },
    firstPoint,
    endPoint,
    contentOffset,
    contentBytes: contentAt(points, endPoint) - contentOffset,
  };
}

/** Where the content of the `index`-th point begins; behind the last point, where the content ends. */
export function contentAt(points: SeekPoints, index: number): number {
  return points.content[index] ?? points.contentBytes;
}

/** Where the bytes of the `index`-th point begin; behind the last point, where the last frame ends. */
export function encodedAt(points: SeekPoints, index: number): number {
  return points.encoded[index] ?? points.encodedBytes;
}

/** The most content between two points: what reading on at any offset may decode in vain. */
export function largestGroup(points: SeekPoints): number {
  return points.content.reduce((most, at, i) => Math.max(most, contentAt(points, i + 1) - at), 0);
}

/** Points for what is found only from its start. */
export function singlePoint(encodedBytes: number, contentBytes: number): SeekPoints {
  return { encoded: [0], content: [0], encodedBytes, contentBytes };
}

/**
 * Whether the numbers can be those of a file: whole, in order, within their ends. For points that were read from
 * somewhere; the functions here rely on it.
 */
export function areSeekPoints({ encoded, content, encodedBytes, contentBytes }: SeekPoints): boolean {
  if (encoded.length !== content.length || encoded[0] !== 0 || content[0] !== 0) return false;
  // The bytes of a point begin behind those of the one before; its content may begin at the same place.
  const rises = encoded.every((at, i) => i === 0 || at > (encoded[i - 1] ?? at));
  const neverFalls = content.every((at, i) => i === 0 || at >= (content[i - 1] ?? at));
  const whole = [encoded, content, [encodedBytes, contentBytes]].every((list) => list.every(Number.isSafeInteger));
  return whole && rises && neverFalls && encodedBytes >= last(encoded) && contentBytes >= last(content);
}

function checkSpan({ offset, length }: ByteSpan, size: number): void {
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!whole || offset > size || length > size - offset) {
    throw new RangeError(`the span of ${length} bytes from ${offset} on does not lie within ${size} bytes`);
  }
}

/** The last index whose value is at most `wanted`, in a list that begins with 0 and never falls. */
function lastAtMost(values: readonly number[], wanted: number): number {
  let low = 0;
  let high = values.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((values[middle] ?? Number.POSITIVE_INFINITY) <= wanted) low = middle;
    else high = middle;
  }
  return low;
}

function last(values: readonly number[]): number {
  return values[values.length - 1] ?? 0;
}
