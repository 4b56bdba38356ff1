/**
 * `Content-Disposition: attachment` for any Unicode name: a plain one for old clients, in which what they could
 * misread is an underscore, and RFC 8187's for all others (RFC 6266, section 4.3 and appendix D).
 */
export function attachment(filename: string): string {
  const plain = filename.replace(/[^\x20-\x7e]|["\\%/]/gu, '_');
  return `attachment; filename="${plain}"; filename*=UTF-8''${encodeValue(filename)}`;
}

/** RFC 8187, section 3.2.1: `attr-char` stands, the rest is percent-encoded UTF-8. */
function encodeValue(text: string): string {
  return encodeURIComponent(text).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
