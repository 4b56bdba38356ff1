// Its modules by name: its index is CommonJS that requires ES modules, which bundlers mend and test runners do not.
import { createDurable } from 'itty-durable/itty-durable.js';
import { proxyDurable } from 'itty-durable/proxy-durable.js';
import { withinTime } from '../shared/abort.ts';
import { JOB_CALL_MS } from '../shared/limits.ts';

/**
 * The base of a room. The library's ways that matter here:
 * - state is read from storage only in `fetch`: alarms and socket events call `loadFromStorage` themselves;
 * - `persist` stores every own property but `state`, and none of the private `#` fields;
 * - every name of the `env` it gets becomes a property of `state`, so it gets an empty one.
 */
export const IttyRoom = createDurable();

/**
 * Calls `method` of the room of `jobId` with one JSON `argument`; rejects when the room fails or takes longer than
 * {@link JOB_CALL_MS}. The id is made here because the library takes a name of 64 hex digits for an object's id, and
 * clients choose names. A client's own request never reaches the room: the library calls what a path names.
 */
export async function callRoom(
  rooms: DurableObjectNamespace,
  jobId: string,
  method: string,
  argument: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  const call = proxyDurable(rooms).get(rooms.idFromName(jobId), { headers: { ...headers } })[method];
  if (!call) throw new Error(`the room has no method ${method}`);
  return withinTime(call(asciiJson(argument)), JOB_CALL_MS, 'no answer from the room');
}

/** Arguments travel in a header, which holds Latin-1 only. */
function asciiJson(value: unknown): string {
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[^\x20-\x7e]/g, escaped);
}
