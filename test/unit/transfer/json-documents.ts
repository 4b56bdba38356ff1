import { utf8 } from '../../../src/shared/bytes.ts';
import type { VaultError } from '../../../src/shared/errors.ts';
import type { Pieces } from '../../../src/shared/streams.ts';
import { jsonItems } from '../../../src/transfer/json-items.ts';
import type { JsonFormat, JsonItem } from '../../../src/transfer/json-scanner.ts';
import { ItemTooLarge, MalformedJson } from '../../../src/transfer/malformed-json.ts';
import { chunked } from '../codec/bytes.ts';

export const BOUNDS = { maxItemBytes: 4096, maxDepth: 8 };

export interface Reading {
  readonly items: readonly JsonItem[];
  /** What ended the reading: code and offset, where it was not the end of the document. */
  readonly refused: { readonly code: string; readonly offset: number; readonly message: string } | null;
}

/** Reads to the end or the refusal; any other failure is thrown. */
export async function read(
  document: string | Uint8Array,
  {
    format = 'auto',
    chunkBytes = 1 << 20,
    ...bounds
  }: Partial<typeof BOUNDS> & { format?: JsonFormat; chunkBytes?: number } = {},
): Promise<Reading> {
  const bytes = typeof document === 'string' ? utf8(document) : document;
  return readPieces(chunked(bytes, chunkBytes), { format, ...BOUNDS, ...bounds });
}

export async function readPieces(pieces: Pieces, options: typeof BOUNDS & { format: JsonFormat }): Promise<Reading> {
  const items: JsonItem[] = [];
  try {
    for await (const item of jsonItems(pieces, options)) items.push(item);
    return { items, refused: null };
  } catch (error) {
    if (!(error instanceof MalformedJson || error instanceof ItemTooLarge)) throw error;
    return { items, refused: refusalOf(error) };
  }
}

function refusalOf(error: VaultError & { readonly offset: number }) {
  return { code: error.code, offset: error.offset, message: error.message };
}

/** Whole, in chunks of several sizes, byte by byte: the same reading, or an error that says where they differ. */
export async function readEveryWay(
  document: string | Uint8Array,
  options: Partial<typeof BOUNDS> & { format?: JsonFormat } = {},
): Promise<Reading> {
  const whole = await read(document, options);
  for (const chunkBytes of [1, 2, 3, 7, 64]) {
    const other = await read(document, { ...options, chunkBytes });
    if (JSON.stringify(other) !== JSON.stringify(whole)) {
      throw new Error(`in chunks of ${chunkBytes}: ${JSON.stringify(other)}, whole: ${JSON.stringify(whole)}`);
    }
  }
  return whole;
}

/** The same numbers at every run, 0 to `below`. */
export function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
