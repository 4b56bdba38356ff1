import { withinTime } from './abort.ts';
import { DRAIN_BYTES, DRAIN_MS, REFUSED_READ_BYTES, STRANGERS_DRAINED } from './limits.ts';
import { type ByteStream, readPieces } from './streams.ts';

/** How often to check whether the reader of a body has released it. */
const FREE_POLL_MS = 20;

/** When the drains of strangers began. A request that the runtime ends runs no `finally`: its drain is over by its time. */
const strangers = new Set<{ readonly since: number }>();

export interface DrainOptions {
  /** The sender has no valid credential: only {@link STRANGERS_DRAINED} such bodies are read at once. */
  readonly stranger?: boolean;
}

/**
 * As {@link drain}, for a body whose reader was told to leave and may still hold it: it leaves when the bytes come that it
 * waits for.
 */
export async function drainOnceFree(body: ByteStream | null, options: DrainOptions = {}): Promise<void> {
  const deadline = Date.now() + DRAIN_MS;
  while (body?.locked && Date.now() < deadline) await scheduler.wait(FREE_POLL_MS);
  await drain(body, options);
}

/**
 * Reads what a refused client still sends and drops it, within {@link DRAIN_BYTES} and {@link DRAIN_MS}: an answer in
 * the middle of a body is lost in half the tries, since the client meets a closed connection while it writes. Little is
 * read at once: what is held is held for each of many clients, who may send nothing for all of that time.
 */
export async function drain(body: ByteStream | null, { stranger = false }: DrainOptions = {}): Promise<void> {
  if (!body || body.locked) return;
  if (!stranger) return dropBytes(body);
  for (const other of strangers) if (other.since < Date.now() - DRAIN_MS) strangers.delete(other);
  if (strangers.size >= STRANGERS_DRAINED) return;
  const own = { since: Date.now() };
  strangers.add(own);
  try {
    await dropBytes(body);
  } finally {
    strangers.delete(own);
  }
}

async function dropBytes(body: ByteStream): Promise<void> {
  try {
    await withinTime(readAndDrop(body, Date.now() + DRAIN_MS), DRAIN_MS, 'the client still sends');
  } catch {
    // The client has gone, or is slow: it gets its answer now, if it can be reached.
  }
}

async function readAndDrop(body: ByteStream, deadline: number): Promise<void> {
  let dropped = 0;
  for await (const { length } of readPieces(body, REFUSED_READ_BYTES)) {
    dropped += length;
    if (dropped >= DRAIN_BYTES || Date.now() >= deadline) return;
  }
}
