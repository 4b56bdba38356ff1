/** RFC 9110, section 13: conditional requests, for a representation that exists. */

export interface ConditionalRequest {
  readonly method: string;
  readonly headers: Headers;
  /** Quoted, with `W/` where weak. */
  readonly etag: string;
  readonly lastModified: Date;
  /** Whether other representations at the same address have the same date: then it tells none of them apart. */
  readonly sharedDate?: boolean;
}

export type Verdict =
  /** `useRange`: whether a Range header, if there is one, counts. */
  | { readonly kind: 'proceed'; readonly useRange: boolean }
  /** 304 */
  | { readonly kind: 'not-modified' }
  /** 412 */
  | { readonly kind: 'failed' };

/** The preconditions of a request, in the order of section 13.2.2. Dates and lists that cannot be read are ignored. */
export function evaluateConditions(request: ConditionalRequest): Verdict {
  const { headers, etag } = request;
  const reads = request.method === 'GET' || request.method === 'HEAD';

  // 1, 2: If-Match (13.1.1); If-Unmodified-Since (13.1.4) only without it.
  const ifMatch = headers.get('if-match');
  if (ifMatch !== null) {
    if (!matches(ifMatch, etag, sameStrong)) return { kind: 'failed' };
  } else if (modifiedAfter(request, 'if-unmodified-since') === true) {
    return { kind: 'failed' };
  }

  // 3, 4: If-None-Match (13.1.2); If-Modified-Since (13.1.3) only without it, and only for GET and HEAD.
  const ifNoneMatch = headers.get('if-none-match');
  if (ifNoneMatch !== null) {
    if (matches(ifNoneMatch, etag, sameWeak)) return { kind: reads ? 'not-modified' : 'failed' };
  } else if (reads && modifiedAfter(request, 'if-modified-since') === false) {
    return { kind: 'not-modified' };
  }

  // 5: If-Range (13.1.5). Range itself is defined for GET alone (14.2).
  return { kind: 'proceed', useRange: request.method === 'GET' && rangeStillFits(request) };
}

/**
 * An If-Range is one strong tag, or a date that is exactly ours. Of objects that never change a date is a strong
 * validator (section 8.8.2.2), unless several representations share it.
 */
function rangeStillFits({ headers, etag, lastModified, sharedDate = false }: ConditionalRequest): boolean {
  const ifRange = headers.get('if-range')?.trim();
  if (ifRange === undefined) return true;
  if (ifRange.endsWith('"')) return sameStrong(ifRange, etag);
  return !sharedDate && httpDate(ifRange) === inWholeSeconds(lastModified);
}

/** Undefined where there is no such header, or no date in it. */
function modifiedAfter({ headers, lastModified }: ConditionalRequest, name: string): boolean | undefined {
  const date = httpDate(headers.get(name) ?? '');
  return date === null ? undefined : inWholeSeconds(lastModified) > date;
}

/** An HTTP date has no fraction: without this, a resource would be newer than its own Last-Modified. */
function inWholeSeconds(date: Date): number {
  return Math.floor(date.getTime() / 1000) * 1000;
}

/** Section 8.8.3.2: two tags are the same strongly if neither is weak. */
function sameStrong(a: string, b: string): boolean {
  return a === b && !a.startsWith('W/');
}

function sameWeak(a: string, b: string): boolean {
  return a.replace(/^W\//, '') === b.replace(/^W\//, '');
}

/** `*` or a list of tags; a tag may have commas in it. */
function matches(list: string, etag: string, same: (a: string, b: string) => boolean): boolean {
  if (list.trim() === '*') return true;
  const tags = /[ \t]*(?:((?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?(?:,|$)/y;
  for (let at = 0; at < list.length; at = tags.lastIndex) {
    tags.lastIndex = at;
    const found = tags.exec(list);
    if (!found) return false;
    if (found[1] !== undefined && same(found[1], etag)) return true;
  }
  return false;
}

const IMF_FIXDATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;
const RFC_850 = /^[A-Z][a-z]+day, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT$/;
const ASCTIME = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/;

/** Section 5.6.7: the three forms of a date, in milliseconds since 1970; null for anything else. */
function httpDate(text: string): number | null {
  if (!IMF_FIXDATE.test(text) && !RFC_850.test(text) && !ASCTIME.test(text)) return null;
  const time = Date.parse(ASCTIME.test(text) ? `${text} GMT` : text.replace(/^[A-Za-z]+, /, '').replaceAll('-', ' '));
  return Number.isNaN(time) ? null : time;
}
