/**
 * What draft-ietf-httpbis-resumable-upload says in headers, in the order of its sections: the editors' text of 2026-07-01,
 * which follows -11 and has no number yet (interop version 8, as -09 to -11 have).
 * https://httpwg.org/http-extensions/draft-ietf-httpbis-resumable-upload.html
 *
 * They are Structured Fields (RFC 9651), read by structured-headers: an Item may have parameters, with strings in them. A
 * field of another form counts as one that is not there. Integrity digests are in digest-fields.ts.
 */
import { type BareItem, parseItem, serializeDictionary } from 'structured-headers';
import type { Config } from '../shared/config.ts';

export const DRAFT_INTEROP_VERSION = 8;
export const PARTIAL_UPLOAD = 'application/partial-upload';

/** "Offset" and "Length": a number of bytes. */
export function bytesField(field: string | undefined): number | null {
  const value = itemIn(field);
  // As a number of JavaScript, the Decimal 1.0 would be the Integer 1.
  return typeof value === 'number' && /^ *\d+(?![\d.])/.test(field ?? '') ? value : null;
}

/** "Completeness". */
export function completeField(field: string | undefined): boolean | null {
  const value = itemIn(field);
  return typeof value === 'boolean' ? value : null;
}

/** "Limits". An append may be as small as it likes, so nothing is said of that. @param leftMs until the upload expires */
export function limitsField({ maxFileBytes, maxRequestBytes }: Config, leftMs: number | null): string {
  return serializeDictionary({
    'max-size': maxFileBytes,
    ...(maxRequestBytes !== null && { 'max-append-size': maxRequestBytes }),
    ...(leftMs !== null && { 'max-age': Math.max(0, Math.floor(leftMs / 1000)) }),
  });
}

function itemIn(field: string | undefined): BareItem | null {
  return orNull(() => parseItem(field ?? ''))?.[0] ?? null;
}

function orNull<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch {
    return null;
  }
}
