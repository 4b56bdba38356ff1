import { VaultError } from './errors.ts';
import { KIB } from './limits.ts';
import { pieceReader } from './piece-reader.ts';
import type { ByteStream } from './streams.ts';
import { type PeerLimits, PeerStalled, Watchdog, watched } from './watchdog.ts';

/** The sender of a body moved no byte for too long, or fewer than it must. */
export class UploadStalled extends VaultError {
  constructor(cause: PeerStalled) {
    const { idleMs, minRate } = cause.limits;
    super(
      'upload-stalled',
      `The sender sent no byte for ${idleMs / 1000} seconds, or less than ${minRate} bytes a second. Send the rest again.`,
      { cause },
    );
  }
}

/** Bytes of the buffer that waits for a sender: at first, and at least. */
const FIRST_READ_BYTES = 16 * KIB;
const LEAST_READ_BYTES = 4 * KIB;

/**
 * The body of a request in chunks of up to `chunkBytes`, each as soon as it is there: a slow sender's bytes are progress
 * at once. One buffer is used for all chunks, which is large only while its reads are filled, so that a sender who stops
 * holds little; a chunk is valid until the next pull. Leaving early unlocks the body, so
 * that another reader can drain it. Throws {@link UploadStalled} when the sender stalls, after which the body stays
 * locked, and errors of the body as they are.
 */
export async function* sentChunks(
  body: ByteStream,
  chunkBytes: number,
  limits: PeerLimits,
): AsyncGenerator<Uint8Array, void, undefined> {
  const watchdog = new Watchdog(limits);
  let size = Math.min(FIRST_READ_BYTES, chunkBytes);
  const reader = pieceReader(body, size);
  let stalled = false;
  try {
    while (true) {
      const chunk = await watched(reader.read(1, size), watchdog, (read) => read?.length ?? 0);
      if (!chunk) return;
      const came = chunk.length;
      yield chunk;
      const next = nextReadBytes(size, came, chunkBytes);
      if (next !== size) reader.resize(next);
      size = next;
    }
  } catch (error) {
    stalled = error instanceof PeerStalled;
    throw error instanceof PeerStalled ? new UploadStalled(error) : error;
  } finally {
    // A read that is pending keeps the lock (workerd 1.20261117 refuses to release it). It ends with the request.
    if (!stalled) reader.release();
  }
}

/** Twice as much after a read that was filled, half as much after one of which little was used. */
function nextReadBytes(size: number, came: number, most: number): number {
  if (came === size) return Math.min(2 * size, most);
  return came < size / 4 ? Math.max(size / 2, Math.min(LEAST_READ_BYTES, most)) : size;
}
