import { base64url, bytesFromBase64url, utf8 } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';

/** A page of rows that are in the order of their ULIDs, newest first. */
export interface Page<T> {
  readonly rows: T[];
  /** Where the next page begins, or null where this is the last one. */
  readonly cursor: string | null;
}

/** The cursor was not made by a page of ours. */
export class InvalidCursor extends VaultError {
  constructor() {
    super('invalid-cursor', 'The cursor is not one that a page of this list gave: leave it out to begin anew.');
  }
}

/** The page out of `limit + 1` rows, of which the last says that there is a next page. */
export function pageOf<T>(rows: readonly T[], limit: number, idOf: (row: T) => string): Page<T> {
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return { rows: page, cursor: last && rows.length > limit ? cursorOf(idOf(last)) : null };
}

/** The cursor of a place. Clients send it back as it is. */
export function cursorOf(place: string): string {
  return base64url(utf8(place));
}

/** The place in a cursor that {@link cursorOf} made. Throws {@link InvalidCursor}. */
export function textIn(cursor: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytesFromBase64url(cursor));
  } catch {
    // Not base64url, or not text: the same answer as for any other cursor that is not ours.
    throw new InvalidCursor();
  }
}

export function isUlid(text: string): boolean {
  return /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(text);
}

/**
 * The ULID in a cursor; null where there is none. Any ULID will do: a row that was deleted since is still a place in the
 * order. Throws {@link InvalidCursor}.
 */
export function placeIn(cursor: string | null | undefined): string | null {
  if (!cursor) return null;
  const id = textIn(cursor);
  if (!isUlid(id)) throw new InvalidCursor();
  return id;
}
