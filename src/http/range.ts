/** RFC 9110, section 14: range requests. */

export type RangeRequest =
  | { readonly kind: 'whole' }
  /** Bytes `offset` to `offset + length - 1`; never empty, never past the end. */
  | { readonly kind: 'part'; readonly offset: number; readonly length: number }
  | { readonly kind: 'unsatisfiable' };

const WHOLE: RangeRequest = { kind: 'whole' };

/**
 * What a Range header asks of a representation of `size` bytes. A header that is not understood is ignored (section
 * 14.2): other units, invalid syntax, and several ranges, for which a server may send the whole.
 */
export function parseRange(header: string | null, size: number): RangeRequest {
  const [, first, last] = /^[ \t]*bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header ?? '') ?? [];
  if (first === undefined || last === undefined) return WHOLE;
  if (first === '') return last === '' ? WHOLE : suffix(Number(last), size);
  const offset = Number(first);
  const end = last === '' ? Number.POSITIVE_INFINITY : Number(last);
  if (offset > end) return WHOLE;
  if (offset >= size) return { kind: 'unsatisfiable' };
  return { kind: 'part', offset, length: Math.min(end, size - 1) - offset + 1 };
}

/** The last `length` bytes (section 14.1.2). Of nothing, that is the whole, and no Content-Range can say so. */
function suffix(length: number, size: number): RangeRequest {
  if (length === 0) return { kind: 'unsatisfiable' };
  if (size === 0) return WHOLE;
  const taken = Math.min(length, size);
  return { kind: 'part', offset: size - taken, length: taken };
}
