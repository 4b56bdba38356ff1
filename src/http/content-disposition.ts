/**
 * `attachment` with a filename (RFC 6266): in plain ASCII for everybody, and in full as `filename*` (RFC 8187) where
 * that is not the same. In the plain form a quote, a backslash and a percent sign are replaced too, because clients
 * disagree about escapes (RFC 6266, appendix D).
 */
export function attachment(filename: string): string {
  const whole = filename.toWellFormed();
  const plain = whole.replace(/[^\x20-\x7e]|["\\%]/gu, '_');
  if (plain === whole) return `attachment; filename="${plain}"`;
  return `attachment; filename="${plain}"; filename*=UTF-8''${extendedValue(whole)}`;
}

/** RFC 8187, section 3.2.1: what `encodeURIComponent` leaves and `attr-char` does not have is encoded as well. */
function extendedValue(text: string): string {
  return encodeURIComponent(text).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
