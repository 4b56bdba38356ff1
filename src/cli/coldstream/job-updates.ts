import { on } from 'node:events';
import WebSocket from 'ws';
import { type VaultClient, VaultUnreachable } from './vault-client.ts';

/** A job as the vault tells it (docs: Job). */
export interface JobUpdate {
  readonly job_id: string;
  readonly phase: string;
  readonly current: number;
  readonly total: number;
  readonly message: string;
  readonly timestamp: string;
  readonly backup_id?: string;
  readonly code?: string;
  readonly detail?: string;
}

export function isEnd({ phase }: JobUpdate): boolean {
  return phase === 'done' || phase === 'failed' || phase === 'cancelled';
}

const HANDSHAKE_MS = 60_000;
/** The vault answers `ping` without waking the job. A line on which nothing comes for longer than SILENCE_MS is dead. */
const PING_MS = 30_000;
const SILENCE_MS = 75_000;

/**
 * The updates of a job, the first of them its present state, up to its end. Throws VaultRefused, and
 * {@link VaultUnreachable} where the WebSocket ends before the job does.
 */
export async function* jobUpdates(
  client: VaultClient,
  jobId: string,
  signal: AbortSignal,
): AsyncGenerator<JobUpdate, void, undefined> {
  const job = encodeURIComponent(jobId);
  // Over plain HTTP first: a refusal comes with words there.
  let last = await client.json<JobUpdate>(`/jobs/${job}`);
  yield last;
  if (isEnd(last)) return;
  // Not Node's own, which only newer ones have, and which cannot send a header: a token does not belong in an address.
  const socket = new WebSocket(`${client.origin.replace(/^http/, 'ws')}/ws/backup/${job}`, {
    headers: { authorization: `Bearer ${client.token}` },
    handshakeTimeout: HANDSHAKE_MS,
    ...(client.connections.socketAgent && { agent: client.connections.socketAgent }),
  });
  // One that is ended while it opens says so once more, when nobody listens.
  socket.on('error', () => undefined);
  const heart = keepAlive(socket);
  try {
    for await (const [data] of on(socket, 'message', { signal, close: ['close'] })) {
      if (String(data) === 'pong') continue;
      const update = JSON.parse(String(data)) as JobUpdate;
      if (update.timestamp === last.timestamp && update.phase === last.phase) continue;
      last = update;
      yield update;
      if (isEnd(update)) return;
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : new VaultUnreachable(client, error);
  } finally {
    clearInterval(heart);
    socket.terminate();
  }
  throw new VaultUnreachable(client, new Error('the connection ended before the job did'));
}

function keepAlive(socket: WebSocket): NodeJS.Timeout {
  let heardAt = performance.now();
  socket.on('message', () => {
    heardAt = performance.now();
  });
  return setInterval(() => {
    if (performance.now() - heardAt > SILENCE_MS) socket.terminate();
    else if (socket.readyState === WebSocket.OPEN) socket.send('ping');
  }, PING_MS);
}
