import type { Page } from '../databases/read-page.ts';
import { utf8 } from '../shared/bytes.ts';
import { EXPORT_PIECE_BYTES } from '../shared/limits.ts';

export interface ExportOrder {
  /** One JSON array, or one object a line. */
  readonly format: 'json' | 'ndjson';
  /** The page that comes after a key; null for the first. */
  readonly pages: (after: string | null) => Promise<Page>;
}

/** What stands before the first row, between two, and after the last. */
const JSON_ARRAY = { first: '[', next: ',\n', end: ']\n', empty: '[]\n' };
const JSON_LINES = { first: '', next: '\n', end: '\n', empty: '' };

/**
 * Rows as text, all of a page before the next page is asked for, in pieces of some {@link EXPORT_PIECE_BYTES}: memory is a
 * page, and the first byte is out while the rest is still to be read. An error of `pages` or of a row is thrown between
 * pieces: what is out by then lacks the end of the array, so that it never parses as complete, and the stream has to break
 * for ndjson to tell.
 */
export async function* exportRows({ format, pages }: ExportOrder): AsyncGenerator<Uint8Array, void, undefined> {
  const { first, next, end, empty } = format === 'json' ? JSON_ARRAY : JSON_LINES;
  let after: string | null = null;
  let before = first;
  do {
    const page: Page = await pages(after);
    after = page.after;
    let text = '';
    for (const row of page.rows) {
      text += before;
      before = next;
      for (const piece of row) {
        text += piece;
        if (text.length < EXPORT_PIECE_BYTES) continue;
        yield utf8(text);
        text = '';
      }
    }
    if (after === null) text += before === next ? end : empty;
    if (text !== '') yield utf8(text);
  } while (after !== null);
}
