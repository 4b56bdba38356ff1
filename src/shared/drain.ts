import { DRAIN_BYTES, DRAIN_MS, MIB } from './limits.ts';
import { type ByteStream, readPieces } from './streams.ts';

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
