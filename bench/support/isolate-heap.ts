/** Asks what a Worker's isolate holds, by the runtime's own inspector (Chrome DevTools Protocol). */

export interface HeapUsage {
  /** JavaScript objects, in bytes. */
  readonly heap: number;
  /** ArrayBuffers and what the runtime itself holds for the isolate. */
  readonly buffers: number;
}

export interface IsolateHeap {
  /** What there is, garbage included. */
  usage(): Promise<HeapUsage>;
  /** What is left after a collection: what somebody holds, and what was made since. */
  collected(): Promise<HeapUsage>;
  /** Who waits for an answer is told that there is none. */
  close(): void;
}

interface InspectorAnswer {
  readonly id?: number;
  readonly result?: Partial<Record<string, number>>;
  readonly error?: { readonly message: string };
}

type Settle = (answer: InspectorAnswer) => void;

/**
 * @param inspectorPort of a `wrangler dev` on this machine
 * @param stir gives the isolate a little to do: the runtime collects in a task, and an isolate that rests runs none
 */
export async function openHeap(inspectorPort: number, stir: () => Promise<unknown>): Promise<IsolateHeap> {
  // The inspector's proxy lets in what says where it comes from.
  const socket = new WebSocket(await userTarget(inspectorPort), { headers: { Origin: 'http://localhost' } });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve());
    socket.addEventListener('error', () => reject(new Error('the inspector does not answer')));
  });
  let id = 0;
  const waiting = new Map<number, Settle>();
  socket.addEventListener('message', ({ data }) => {
    const answer = JSON.parse(String(data)) as InspectorAnswer;
    const settle = waiting.get(answer.id ?? 0);
    waiting.delete(answer.id ?? 0);
    settle?.(answer);
  });
  socket.addEventListener('close', () => {
    for (const settle of waiting.values()) settle({ error: { message: 'the inspector has gone' } });
    waiting.clear();
  });
  const call = (method: string) => {
    const { promise, resolve } = Promise.withResolvers<InspectorAnswer>();
    waiting.set(++id, resolve);
    socket.send(JSON.stringify({ id, method }));
    return promise;
  };
  const usage = async () => usageIn(await call('Runtime.getHeapUsage'));
  return {
    usage,
    async collected() {
      let collecting = true;
      call('HeapProfiler.collectGarbage').then(() => {
        collecting = false;
      });
      while (collecting) await stir();
      return usage();
    },
    close: () => socket.close(),
  };
}

function usageIn({ result, error }: InspectorAnswer): HeapUsage {
  if (result?.usedSize === undefined) throw new Error(`no heap usage: ${error?.message ?? 'another answer'}`);
  const { usedSize: heap, backingStorageSize = 0, embedderHeapUsedSize = 0 } = result;
  return { heap, buffers: backingStorageSize + embedderHeapUsedSize };
}

async function userTarget(port: number): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/json`);
  const targets = (await answer.json()) as { webSocketDebuggerUrl: string }[];
  const target = targets[0];
  if (!target) throw new Error('the inspector lists no Worker');
  return target.webSocketDebuggerUrl;
}
