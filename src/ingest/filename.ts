import { utf8 } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import { FILENAME_BYTES } from '../shared/limits.ts';

export class InvalidFilename extends VaultError {
  constructor(reason: string) {
    super('invalid-filename', `The filename ${reason}. Send the file under another name.`);
  }
}

export class InvalidFileType extends VaultError {
  readonly filename: string;
  readonly allowed: readonly string[];

  constructor(filename: string, allowed: readonly string[]) {
    super('invalid-file-type', `The vault takes files that end in ${allowed.join(', ')}; this one is "${filename}".`);
    this.filename = filename;
    this.allowed = allowed;
  }
}

/**
 * The name under which a file is kept: the last segment of a path of any system, in NFC. Throws
 * {@link InvalidFilename} for what no file system should be asked to hold, and what would break a header or a terminal.
 */
export function checkFilename(raw: string): string {
  if (!raw.isWellFormed()) throw new InvalidFilename('is not well-formed Unicode');
  const name = raw.slice(Math.max(raw.lastIndexOf('/'), raw.lastIndexOf('\\')) + 1).normalize('NFC');
  if (name === '') throw new InvalidFilename('is empty');
  if (name === '.' || name === '..') throw new InvalidFilename('names a directory');
  // C0, DEL and C1.
  if (/\p{Cc}/u.test(name)) throw new InvalidFilename('has a control character');
  const bytes = utf8(name).length;
  if (bytes > FILENAME_BYTES) throw new InvalidFilename(`has ${bytes} bytes, over ${FILENAME_BYTES}`);
  return name;
}

/** Throws {@link InvalidFileType} unless the name ends in one of the suffixes, capitals or not. No suffixes allow any name. */
export function checkSuffix(filename: string, allowed: readonly string[]): void {
  const name = filename.toLowerCase();
  if (allowed.length === 0) return;
  if (!allowed.some((suffix) => name.endsWith(suffix.toLowerCase()))) throw new InvalidFileType(filename, allowed);
}

/** The last suffix decides: `site.tar.gz` is gzip. Without registered type: what tools have agreed on. */
const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '7z': 'application/x-7z-compressed',
  age: 'application/octet-stream',
  bz2: 'application/x-bzip2',
  csv: 'text/csv',
  db: 'application/vnd.sqlite3',
  dump: 'application/octet-stream',
  gz: 'application/gzip',
  json: 'application/json',
  jsonl: 'application/x-ndjson',
  lz4: 'application/x-lz4',
  ndjson: 'application/x-ndjson',
  sql: 'application/sql',
  sqlite: 'application/vnd.sqlite3',
  tar: 'application/x-tar',
  tgz: 'application/gzip',
  txt: 'text/plain',
  xz: 'application/x-xz',
  zip: 'application/zip',
  zst: 'application/zstd',
};

const ANY_BYTES = 'application/octet-stream';

/** RFC 9110, section 8.3.1: type "/" subtype, then parameters. */
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const MEDIA_TYPE = new RegExp(
  `^${TOKEN}/${TOKEN}(?:[ \\t]*;[ \\t]*${TOKEN}=(?:${TOKEN}|"[\\x20-\\x21\\x23-\\x5b\\x5d-\\x7e]*"))*$`,
);

/** The media type of a file: by its suffix, else as the sender says if that is one, else just bytes. */
export function contentTypeOf(filename: string, given?: string): string {
  const suffix = filename.slice(filename.lastIndexOf('.') + 1).toLowerCase();
  const known = Object.hasOwn(CONTENT_TYPES, suffix) && filename.includes('.') ? CONTENT_TYPES[suffix] : undefined;
  if (known) return known;
  return given !== undefined && given.length <= 255 && MEDIA_TYPE.test(given) ? given : ANY_BYTES;
}
