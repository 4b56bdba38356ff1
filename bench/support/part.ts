import type { Findings } from './report.ts';

/** What every part of the bench is given. */
export interface Bench {
  /** Removed at the end. */
  readonly directory: string;
  /** Pairs to measure where a ratio is told. */
  readonly rounds: number;
  /** Smaller sizes: to see that the bench works, not to quote. */
  readonly quick: boolean;
  /** A mixed tar of {@link fileBytes}. */
  readonly file: string;
  readonly fileBytes: number;
  /** Another checkout, with its packages installed, that this one is measured against; null where none was named. */
  readonly before: string | null;
  /** A new directory for state. */
  fresh(name: string): string;
}

export type Part = (bench: Bench) => Promise<Findings>;
