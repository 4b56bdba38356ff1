/**
 * Paths of members in URLs. A path in an archive is bytes, and means nothing but itself: here it becomes a part of a
 * URL that every client sends as it is, and back.
 */
import { utf8 } from '../shared/bytes.ts';

/** RFC 3986, section 2.3. */
const UNRESERVED = /[A-Za-z0-9._~-]/;
/** Segments that a client's own parsing would drop or merge (RFC 3986, section 5.2.4; the URL standard). */
const UNSAFE_PATH = /(^|\/)\.{0,2}(\/|$)/;

/** A path as it stands in a URL after `/files/`. Where slashes would change on the way they are encoded too. */
export function encodeMemberPath(path: Uint8Array): string {
  const text = binary(path);
  const slash = UNSAFE_PATH.test(text) ? '%2F' : '/';
  const encoded = Array.from(text, (c) => {
    if (c === '/') return slash;
    return UNRESERVED.test(c) ? c : `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
  // Alone, "." and ".." are dropped however they are written; a slash behind them is not part of any path here.
  return text === '.' || text === '..' ? `${encoded}%2F` : encoded;
}

/** The bytes that a part of a URL stands for. A percent sign that begins no pair of hex digits is itself. */
export function decodeMemberPath(encoded: string): Uint8Array {
  const bytes = utf8(encoded);
  let length = 0;
  for (let at = 0; at < bytes.length; at++) {
    const pair = bytes[at] === 0x25 ? encodedByte(bytes, at) : null;
    bytes[length++] = pair ?? bytes[at] ?? 0;
    if (pair !== null) at += 2;
  }
  return bytes.subarray(0, length);
}

function encodedByte(bytes: Uint8Array, at: number): number | null {
  const digits = String.fromCharCode(bytes[at + 1] ?? 0, bytes[at + 2] ?? 0);
  return /^[0-9A-Fa-f]{2}$/.test(digits) ? Number.parseInt(digits, 16) : null;
}

/** Without the slashes at its end: no listed path has any, but for one of slashes alone. */
export function withoutEndSlashes(path: Uint8Array): Uint8Array {
  let end = path.length;
  while (end > 0 && path[end - 1] === 0x2f) end -= 1;
  return end === 0 ? path.subarray(0, Math.min(path.length, 1)) : path.subarray(0, end);
}

/** A path for people: what is not UTF-8 in it shows as U+FFFD. */
export function pathText(path: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(path);
}

function binary(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
