/** What a part of the bench found, and how it is printed. */

export interface Row {
  readonly what: string;
  readonly bar: string;
  readonly measured: string;
  /** Undefined where there is no bar. */
  readonly passes?: boolean;
  /** Everything behind the figure, for the JSON file. */
  readonly facts?: unknown;
}

export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface Findings {
  readonly rows: readonly Row[];
  readonly tables?: readonly Table[];
}

export function markdown(findings: readonly Findings[]): string {
  const rows = findings.flatMap((found) => found.rows);
  const main = table(
    ['what', 'at least', 'measured', ''],
    rows.map(({ what, bar, measured, passes }) => [
      what,
      bar,
      measured,
      passes === undefined ? '' : passes ? 'yes' : 'NO',
    ]),
  );
  const others = findings.flatMap((found) => found.tables ?? []);
  return [main, ...others.map(({ title, head, rows }) => `${title}\n\n${table(head, rows)}`)].join('\n\n');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

export function mib(bytes: number): string {
  return `${(bytes / (1024 * 1024)).toFixed(0)} MiB`;
}

/** MiB/s */
export function speed(bytes: number, seconds: number): string {
  return `${(bytes / (1024 * 1024) / seconds).toFixed(0)} MiB/s`;
}

export function kib(bytes: number): string {
  return `${(bytes / 1024).toFixed(0)} KiB`;
}

export function ms(seconds: number): string {
  return `${(seconds * 1000).toFixed(1)} ms`;
}
