import { utf8 } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import { FILENAME_BYTES, NAME_BYTES, NAME_SEGMENTS } from '../shared/limits.ts';

export class InvalidName extends VaultError {
  constructor(reason: string) {
    super('invalid-name', `The name ${reason}. A name is a path such as "web1/etc.tar".`);
  }
}

/** Embeddings, overrides and isolates (UAX #9, sections 2.1 to 2.4): with them "gpj.exe" is displayed as "exe.jpg". */
const BIDI_CONTROL = /[\u202a-\u202e\u2066-\u2069]/;

/**
 * The name of a backup, in NFC: a path of 1 to {@link NAME_SEGMENTS} segments. Nothing of it is repaired, because a name
 * that the vault changed is one that its sender does not find again. Throws {@link InvalidName}.
 */
export function checkName(raw: string): string {
  if (!raw.isWellFormed()) throw new InvalidName('is not well-formed Unicode');
  const name = raw.normalize('NFC');
  if (name === '') throw new InvalidName('is empty');
  if (name.includes('\\')) throw new InvalidName('has a backslash; separate the segments by "/"');
  // C0, DEL and C1.
  if (/\p{Cc}/u.test(name)) throw new InvalidName('has a control character');
  if (BIDI_CONTROL.test(name)) throw new InvalidName('has a character that changes the direction of text');
  const bytes = utf8(name).length;
  if (bytes > NAME_BYTES) throw new InvalidName(`has ${bytes} bytes, over ${NAME_BYTES}`);
  const segments = name.split('/');
  if (segments.length > NAME_SEGMENTS) throw new InvalidName(`has ${segments.length} segments, over ${NAME_SEGMENTS}`);
  for (const segment of segments) checkSegment(segment);
  return name;
}

function checkSegment(segment: string): void {
  if (segment === '') throw new InvalidName('has an empty segment: it begins or ends with "/", or has "//"');
  if (segment === '.' || segment === '..') throw new InvalidName(`has the segment "${segment}"`);
  const bytes = utf8(segment).length;
  if (bytes > FILENAME_BYTES) throw new InvalidName(`has a segment of ${bytes} bytes, over ${FILENAME_BYTES}`);
}

/** The last segment of a name. */
export function filenameOf(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1);
}

/** What counts of the filename in a form: the last segment of a path of any system (RFC 7578, section 4.2). */
export function formFilename(raw: string): string {
  return raw.slice(Math.max(raw.lastIndexOf('/'), raw.lastIndexOf('\\')) + 1);
}
