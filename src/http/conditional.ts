/** The selected representation's validators, and the request that may be conditional on them. */
export interface Conditions {
  readonly method: string;
  readonly headers: Headers;
  /** Quoted, strong. */
  readonly etag: string;
  readonly lastModified: Date;
}

export type Verdict =
  | { readonly kind: 'proceed'; readonly useRange: boolean }
  | { readonly kind: 'not-modified' }
  | { readonly kind: 'failed' };

/** RFC 9110, section 13.2.2, step by step. */
export function evaluateConditions({ method, headers, etag, lastModified }: Conditions): Verdict {
  // Dates have whole seconds (section 5.6.7); so has what we compare with them.
  const modified = Math.floor(lastModified.getTime() / 1000);
  const reads = method === 'GET' || method === 'HEAD';

  // Steps 1 and 2
  const ifMatch = headers.get('if-match');
  const unmodifiedSince = seconds(headers.get('if-unmodified-since'));
  if (ifMatch !== null) {
    if (!namesStrongly(ifMatch, etag)) return { kind: 'failed' };
  } else if (unmodifiedSince !== null && modified > unmodifiedSince) {
    return { kind: 'failed' };
  }

  // Steps 3 and 4
  const ifNoneMatch = headers.get('if-none-match');
  const modifiedSince = seconds(headers.get('if-modified-since'));
  if (ifNoneMatch !== null) {
    if (namesWeakly(ifNoneMatch, etag)) return { kind: reads ? 'not-modified' : 'failed' };
  } else if (reads && modifiedSince !== null && modified <= modifiedSince) {
    return { kind: 'not-modified' };
  }

  // Step 5
  const ifRange = headers.get('if-range')?.trim();
  return { kind: 'proceed', useRange: method === 'GET' && (ifRange === undefined || isSame(ifRange, etag, modified)) };
}

/** Section 13.1.5: the strong comparison for a tag; for a date the exact one. */
function isSame(ifRange: string, etag: string, modified: number): boolean {
  if (ifRange.startsWith('"') || ifRange.startsWith('W/')) return ifRange === etag;
  return seconds(ifRange) === modified;
}

function namesStrongly(list: string, etag: string): boolean {
  return list.trim() === '*' || tagsOf(list).includes(etag);
}

function namesWeakly(list: string, etag: string): boolean {
  return list.trim() === '*' || tagsOf(list).some((tag) => tag.replace(/^W\//, '') === etag);
}

/** Section 8.8.3: a tag may hold commas, so the list is not split at them. */
function tagsOf(list: string): string[] {
  return list.match(/(?:W\/)?"[^"]*"/g) ?? [];
}

/** A date that cannot be read makes its header void (sections 13.1.3 and 13.1.4). */
function seconds(date: string | null): number | null {
  const ms = Date.parse(date ?? '');
  return Number.isNaN(ms) ? null : Math.floor(ms / 1000);
}
