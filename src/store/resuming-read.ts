import { retryWaitMs, STORAGE_RETRY } from '../shared/retry.ts';
import { type ByteStream, readPieces } from '../shared/streams.ts';
import type { ObjectStore } from './object-store.ts';
import { StorageFailed } from './r2-errors.ts';

/**
 * An object whole, as pieces of `pieceBytes`. A read that breaks is taken up again at the next byte, after growing
 * waits, and given up as {@link StorageFailed} when it breaks three times without a byte between. Objects are never
 * changed, so the key is the version. `first` is the object's stream, opened before; leaving early cancels what is open.
 */
export async function* readResuming(
  store: ObjectStore,
  key: string,
  sizeBytes: number,
  pieceBytes: number,
  first: ByteStream,
): AsyncGenerator<Uint8Array, void, undefined> {
  let offset = 0;
  let body: ByteStream | null = first;
  for (let breaks = 0; ; ) {
    try {
      if (!body) throw new Error(`${key} is gone`);
      for await (const piece of readPieces(body, pieceBytes)) {
        offset += piece.length;
        breaks = 0;
        yield piece;
      }
      if (offset === sizeBytes) return;
      throw new Error(`${key} ended at byte ${offset} of ${sizeBytes}`);
    } catch (error) {
      if (offset === sizeBytes) return;
      breaks += 1;
      if (breaks >= STORAGE_RETRY.tries) throw new StorageFailed('read', error);
      await scheduler.wait(retryWaitMs(breaks, STORAGE_RETRY));
      body = await store.read(key, { offset, length: sizeBytes - offset });
    }
  }
}
