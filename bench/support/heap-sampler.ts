/** Samples what a Worker's isolate holds while it works. */
import { type HeapUsage, openHeap } from './isolate-heap.ts';
import type { LocalWorker } from './local-worker.ts';
import { mib, type Row } from './report.ts';
import { residentBytes, runtimeProcesses } from './runtime-processes.ts';

const SAMPLE_MS = 250;
const MIB = 1024 * 1024;

/** `heap` with its garbage, but after `collect`. */
export interface HeapSample extends HeapUsage {
  readonly ms: number;
  /** Resident memory of the runtime's processes: storage simulator and all. */
  readonly resident: number;
}

export interface HeapSampler {
  /** What is left after a collection: no garbage. */
  collect(): Promise<HeapSample>;
  stop(): Promise<HeapSample[]>;
}

export async function sampleHeap(worker: LocalWorker): Promise<HeapSampler> {
  const isolate = await openHeap(worker.inspectorPort, async () => (await fetch(`${worker.url}/healthz`)).text());
  const runtime = runtimeProcesses(worker.pid);
  const began = Date.now();
  const samples: HeapSample[] = [];
  const sample = (usage: HeapUsage) => ({ ms: Date.now() - began, ...usage, resident: residentBytes(runtime) });
  const timer = setInterval(() => {
    // A vault that is stopped meanwhile has no more samples to give.
    isolate.usage().then(
      (usage) => samples.push(sample(usage)),
      () => undefined,
    );
  }, SAMPLE_MS);
  return {
    collect: async () => sample(await isolate.collected()),
    async stop() {
      clearInterval(timer);
      isolate.close();
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
