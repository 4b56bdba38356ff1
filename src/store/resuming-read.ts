import { withinTime } from '../shared/abort.ts';
import { DECODE_READ_BYTES, STORAGE_STALL_MS, WHOLE_READ_SPAN_BYTES } from '../shared/limits.ts';
import { type PieceReader, pieceReader } from '../shared/piece-reader.ts';
import { resilient } from '../shared/resilient.ts';
import { ONE_TRY, type RetryPolicy, STORAGE_RETRY } from '../shared/retry.ts';
import type { ByteSpan } from '../shared/seek-points.ts';
import type { ByteStream, Pieces } from '../shared/streams.ts';
import { lossOf, type ObjectStore, type OpenObject } from './object-store.ts';
import { isTransient, StorageFailed } from './r2-errors.ts';
import { StoredDataLost } from './stored-data-lost.ts';

/** The version of an object that a read is bound to; its ETag once one is opened. */
export interface ObjectVersion {
  etag?: string;
}

export interface ResumingReadOptions {
  /** Bytes of a piece, and what is held. */
  readonly pieceBytes: number;
  /** What is asked of the storage at once; all of the span by default. */
  readonly atOnceBytes?: number;
  /** The size of the whole object, where it is known: one of another size is not the one that is meant. */
  readonly objectBytes?: number | undefined;
  /** Aborting it cancels the stream at once, also during a read or a wait, and ends the pieces with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Shared by several reads of one object: the first read sets its version, and all read that version. */
  readonly version?: ObjectVersion;
  readonly policy?: RetryPolicy;
  /** A stream that gives nothing for so long counts as broken; STORAGE_STALL_MS by default. */
  readonly stallMs?: number;
}

/**
 * A span of an object: exactly `span.length` bytes, in pieces of `pieceBytes` (shorter ones after a break and at the end).
 *
 * A stream that breaks or ends early is taken up at the next byte of the same version of the object, its ETag, after
 * growing waits ({@link resilient}). At most `policy.tries` reads begin at the same byte: then it throws
 * {@link StorageFailed}. It throws {@link StoredDataLost} at once where the object is missing, another one, or too short.
 * Bytes that R2 sent and a break swallowed are read again. Leaving early cancels what is open.
 */
export async function* readResuming(
  store: ObjectStore,
  key: string,
  span: ByteSpan,
  options: ResumingReadOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { signal, policy = STORAGE_RETRY, version = {} } = options;
  const opener = (part: ByteSpan) => {
    let opened = 0;
    return async (offset: number) => {
      const again = opened++ > 0;
      const rest = { offset: part.offset + offset, length: part.length - offset };
      const object = await openAt(store, key, rest, version.etag, signal);
      version.etag = object.etag;
      await checkSize(object, key, rest, options.objectBytes);
      return piecesOf(object.body, rest.length, again, options);
    };
  };
  const { tries, firstWaitMs: waitMs } = policy;
  const worthTrying = (error: unknown) => !isFinal(error);
  try {
    for (const part of parts(span, options.atOnceBytes)) {
      yield* resilient(opener(part), { length: part.length, tries, waitMs, signal, worthTrying });
    }
  } catch (error) {
    throw signal?.aborted || isFinal(error) ? error : new StorageFailed('read', error);
  }
}

/** All of an object, for nobody who waits for its bytes: asked for so that others of the isolate have their turns. */
export function readWhole(store: ObjectStore, key: string, objectBytes: number): Pieces {
  return readResuming(
    store,
    key,
    { offset: 0, length: objectBytes },
    { pieceBytes: DECODE_READ_BYTES, atOnceBytes: WHOLE_READ_SPAN_BYTES, objectBytes },
  );
}

function* parts({ offset, length }: ByteSpan, atOnceBytes = length): Generator<ByteSpan, void, undefined> {
  for (let from = 0; from < length; from += atOnceBytes) {
    yield { offset: offset + from, length: Math.min(atOnceBytes, length - from) };
  }
}

/** One level of tries: the store's own would multiply with the reader's. What comes after an abort is cancelled. */
async function openAt(
  store: ObjectStore,
  key: string,
  span: ByteSpan,
  etag: string | undefined,
  signal: AbortSignal | undefined,
): Promise<OpenObject> {
  const object = await store.read(key, { span, etag, policy: ONE_TRY });
  if (object.kind !== 'open') throw new StoredDataLost(object.kind, key);
  if (signal?.aborted) await object.body.cancel(signal.reason);
  signal?.throwIfAborted();
  return object;
}

async function checkSize(
  { body, size }: OpenObject,
  key: string,
  { offset, length }: ByteSpan,
  objectBytes = size,
): Promise<void> {
  if (size === objectBytes && size >= offset + length) return;
  const lost = new StoredDataLost(size === objectBytes ? 'cut' : lossOf(size, objectBytes), key);
  await body.cancel(lost);
  throw lost;
}

/**
 * Pieces of one stream, until it ends or `length` bytes came. The signal cancels it at once, also before anybody pulls. A
 * stream that is taken up again gives its first bytes as they come: a storage that breaks after a few bytes each time
 * still gets on.
 */
function piecesOf(body: ByteStream, length: number, again: boolean, options: ResumingReadOptions): Pieces {
  const { pieceBytes, signal } = options;
  const reader = pieceReader(body, Math.min(pieceBytes, length));
  const cancel = () => void reader.cancel(signal?.reason);
  signal?.addEventListener('abort', cancel, { once: true });
  if (signal?.aborted) cancel();
  return exactly(reader, length, again ? 1 : pieceBytes, options, () => signal?.removeEventListener('abort', cancel));
}

/** Asks for no byte behind `length`: a break there, or more bytes, are nobody's concern. */
async function* exactly(
  reader: PieceReader,
  length: number,
  firstAtLeast: number,
  { pieceBytes, stallMs = STORAGE_STALL_MS }: ResumingReadOptions,
  whenOver: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let atLeast = firstAtLeast;
  try {
    for (let left = length; left > 0; ) {
      const atMost = Math.min(left, pieceBytes);
      const reading = reader.read(Math.min(atLeast, atMost), atMost);
      const piece = await withinTime(reading, stallMs, 'the storage gave nothing');
      if (!piece) return;
      left -= piece.length;
      atLeast = pieceBytes;
      yield piece;
    }
  } finally {
    whenOver();
    await reader.cancel(new Error('the consumer left'));
    reader.release();
  }
}

function isFinal(error: unknown): boolean {
  if (error instanceof StorageFailed) return !isTransient(error.cause);
  return error instanceof StoredDataLost;
}
