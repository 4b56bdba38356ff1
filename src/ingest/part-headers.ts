/**
 * The header block of one part of a form (RFC 7578, section 4; RFC 2046, section 5.1), as senders really write it:
 *
 * - names are UTF-8 as it is; browsers write `"`, CR and LF in them as %22, %0D and %0A and nothing else so (WHATWG
 *   HTML, "multipart/form-data encoding algorithm"), so that any other percent sign is itself;
 * - curl writes `"` and `\` as `\"` and `\\`; a backslash before anything else is one (old browsers send `C:\dir\file`);
 * - `filename*` (RFC 8187) is not allowed in forms, but seen; it counts only where there is no `filename`.
 */

/** What a form says of a part. `malformed`: why its block cannot be read, as the end of a sentence. */
export type PartHeaders =
  | {
      readonly kind: 'headers';
      readonly name: string;
      readonly filename: string | undefined;
      readonly contentType: string | undefined;
    }
  | { readonly kind: 'malformed'; readonly reason: string };

class Malformed extends Error {}

/** Reads a header block: lines between CRLFs, without the empty line that ends it. */
export function parsePartHeaders(block: Uint8Array): PartHeaders {
  try {
    const fields = headerFields(text(block));
    const encoding = fields.get('content-transfer-encoding')?.toLowerCase() ?? 'binary';
    if (!['binary', '8bit', '7bit'].includes(encoding)) {
      throw new Malformed('a part has a content transfer encoding, which forms may not have (RFC 7578, section 4.7)');
    }
    const { name, filename } = disposition(fields.get('content-disposition'));
    return { kind: 'headers', name, filename, contentType: fields.get('content-type') };
  } catch (error) {
    if (error instanceof Malformed) return { kind: 'malformed', reason: error.message };
    throw error;
  }
}

function text(block: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(block);
  } catch {
    throw new Malformed('the headers of a part are not UTF-8');
  }
}

/** Fields by lower-case name. A line that begins with a blank continues the one before (RFC 5322, section 2.2.3). */
function headerFields(block: string): Map<string, string> {
  const fields = new Map<string, string>();
  if (block === '') return fields;
  for (const line of block.replace(/\r\n[ \t]+/g, ' ').split('\r\n')) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new Malformed('a part has a header line that is none');
    const key = name.toLowerCase();
    if (fields.has(key)) throw new Malformed(`a part has the header ${key} twice`);
    fields.set(key, value.trim());
  }
  return fields;
}

function disposition(value: string | undefined): { name: string; filename: string | undefined } {
  if (value === undefined) throw new Malformed('a part has no Content-Disposition');
  const [, type, rest] = /^([^\s;"]+)(.*)$/s.exec(value) ?? [];
  if (type?.toLowerCase() !== 'form-data') throw new Malformed('the Content-Disposition of a part is not form-data');
  const parameters = parseParameters(rest ?? '');
  const name = parameters?.get('name');
  if (!parameters || name === undefined) throw new Malformed('the Content-Disposition of a part cannot be read');
  const extended = parameters.get('filename*');
  const filename = parameters.get('filename');
  return {
    name: withoutBrowserEscapes(name),
    filename: filename === undefined ? extended && extendedValue(extended) : withoutBrowserEscapes(filename),
  };
}

/**
 * `; name=value; name="value"`, by lower-case name. Null where that is not what `rest` is. At every character the
 * pattern has one way to go on, so that no header makes it try many.
 */
export function parseParameters(rest: string): Map<string, string> | null {
  const parameters = new Map<string, string>();
  const pattern = /[ \t]*;[ \t]*(?:([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:\\["\\]|\\(?!["\\])|[^"\\])*)"|([^\s;"]+))[ \t]*)?/y;
  for (let at = 0; at < rest.length; at = pattern.lastIndex) {
    pattern.lastIndex = at;
    const match = pattern.exec(rest);
    if (!match) return null;
    const [, name, quoted, bare] = match;
    if (name === undefined) continue;
    const key = name.toLowerCase();
    if (parameters.has(key)) return null;
    parameters.set(key, quoted?.replace(/\\(["\\])/g, '$1') ?? bare ?? '');
  }
  return parameters;
}

function withoutBrowserEscapes(text: string): string {
  return text.replace(/%22/g, '"').replace(/%0D/gi, '\r').replace(/%0A/gi, '\n');
}

/** RFC 8187, section 3.2: `UTF-8'en'%E2%82%AC`. */
function extendedValue(value: string): string {
  const [, encoded] = /^utf-8'[^']*'((?:[!#$&+.^_`|~0-9A-Za-z-]|%[0-9A-Fa-f]{2})*)$/i.exec(value) ?? [];
  try {
    if (encoded !== undefined) return decodeURIComponent(encoded);
  } catch {
    // Percent-encoded bytes that are not UTF-8: the same answer as for any other value that is none.
  }
  throw new Malformed('a part has a filename* that is not in the form of RFC 8187');
}
