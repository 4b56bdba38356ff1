/** Reads the heap of a Worker's isolate while it works, by the runtime's own inspector (Chrome DevTools Protocol). */
import { readdirSync, readFileSync } from 'node:fs';
import type { LocalWorker } from './local-worker.ts';
import { mib, type Row } from './report.ts';

const SAMPLE_MS = 250;
const MIB = 1024 * 1024;

export interface HeapSample {
  readonly ms: number;
  /** JavaScript objects, garbage included, in bytes. */
  readonly heap: number;
  /** ArrayBuffers and what the runtime itself holds for the isolate. */
  readonly buffers: number;
  /** Resident memory of the runtime's processes: storage simulator and all. */
  readonly resident: number;
}

export interface HeapSampler {
  /** What is left after a collection: no garbage. */
  collect(): Promise<HeapSample>;
  stop(): Promise<HeapSample[]>;
}

interface InspectorAnswer {
  readonly id?: number;
  readonly result?: Partial<Record<string, number>>;
}

export async function sampleHeap(worker: LocalWorker): Promise<HeapSampler> {
  // The inspector's proxy lets in what says where it comes from.
  const socket = new WebSocket(await userTarget(worker.inspectorPort), { headers: { Origin: 'http://localhost' } });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve());
    socket.addEventListener('error', () => reject(new Error('the inspector does not answer')));
  });
  const samples: HeapSample[] = [];
  const runtime = runtimeProcesses(worker.pid);
  const began = Date.now();
  let id = 0;
  const answers = new Map<number, (sample: HeapSample) => void>();
  socket.addEventListener('message', ({ data }) => {
    const { id: answered = 0, result } = JSON.parse(String(data)) as InspectorAnswer;
    if (result?.usedSize === undefined) return;
    const sample = {
      ms: Date.now() - began,
      heap: result.usedSize,
      buffers: (result.backingStorageSize ?? 0) + (result.embedderHeapUsedSize ?? 0),
      resident: residentBytes(runtime),
    };
    const asked = answers.get(answered);
    answers.delete(answered);
    if (asked) asked(sample);
    else samples.push(sample);
  });
  const call = (method: string) => {
    socket.send(JSON.stringify({ id: ++id, method }));
    return id;
  };
  const timer = setInterval(() => call('Runtime.getHeapUsage'), SAMPLE_MS);
  return {
    async collect() {
      call('HeapProfiler.collectGarbage');
      const { promise, resolve } = Promise.withResolvers<HeapSample>();
      answers.set(call('Runtime.getHeapUsage'), resolve);
      return promise;
    },
    async stop() {
      clearInterval(timer);
      socket.close();
      return samples;
    },
  };
}

/** The largest heap and buffers seen, and whether the last third is as the first. */
export function heapRow(what: string, limitMib: number, samples: readonly HeapSample[]): Row {
  const held = samples.map(({ heap, buffers }) => heap + buffers);
  const third = Math.ceil(held.length / 3);
  const most = Math.max(...held);
  // The first second is the start, not the flow.
  const first = Math.max(...held.slice(Math.min(4, third - 1), third));
  const last = Math.max(...held.slice(-third));
  const resident = Math.max(...samples.map((sample) => sample.resident));
  const flat = last <= first * 1.25 + 4 * MIB;
  return {
    what,
    bar: `under ${limitMib} MiB, flat`,
    measured: `at most ${mib(most)}; first third ${mib(first)}, last ${mib(last)} (process ${mib(resident)})`,
    passes: samples.length > 4 && most < limitMib * MIB && flat,
    facts: samples,
  };
}

async function userTarget(port: number): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/json`);
  const targets = (await answer.json()) as { webSocketDebuggerUrl: string }[];
  const target = targets[0];
  if (!target) throw new Error('the inspector lists no Worker');
  return target.webSocketDebuggerUrl;
}

/** The ids of the processes named workerd in a process group. None where there is no /proc. */
function runtimeProcesses(group: number): number[] {
  try {
    return readdirSync('/proc')
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && isRuntimeOf(pid, group));
  } catch {
    return [];
  }
}

function isRuntimeOf(pid: number, group: number): boolean {
  try {
    const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
    return name === 'workerd' && Number(rest?.split(' ')[2]) === group;
  } catch {
    return false;
  }
}

function residentBytes(pids: readonly number[]): number {
  let kib = 0;
  for (const pid of pids) {
    try {
      kib += Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
    } catch {
      // Ended meanwhile.
    }
  }
  return kib * 1024;
}
