/** Ratios of two things done in alternation: what the machine does meanwhile hits both. */

export interface Ratio {
  /** Median of the pairs' ratios: how many times as fast as the control. */
  readonly ratio: number;
  readonly ratios: readonly number[];
  /** Medians. */
  readonly seconds: number;
  readonly controlSeconds: number;
}

/** One warm-up, then `rounds` pairs; each side gives its seconds. Which of the two goes first changes each round. */
export async function alternate(
  rounds: number,
  ours: () => Promise<number>,
  control: () => Promise<number>,
): Promise<Ratio> {
  await control();
  await ours();
  const pairs: { ours: number; control: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const seconds = await control();
      pairs.push({ control: seconds, ours: await ours() });
    } else {
      const seconds = await ours();
      pairs.push({ control: await control(), ours: seconds });
    }
  }
  const ratios = pairs.map((pair) => pair.control / pair.ours);
  return {
    ratio: median(ratios),
    ratios,
    seconds: median(pairs.map((pair) => pair.ours)),
    controlSeconds: median(pairs.map((pair) => pair.control)),
  };
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which `share` of the values lie. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
