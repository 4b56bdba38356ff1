import { unlessAborted } from './abort.ts';
import { concat, release } from './bytes.ts';
import { pieceReader } from './piece-reader.ts';
import { type PeerLimits, Watchdog, watched } from './watchdog.ts';

/**
 * How bytes move through the vault.
 *
 * The cost of a stream in this runtime is a chunk, not a byte (a JavaScript TransformStream passes about 50 MiB/s in
 * 4 KiB chunks; reads of megabytes pass gigabytes). So bytes move as *pieces*: few, large, pulled one at a time.
 *
 * The contract of every {@link Pieces}:
 * - The consumer pulls; nothing is produced ahead of it. Memory is a piece a stage.
 * - A piece is valid until the next pull: its buffer may be used again then. Who keeps bytes, copies them.
 * - Leaving the loop (`break`, `return`, a throw) calls `return()` down the chain, and the source is cancelled.
 */
export type Pieces = AsyncIterable<Uint8Array>;

/** A step of the way: takes pieces, gives pieces. It consumes its source to the end or leaves it by return(). */
export type Stage = (source: Pieces) => AsyncGenerator<Uint8Array, void, undefined>;

/** What a client or a store hands over: a stream of bytes. */
export type ByteStream = ReadableStream<Uint8Array>;

/**
 * Pieces of `stream`, each of `pieceBytes` exactly but the last (which is not empty). One buffer of `pieceBytes` is
 * used again for all of them. When the consumer leaves early the stream is cancelled. An error of the source is thrown as
 * it is; bytes before it that did not fill a piece are lost.
 */
export async function* readPieces(stream: ByteStream, pieceBytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = pieceReader(stream, pieceBytes);
  try {
    for (let piece = await reader.read(pieceBytes, pieceBytes); piece; ) {
      yield piece;
      piece = await reader.read(pieceBytes, pieceBytes);
    }
  } finally {
    await reader.cancel(new Error('the consumer left'));
    reader.release();
  }
}

/**
 * Pulls the next piece while the consumer is busy with the one before, so that reading and writing overlap. Holds one
 * piece more, in a copy, since the source uses its own buffer again; one buffer is used again for all copies.
 */
export const readAhead: Stage = async function* readingAhead(source) {
  const pieces = source[Symbol.asyncIterator]();
  let next = pieces.next();
  let buffer = new Uint8Array();
  try {
    for (let read = await next; !read.done; read = await next) {
      const { length } = read.value;
      if (length > buffer.length) {
        release(buffer);
        buffer = new Uint8Array(length);
      }
      buffer.set(read.value);
      next = pieces.next();
      // A failure is for the consumer's next pull; until then nobody awaits it.
      next.catch(() => undefined);
      yield buffer.subarray(0, length);
    }
  } finally {
    await pieces.return?.();
    release(buffer);
  }
};

/**
 * Pulls the first chunk (no bytes where there is none) to see what a source is, and more of them until `isEnough` or the
 * source ends. `pieces` begin with it and replace the source; a caller that never pulls them must leave the source.
 * Several chunks are copied into one; a first chunk that is enough stays as it is.
 */
export async function peek(
  source: Pieces,
  isEnough: (first: Uint8Array) => boolean = () => true,
): Promise<{ readonly first: Uint8Array; readonly pieces: Pieces }> {
  const iterator = source[Symbol.asyncIterator]();
  const { done, value } = await iterator.next();
  const first = done ? new Uint8Array(0) : isEnough(value) ? value : await gather(value, iterator, isEnough);
  async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      if (done) return;
      yield first;
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  }
  return { first, pieces: pieces() };
}

/** `first` and what follows it until that is enough, asked only when it has doubled: many small chunks cost linear time. */
async function gather(
  first: Uint8Array,
  iterator: AsyncIterator<Uint8Array>,
  isEnough: (held: Uint8Array) => boolean,
): Promise<Uint8Array> {
  let held: Uint8Array[] = [first.slice()];
  let bytes = first.length;
  let askedAt = bytes;
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
    held.push(next.value.slice());
    bytes += next.value.length;
    if (bytes < 2 * askedAt) continue;
    held = [concat(held)];
    askedAt = bytes;
    if (isEnough(held[0] ?? first)) break;
  }
  return concat(held);
}

/** The pieces of `source`, whose errors are thrown as what `retell` makes of them. A consumer's own errors are its own. */
export async function* retold(
  source: Pieces,
  retell: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* source;
  } catch (error) {
    throw retell(error);
  }
}

/**
 * The pieces of `source` until the signal aborts, whose reason is then thrown at once: also to a consumer that waits for
 * a piece. The source is left as soon as the pull that is under way has ended; who needs to know when, leaves it too.
 */
export async function* untilAborted(source: Pieces, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const pieces = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await unlessAborted(pieces.next(), signal);
      if (done) return;
      yield value;
    }
  } finally {
    const left = pieces.return?.();
    if (signal.aborted) left?.catch(() => undefined);
    else await left;
  }
}

/** A pair like a TransformStream's: write into one, read from the other. */
export interface StreamPair {
  readonly writable: WritableStream<Uint8Array>;
  readonly readable: ReadableStream<Uint8Array>;
}

/**
 * A stage as a pair for `pipeThrough`: two native identity streams with one pump between them. Back-pressure passes
 * through (nothing is read before the reader of `readable` took what was written). An error of the stage or the source
 * aborts `readable` and cancels the source; cancelling `readable` cancels the source.
 *
 * @param pieceBytes how much the stage gets at once
 * @param length the exact number of bytes the stage will give, if known: `readable` then carries a Content-Length
 */
export function stagePair(stage: Stage, { pieceBytes, length }: { pieceBytes: number; length?: number }): StreamPair {
  const input = new IdentityTransformStream();
  const output = length === undefined ? new IdentityTransformStream() : new FixedLengthStream(length);
  // The pump's failure is told by the aborted output; there is nobody else to tell.
  pumpPieces(stage(readPieces(input.readable, pieceBytes)), output.writable).catch(() => undefined);
  return { writable: input.writable, readable: output.readable };
}

/**
 * Writes all pieces and closes. On a failure of the source `writable` is aborted with it; on a failure of the writable
 * (its reader has gone) the source is left by return(). Either way the error is thrown to the caller. With `limits`, a
 * reader that stalls counts as gone: PeerStalled is thrown.
 *
 * A source that is given as a function gets a signal, which aborts the moment the reader is known to have gone or the
 * pump fails: whatever the source waits for (a read ahead, a share, a pause between tries) it then leaves at once. The
 * native streams tell that their reader has gone while a write is pending, and otherwise at the next write (tried with
 * workerd 1.20261117, also over HTTP); `signal` is for a caller who knows earlier.
 */
export async function pumpPieces(
  source: Pieces | ((signal: AbortSignal) => Pieces),
  writable: WritableStream<Uint8Array>,
  { limits, signal }: { limits?: PeerLimits; signal?: AbortSignal } = {},
): Promise<void> {
  const watchdog = limits && new Watchdog(limits);
  const taken = (work: Promise<void>, bytes: number) => (watchdog ? watched(work, watchdog, () => bytes) : work);
  const writer = writable.getWriter();
  const leaving = new AbortController();
  writer.closed.catch((reason: unknown) => leaving.abort(reason));
  const left = signal ? AbortSignal.any([leaving.signal, signal]) : leaving.signal;
  try {
    for await (const piece of typeof source === 'function' ? source(left) : source) {
      left.throwIfAborted();
      const { length } = piece;
      if (length === 0) continue;
      // Told before the loop is left: leaving waits for a pull that is under way.
      await taken(writer.write(piece), length).catch((error: unknown) => {
        leaving.abort(error);
        throw error;
      });
    }
    await writer.close();
  } catch (error) {
    leaving.abort(error);
    await writer.abort(error).catch(() => undefined);
    throw error;
  }
}
