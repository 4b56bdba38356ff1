import { DRAIN_BYTES, DRAIN_MS, MIB } from './limits.ts';
import { type ByteStream, readPieces } from './streams.ts';

/** Whoever reads a body and was told to leave is asked so often whether it has. */
const FREE_POLL_MS = 20;

/**
 * As {@link drain}, for a body that may still be read by somebody who was told to leave: that takes until the bytes come
 * for which it waits.
 */
export async function drainOnceFree(body: ByteStream | null): Promise<void> {
  const deadline = Date.now() + DRAIN_MS;
  while (body?.locked && Date.now() < deadline) await scheduler.wait(FREE_POLL_MS);
  await drain(body);
}

/**
 * Reads what a refused client still sends and drops it, within {@link DRAIN_BYTES} and {@link DRAIN_MS}: an answer in
 * the middle of a body is lost in half the tries, since the client meets a closed connection while it writes.
 */
export async function drain(body: ByteStream | null): Promise<void> {
  if (!body || body.locked) return;
  const deadline = Date.now() + DRAIN_MS;
  const pieces = readPieces(body, MIB);
  let dropped = 0;
  try {
    while (dropped < DRAIN_BYTES && Date.now() < deadline) {
      const next = await Promise.race([pieces.next(), scheduler.wait(deadline - Date.now())]);
      if (!next || next.done) return;
      dropped += next.value.length;
    }
  } catch {
    // The client has gone: nobody is left to be answered.
  }
}
