import type { Pieces } from '../shared/streams.ts';
import { type JsonItem, JsonScanner, type ScanOptions } from './json-scanner.ts';

/** Bytes that are scanned at once: what a group of items is decoded from, and so what its texts keep in memory. */
const BLOCK_BYTES = 64 * 1024;

/**
 * The items of a JSON document while it arrives, cut anywhere: the elements of one array, or one value a line (line
 * breaks of either kind; blank lines and a byte order mark are passed over). RFC 8259 to the letter, and nothing is
 * read of an item but its keys: the text stays what it was.
 *
 * Throws MalformedJson at the first byte that is wrong, after the items before it, and ItemTooLarge once an item has
 * more than its bound. Holds an item and a group of small ones, whatever the document. Leaving leaves the source.
 */
export async function* jsonItems(source: Pieces, options: ScanOptions): AsyncGenerator<JsonItem, void, undefined> {
  for await (const group of jsonItemGroups(source, options)) for (const item of group) yield item;
}

/** The same, as many at once as there are: an await a group, not one an item. */
export async function* jsonItemGroups(
  source: Pieces,
  options: ScanOptions,
): AsyncGenerator<readonly JsonItem[], void, undefined> {
  const scanner = new JsonScanner(options);
  for await (const piece of source) {
    for (let from = 0; from < piece.length; from += BLOCK_BYTES) {
      const block = piece.subarray(from, from + BLOCK_BYTES);
      for (let at = 0; at < block.length; ) {
        at = scanner.scan(block, at);
        const items = scanner.take(block);
        if (items.length > 0) yield items;
        if (scanner.failure) throw scanner.failure;
      }
      scanner.keep(block);
      if (scanner.failure) throw scanner.failure;
    }
  }
  const last = scanner.finish();
  if (last.length > 0) yield last;
  if (scanner.failure) throw scanner.failure;
}
