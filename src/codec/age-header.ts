/**
 * The header of an age file, by its grammar alone: https://github.com/C2SP/C2SP/blob/main/age.md
 *
 * The first line proves nothing: a plain dump may begin with it. So a file counts as encrypted only if its whole header
 * parses, from the version line over at least one stanza to the MAC. Only a recipient can check the MAC.
 */
import { AGE_HEADER_BYTES } from '../shared/limits.ts';

export const AGE_VERSION_LINE = 'age-encryption.org/v1\n';
export const AGE_ARMOR_BEGIN = '-----BEGIN AGE ENCRYPTED FILE-----';
const ARMOR_END = '-----END AGE ENCRYPTED FILE-----';

const STANZA_LINE = /^->(?: [\x21-\x7e]+)+$/;
const FULL_BODY_LINE = /^[A-Za-z0-9+/]{64}$/;
const LAST_BODY_LINE = /^[A-Za-z0-9+/]{0,63}$/;
const MAC_LINE = /^--- [A-Za-z0-9+/]{43}$/;
/** RFC 7468 as age has it: 64 columns, the last line padded. */
const ARMOR_LINE = /^(?=.{4,64}$)(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * Whether a file that begins with `first` begins with a whole age header, binary or in ASCII armor. Returns null if more
 * bytes are needed to tell; with {@link AGE_HEADER_BYTES} it always knows.
 */
export function beginsWithAgeHeader(first: Uint8Array): boolean | null {
  const text = latin1(first.subarray(0, AGE_HEADER_BYTES));
  const parsed = begins(text, AGE_ARMOR_BEGIN) === false ? parseHeader(text) : parseArmored(text);
  return parsed === null && first.length >= AGE_HEADER_BYTES ? false : parsed;
}

/** Returns null where the header may be continued by bytes that are not here. */
function parseHeader(text: string): boolean | null {
  const version = begins(text, AGE_VERSION_LINE);
  if (version !== true) return version;
  let expected: 'stanza' | 'body' | 'stanza or mac' = 'stanza';
  for (let at = AGE_VERSION_LINE.length; ; ) {
    const end = text.indexOf('\n', at);
    if (end < 0) return null;
    const line = text.slice(at, end);
    at = end + 1;
    if (expected === 'body') {
      if (LAST_BODY_LINE.test(line)) expected = 'stanza or mac';
      else if (!FULL_BODY_LINE.test(line)) return false;
    } else if (STANZA_LINE.test(line)) {
      expected = 'body';
    } else {
      return expected === 'stanza or mac' && MAC_LINE.test(line);
    }
  }
}

function parseArmored(text: string): boolean | null {
  const lines = text.split(/\r?\n/);
  const unfinished = lines.pop();
  if (lines.length === 0) return begins(unfinished ?? '', AGE_ARMOR_BEGIN) === false ? false : null;
  if (lines.shift() !== AGE_ARMOR_BEGIN) return false;
  let header = '';
  for (const line of lines) {
    if (line === ARMOR_END) break;
    if (!ARMOR_LINE.test(line)) return false;
    header += atob(line);
  }
  return parseHeader(header);
}

/** Whether `text` begins with `wanted`; null where it is shorter and fits so far. */
function begins(text: string, wanted: string): boolean | null {
  if (text.length >= wanted.length) return text.startsWith(wanted);
  return wanted.startsWith(text) ? null : false;
}

function latin1(bytes: Uint8Array): string {
  return new TextDecoder('latin1').decode(bytes);
}
