import { unlessAborted, withinTime } from '../shared/abort.ts';
import { STORAGE_STALL_MS } from '../shared/limits.ts';
import { type PieceReader, pieceReader } from '../shared/piece-reader.ts';
import { ONE_TRY, type RetryPolicy, STORAGE_RETRY, waitAfter } from '../shared/retry.ts';
import type { ByteSpan } from '../shared/seek-points.ts';
import type { ObjectStore, OpenObject } from './object-store.ts';
import { isTransient, StorageFailed } from './r2-errors.ts';
import { StoredDataLost } from './stored-data-lost.ts';

export interface ResumingReadOptions {
  /** Bytes of a piece, and what is held. */
  readonly pieceBytes: number;
  /** The size of the whole object, where it is known: one of another size is not the one that is meant. */
  readonly objectBytes?: number | undefined;
  /** Aborting it cancels the stream at once, also during a read or a wait, and ends the pieces with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** This span of the object, opened before. Who never pulls a piece cancels it himself. */
  readonly first?: OpenObject | undefined;
  readonly policy?: RetryPolicy;
  /** A stream that gives nothing for so long counts as broken; STORAGE_STALL_MS by default. */
  readonly stallMs?: number;
}

/**
 * A span of an object: exactly `span.length` bytes, in pieces of `pieceBytes` (shorter ones after a break and at the end).
 *
 * A stream that breaks or ends early is taken up at the next byte of the same version of the object, its ETag, after
 * growing waits. At most `policy.tries` reads begin at the same byte: then it throws {@link StorageFailed}. It throws
 * {@link StoredDataLost} at once where the object is missing, another one, or too short. No byte comes twice, none is
 * left out; bytes that R2 sent and a break swallowed are read again. Leaving early cancels what is open.
 */
export async function* readResuming(
  store: ObjectStore,
  key: string,
  span: ByteSpan,
  options: ResumingReadOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { signal, policy = STORAGE_RETRY } = options;
  const end = span.offset + span.length;
  let at = span.offset;
  let open = options.first;
  let version = open?.etag;
  // Breaks since the last byte that came, and reads among them that gave none.
  let breaks = 0;
  let fruitless = 0;
  if (span.length === 0) await open?.body.cancel();
  while (at < end) {
    const begin = at;
    try {
      open ??= await openAt(store, key, { offset: at, length: end - at }, version, signal);
      version = open.etag;
      for await (const piece of piecesOf(open, key, { offset: at, length: end - at }, breaks > 0, options)) {
        at += piece.length;
        yield piece;
      }
      if (at < end) throw new Error(`${key} ended at byte ${at} of ${end}`);
    } catch (error) {
      signal?.throwIfAborted();
      if (isFinal(error)) throw error;
      breaks = at > begin ? 1 : breaks + 1;
      fruitless = at > begin ? 0 : fruitless + 1;
      if (fruitless >= policy.tries) throw new StorageFailed('read', error);
      await waitAfter(breaks, policy, signal);
    }
    open = undefined;
  }
}

/** One level of tries: the store's own would multiply with the reader's. */
async function openAt(
  store: ObjectStore,
  key: string,
  span: ByteSpan,
  etag: string | undefined,
  signal: AbortSignal | undefined,
): Promise<OpenObject> {
  signal?.throwIfAborted();
  const object = await unlessAborted(store.read(key, { span, etag, policy: ONE_TRY }), signal, (late) => {
    if (late.kind === 'open') late.body.cancel(signal?.reason).catch(() => undefined);
  });
  if (object.kind !== 'open') throw new StoredDataLost(object.kind, key);
  return object;
}

/**
 * Pieces of one stream, until it ends or the span is whole. A stream that is taken up again gives its first bytes as they
 * come: a storage that breaks after a few bytes each time still gets on.
 */
async function* piecesOf(
  { body, size }: OpenObject,
  key: string,
  { offset, length }: ByteSpan,
  again: boolean,
  options: ResumingReadOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { pieceBytes, objectBytes, signal } = options;
  const reader = pieceReader(body, Math.min(pieceBytes, length));
  const cancel = () => void reader.cancel(signal?.reason);
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    signal?.throwIfAborted();
    if (size < offset + length) throw new StoredDataLost('cut', key);
    if (size !== (objectBytes ?? size)) throw new StoredDataLost('changed', key);
    yield* exactly(reader, length, again ? 1 : pieceBytes, options);
  } finally {
    signal?.removeEventListener('abort', cancel);
    await reader.cancel(new Error('the consumer left'));
    reader.release();
  }
}

/** Asks for no byte behind `length`: a break there, or more bytes, are nobody's concern. */
async function* exactly(
  reader: PieceReader,
  length: number,
  firstAtLeast: number,
  { pieceBytes, signal, stallMs = STORAGE_STALL_MS }: ResumingReadOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  let atLeast = firstAtLeast;
  for (let left = length; left > 0; ) {
    const atMost = Math.min(left, pieceBytes);
    const reading = withinTime(reader.read(Math.min(atLeast, atMost), atMost), stallMs, 'the storage gave nothing');
    const piece = await unlessAborted(reading, signal);
    signal?.throwIfAborted();
    if (!piece) return;
    left -= piece.length;
    atLeast = pieceBytes;
    yield piece;
  }
}

function isFinal(error: unknown): boolean {
  if (error instanceof StorageFailed) return !isTransient(error.cause);
  return error instanceof StoredDataLost;
}
