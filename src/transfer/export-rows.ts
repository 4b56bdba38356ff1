import type { Page, Row } from '../databases/read-page.ts';
import { utf8 } from '../shared/bytes.ts';
import type { Share } from '../shared/isolate-memory.ts';
import { EXPORT_PIECE_BYTES, READER_STOPPED_MS } from '../shared/limits.ts';

export interface ExportOrder {
  /** One JSON array, or one object a line. */
  readonly format: 'json' | 'ndjson';
  /** The page that comes after a row's key; null for the first. */
  readonly pages: (after: string | null) => Promise<Page>;
  /** Resolves with a share of the memory for one page. It is released when the page is taken or dropped. */
  readonly share: () => Promise<Share>;
  /** READER_STOPPED_MS by default. */
  readonly stoppedMs?: number;
}

/** What stands before the first row, between two, and after the last. */
const JSON_ARRAY = { first: '[', next: ',\n', end: ']\n', empty: '[]\n' };
const JSON_LINES = { first: '', next: '\n', end: '\n', empty: '' };

/**
 * Rows as text, all of a page before the next page is read, in chunks of some {@link EXPORT_PIECE_BYTES}: memory is a
 * page, and the first byte is out while the rest is still to be read. For a consumer that stopped the rest of the page is
 * dropped, but for the row that is under way; it is read again, from the key of the last row that went out, when the
 * consumer goes on. An error of `pages` or of a row is thrown between chunks: what is out by then lacks the end of the
 * array, so that it never parses as complete, and the stream has to break for ndjson to tell.
 */
export async function* exportRows(order: ExportOrder): AsyncGenerator<Uint8Array, void, undefined> {
  const { first, next, end, empty } = order.format === 'json' ? JSON_ARRAY : JSON_LINES;
  let after: string | null = null;
  let before = first;
  for (let more = true; more; ) {
    const share = await order.share();
    try {
      const page = new HeldPage(await order.pages(after), share, order.stoppedMs);
      let text = '';
      for (let row = page.next(); row; row = page.next()) {
        text += before;
        before = next;
        for (const piece of row.text) {
          text += piece;
          if (text.length < EXPORT_PIECE_BYTES) continue;
          yield* page.heldFor(utf8(text));
          text = '';
        }
        after = row.key;
      }
      if (!page.dropped) after = page.after;
      more = page.dropped || after !== null;
      if (!more) text += before === next ? end : empty;
      if (text !== '') yield* page.heldFor(utf8(text));
    } finally {
      share.release();
    }
  }
}

/** The rows of a page that did not go out yet, until the consumer stops. */
class HeldPage {
  readonly #share: Share;
  readonly #stoppedMs: number;
  readonly after: string | null;
  #rows: Iterator<Row> | null;

  constructor({ rows, after }: Page, share: Share, stoppedMs = READER_STOPPED_MS) {
    this.#rows = rows[Symbol.iterator]();
    this.after = after;
    this.#share = share;
    this.#stoppedMs = stoppedMs;
  }

  get dropped(): boolean {
    return this.#rows === null;
  }

  /** The next row; null after the last, and once the page is dropped. */
  next(): Row | null {
    const next = this.#rows?.next();
    return next && !next.done ? next.value : null;
  }

  /** Yields the chunk; the page is dropped when it is pending for too long. */
  async *heldFor(chunk: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
    const stopped = setTimeout(() => {
      this.#rows = null;
      this.#share.release();
    }, this.#stoppedMs);
    try {
      yield chunk;
    } finally {
      clearTimeout(stopped);
    }
  }
}
