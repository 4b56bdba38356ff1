import { SingleBar } from 'cli-progress';

/** What of a job's messages (docs: Watch) is shown. */
export interface JobUpdate {
  readonly phase: string;
  readonly current: number;
  readonly total: number;
  readonly percentage: number;
  readonly message: string;
  readonly stored?: number;
  readonly detail?: string;
}

const FINAL = new Set(['done', 'failed', 'cancelled']);
const MIB = 1024 * 1024;

/**
 * Connects to a signed watch URL and shows every message: a bar on a terminal, lines elsewhere.
 *
 * `opened` resolves with the first message, so that an upload can be started after it; `ended` with the last one, or
 * rejects where the socket broke before that.
 */
export function watchJob(watchUrl: string): {
  opened: Promise<JobUpdate>;
  ended: Promise<JobUpdate>;
  messages(): number;
} {
  const show = process.stdout.isTTY ? bar() : lines();
  const opened = Promise.withResolvers<JobUpdate>();
  const ended = Promise.withResolvers<JobUpdate>();
  // Whoever waits for one of them hears of the failure; the other must not count as unhandled.
  for (const { promise } of [opened, ended]) promise.catch(() => undefined);
  let messages = 0;
  const socket = new WebSocket(watchUrl.replace(/^http/, 'ws'));
  const fail = (reason: string) => {
    const error = new Error(reason);
    opened.reject(error);
    ended.reject(error);
  };
  socket.addEventListener('message', ({ data }) => {
    const update: JobUpdate = JSON.parse(String(data));
    messages++;
    show(update);
    opened.resolve(update);
    if (!FINAL.has(update.phase)) return;
    ended.resolve(update);
    socket.close();
  });
  socket.addEventListener('error', () => fail('the watching socket failed'));
  socket.addEventListener('close', ({ code }) => fail(`the watching socket was closed (${code}) before the job ended`));
  return { opened: opened.promise, ended: ended.promise, messages: () => messages };
}

type Show = (update: JobUpdate) => void;

function bar(): Show {
  const drawn = new SingleBar({
    format: '{phase} [{bar}] {percentage}% | {now}/{all} MiB in | {stored} MiB stored',
    barsize: 32,
    hideCursor: true,
    linewrap: false,
    autopadding: true,
  });
  let started = false;
  return (update) => {
    const shown = {
      phase: update.phase.padEnd(9),
      now: inMib(update.current),
      all: inMib(update.total),
      stored: inMib(update.stored ?? 0),
    };
    if (!started) {
      if (update.phase === 'waiting') return;
      drawn.start(Math.max(update.total, 1), update.current, shown);
      started = true;
    }
    drawn.setTotal(Math.max(update.total, 1));
    drawn.update(update.current, shown);
    if (FINAL.has(update.phase)) drawn.stop();
  };
}

/** A line a phase, and one for every tenth of it. */
function lines(): Show {
  let last = '';
  return (update) => {
    const step = `${update.phase} ${Math.floor(update.percentage / 10)}`;
    if (step === last) return;
    last = step;
    const stored = update.stored === undefined ? '' : `, ${inMib(update.stored)} MiB stored`;
    console.log(
      `  ${update.phase.padEnd(9)} ${update.percentage.toFixed(1).padStart(5)} %  ${inMib(update.current)} MiB in${stored}`,
    );
  };
}

function inMib(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}
