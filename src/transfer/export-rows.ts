import { utf8 } from '../shared/bytes.ts';

/** A page of rows, and where the next one begins; null at the end. */
export interface RowPage {
  readonly rows: readonly unknown[];
  readonly after: string | null;
}

export interface RowExport {
  /** `json`: one array. `ndjson`: an object a line. */
  readonly format: 'json' | 'ndjson';
  /** Reads a page; called when the one before has been taken. What it throws breaks the export. */
  readonly pages: (after: string | null) => Promise<RowPage>;
}

/** The rows as text while they are read, one piece a page: memory is a page, however long the table. */
export async function* exportRows({ format, pages }: RowExport): AsyncGenerator<Uint8Array, void, undefined> {
  const separator = format === 'json' ? ',\n' : '\n';
  let after: string | null = null;
  let first = true;
  do {
    const page: RowPage = await pages(after);
    const text = page.rows.map((row) => JSON.stringify(row)).join(separator);
    if (format === 'json') yield utf8((first ? '[' : text && separator) + text);
    else if (text) yield utf8(text + separator);
    first = false;
    after = page.after;
  } while (after !== null);
  if (format === 'json') yield utf8(']\n');
}
