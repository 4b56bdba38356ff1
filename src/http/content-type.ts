import { getMimeType } from 'hono/utils/mime';

/** A media type without parameters, lower case. */
function essenceOf(type: string): string {
  return (type.split(/[;,]/, 1)[0] ?? '').trim().toLowerCase();
}

/** What a browser would run or let act as a page of ours, beside all of XML and of multipart. */
const ACTIVE = new Set([
  'text/html',
  'text/xml',
  'text/xsl',
  'application/xml',
  'application/pdf',
  'application/x-shockwave-flash',
  'message/rfc822',
  ...['javascript', 'ecmascript', 'jscript', 'livescript', 'x-javascript', 'x-ecmascript'].flatMap((name) => [
    `text/${name}`,
    `application/${name}`,
  ]),
]);

function isActive(essence: string): boolean {
  return ACTIVE.has(essence) || essence.endsWith('+xml') || essence.startsWith('multipart/');
}

/** Charsets that no browser reads markup out of where there is none (as of UTF-7 or ISO-2022-JP). */
const CHARSETS = new Set(['utf-8', 'us-ascii', 'iso-8859-1', 'iso-8859-15', 'windows-1252']);

/** The type that a file's name says, without the charset that it does not say. */
export function namedType(filename: string): string {
  return essenceOf(getMimeType(filename.toLowerCase()) ?? 'application/octet-stream');
}

/**
 * The type under which content is answered. A charset is passed on where it is a known one, and never guessed. A type
 * of active content is the sender's choice and may be a trap: it is passed on only where the name of the file has it,
 * too, and is else that of plain bytes.
 */
export function servedType(type: string, filename: string): string {
  const essence = essenceOf(type);
  if (essence === '') return 'application/octet-stream';
  if (isActive(essence) && namedType(filename) !== essence) return 'application/octet-stream';
  const charset = /;\s{0,9}charset\s{0,9}=\s{0,9}"?([\w-]{1,40})"?\s{0,9}(?:;|$)/i.exec(type)?.[1]?.toLowerCase();
  return charset !== undefined && CHARSETS.has(charset) ? `${essence}; charset=${charset}` : essence;
}

/**
 * Makes stored content inert, should a browser ever show it: an opaque origin, no scripts, nothing loaded, and no other
 * site may embed it. On every form of the content, whatever its type: types are guessed by other means, too.
 */
export const INERT_HEADERS = {
  'content-security-policy': "sandbox; default-src 'none'",
  'cross-origin-resource-policy': 'same-origin',
} as const;
