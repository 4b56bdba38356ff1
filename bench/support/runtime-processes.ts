/** The processes of a local runtime, as the machine sees them. All of it is nothing where there is no /proc. */
import { readdirSync, readFileSync } from 'node:fs';

/** The ids of the processes named workerd in a process group. */
export function runtimeProcesses(group: number): number[] {
  return numbersIn('/proc').filter((pid) => isRuntimeOf(pid, group));
}

/** What the processes hold of the machine's memory. */
export function residentBytes(pids: readonly number[]): number {
  let kib = 0;
  for (const pid of pids) kib += Number(/VmRSS:\s+(\d+)/.exec(textOf(`/proc/${pid}/status`))?.[1] ?? 0);
  return kib * 1024;
}

/**
 * What `work` gives, and the share of its time for which the busiest thread of the processes computed, or would have,
 * had others not had the machine's cores.
 */
export async function busiestThread<T>(
  pids: readonly number[],
  work: () => Promise<T>,
): Promise<{ result: T; share: number }> {
  const before = threadSeconds(pids);
  const began = performance.now();
  const result = await work();
  const seconds = (performance.now() - began) / 1000;
  const computed = [...threadSeconds(pids)].map(([thread, after]) => after - (before.get(thread) ?? 0));
  return { result, share: Math.max(...computed) / seconds };
}

/** Seconds that the processes have computed, also where they waited for a core in between. */
export function computedSeconds(pids: readonly number[]): number {
  const threads = pids.flatMap((pid) => numbersIn(`/proc/${pid}/task`).map((thread) => `/proc/${pid}/task/${thread}`));
  return threads.reduce((sum, thread) => sum + Number(textOf(`${thread}/schedstat`).split(' ')[0] ?? 0) / 1e9, 0);
}

/** Seconds for which each thread of the processes had a core or waited for one, which Linux tells in nanoseconds. */
function threadSeconds(pids: readonly number[]): Map<string, number> {
  const seconds = new Map<string, number>();
  for (const pid of pids) {
    for (const thread of numbersIn(`/proc/${pid}/task`)) {
      const [computed, waited] = textOf(`/proc/${pid}/task/${thread}/schedstat`).split(' ').map(Number);
      seconds.set(`${pid}/${thread}`, ((computed ?? 0) + (waited ?? 0)) / 1e9);
    }
  }
  return seconds;
}

function isRuntimeOf(pid: number, group: number): boolean {
  const stat = `/proc/${pid}/stat`;
  return /\(workerd\)/.test(textOf(stat)) && Number(fieldsAfterName(stat)[2]) === group;
}

/** proc(5): the second field is a name in parentheses, which may hold anything; the third is then the first here. */
function fieldsAfterName(file: string): string[] {
  return (/^\d+ \(.*\) (.*)$/s.exec(textOf(file))?.[1] ?? '').split(' ');
}

function numbersIn(directory: string): number[] {
  try {
    return readdirSync(directory)
      .map(Number)
      .filter((number) => Number.isInteger(number));
  } catch {
    return [];
  }
}

/** Processes and threads end at any time. */
function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
