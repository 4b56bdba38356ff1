/** What a `Range` header asks of a representation of known size. `offset` and `length` in bytes. */
export type RequestedRange =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part'; readonly offset: number; readonly length: number }
  | { readonly kind: 'unsatisfiable' };

const WHOLE: RequestedRange = { kind: 'whole' };
const UNSATISFIABLE: RequestedRange = { kind: 'unsatisfiable' };

/**
 * RFC 9110, section 14.1.2 and 14.2. One range of bytes is honoured. What is no valid range, has another unit, or asks
 * for several is passed over, as section 14.2 allows: the answer is then the whole.
 */
export function parseRange(header: string | null, size: number): RequestedRange {
  const [, first, last] = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header ?? '') ?? [];
  if (first === undefined || last === undefined) return WHOLE;
  if (first === '') return last === '' ? WHOLE : suffix(Number(last), size);
  const from = Number(first);
  const to = last === '' ? Number.POSITIVE_INFINITY : Number(last);
  if (to < from) return WHOLE;
  if (from >= size) return UNSATISFIABLE;
  return { kind: 'part', offset: from, length: Math.min(to, size - 1) - from + 1 };
}

/** `-n`: the last n bytes; all of them where there are fewer. */
function suffix(wanted: number, size: number): RequestedRange {
  if (wanted === 0 || size === 0) return UNSATISFIABLE;
  const length = Math.min(wanted, size);
  return { kind: 'part', offset: size - length, length };
}
