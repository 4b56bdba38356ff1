import { MultiBar, type SingleBar } from 'cli-progress';
import { showBytes, showDuration } from './amounts.ts';
import { print } from './output.ts';
import { TransferRate } from './transfer-rate.ts';

/** What a person sees of transfers, on standard error: standard output is for data. */
export interface TransferView {
  /** A line of its own. */
  note(text: string): void;
  /** Prints a result on standard output, also while transfers are shown. */
  result(text: string): Promise<void>;
  /** `total` null: unknown. */
  begin(name: string, total: number | null, at?: number): Transfer;
  /** Before anything else is printed. May be called again. */
  close(): void;
}

export interface Transfer {
  /** Where it is now; it may go back, where bytes have to be sent again. */
  at(bytes: number): void;
  /** What is done now ("sending", "verifying"), and how much of it there is; null: unknown. */
  phase(name: string, total: number | null): void;
  end(): void;
}

/** A bar on a terminal. Elsewhere only notes: a log needs no progress. With `quiet` not even these. */
export function transferView({ quiet }: { readonly quiet: boolean }): TransferView {
  if (quiet) return QUIET;
  return process.stderr.isTTY ? new Bars() : LINES;
}

const QUIET: TransferView = {
  note: () => undefined,
  result: print,
  begin: () => SILENT,
  close: () => undefined,
};

interface Shown {
  readonly name: string;
  phase: string;
  current: number;
  total: number | null;
  rate: TransferRate;
}

function start(name: string, total: number | null, current: number): Shown {
  const rate = new TransferRate();
  rate.sample(current, performance.now());
  return { name, phase: '', current, total, rate };
}

/** Whether it is another one than before. */
function changePhase(shown: Shown, phase: string, total: number | null): boolean {
  shown.total = total;
  if (phase === shown.phase) return false;
  shown.phase = phase;
  shown.rate = new TransferRate();
  return true;
}

function move(shown: Shown, bytes: number): void {
  shown.current = bytes;
  shown.rate.sample(bytes, performance.now());
}

/** `12.3 MiB of 1.20 GiB, 5.50 MiB/s, 3m 40s left`, as far as it is known. */
function figures({ current, total, rate }: Shown): string {
  const speed = rate.perSecond(performance.now());
  const left = total !== null && speed !== null && speed > 0 ? (total - current) / speed : null;
  return [
    total === null ? showBytes(current) : `${showBytes(current)} of ${showBytes(total)}`,
    ...(speed === null ? [] : [`${showBytes(speed)}/s`]),
    ...(left === null || current === total ? [] : [`${showDuration(left)} left`]),
  ].join(', ');
}

const NAME_CHARACTERS = 24;
const BAR_CHARACTERS = 24;

class Bars implements TransferView {
  readonly #bars = new MultiBar({
    format: (_options, _params, shown: Shown) => barLine(shown),
    hideCursor: true,
    linewrap: false,
    // Notes are printed in the place of the first bar.
    forceRedraw: true,
    // Signals are ours: see interruption().
    gracefulExit: false,
  });
  #open = new Set<SingleBar>();

  note(text: string): void {
    if (this.#open.size === 0) process.stderr.write(`${text}\n`);
    else for (const line of text.split('\n')) this.#bars.log(`${line}\x1b[K\n`);
  }

  /** Both outputs are one terminal: there the line goes above the bars, as a note does. */
  async result(text: string): Promise<void> {
    if (this.#open.size > 0 && process.stdout.isTTY) this.note(text.replace(/\n$/, ''));
    else await print(text);
  }

  begin(name: string, total: number | null, at = 0): Transfer {
    const shown = start(name, total, at);
    const bar = this.#bars.create(1, 0, shown);
    this.#open.add(bar);
    return {
      at: (bytes) => move(shown, bytes),
      phase: (phase, all) => {
        changePhase(shown, phase, all);
      },
      end: () => bar.stop(),
    };
  }

  close(): void {
    if (this.#open.size === 0) return;
    this.#open = new Set();
    // Prints what was noted since; stop() would not.
    this.#bars.update();
    this.#bars.stop();
  }
}

function barLine(shown: Shown): string {
  const { name, phase, current, total } = shown;
  const done = total === null ? null : total === 0 ? 1 : Math.min(1, current / total);
  const full = Math.round((done ?? 0) * BAR_CHARACTERS);
  const bar = done === null ? '' : `[${'='.repeat(full)}${' '.repeat(BAR_CHARACTERS - full)}] `;
  const percent = done === null ? '' : `${Math.floor(done * 100)}%`.padStart(4);
  return `${shortened(name).padEnd(NAME_CHARACTERS)} ${phase.padEnd(9)} ${bar}${percent && `${percent}  `}${figures(shown)}`;
}

/** The end of a name tells more than its beginning. */
function shortened(name: string): string {
  const characters = [...name];
  return characters.length <= NAME_CHARACTERS ? name : `…${characters.slice(1 - NAME_CHARACTERS).join('')}`;
}

const SILENT: Transfer = { at: () => undefined, phase: () => undefined, end: () => undefined };

const LINES: TransferView = {
  note: (text) => void process.stderr.write(`${text}\n`),
  result: print,
  begin: () => SILENT,
  close: () => undefined,
};
