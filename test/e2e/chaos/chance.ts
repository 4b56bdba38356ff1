import { createHash } from 'node:crypto';
import { numbers } from '../../unit/shared/chance.ts';

/** Decisions that a seed makes: the same ones at every run, as long as the same questions are asked in the same order. */
export class Chance {
  readonly #seed: string;
  readonly #below: (limit: number) => number;

  constructor(seed: string) {
    this.#seed = seed;
    // Neighbouring seeds would begin alike.
    this.#below = numbers(createHash('sha256').update(seed).digest().readUInt32LE());
  }

  /** A chance of its own for a part of the whole: what is asked of it changes nothing elsewhere. */
  of(part: string | number): Chance {
    return new Chance(`${this.#seed}/${part}`);
  }

  /** A whole number from 0 up to `limit`, without it. */
  below(limit: number): number {
    return this.#below(limit);
  }

  /** A whole number, both ends included. */
  between(least: number, most: number): number {
    return least + this.#below(most - least + 1);
  }

  /** From 0 up to 1, without it. */
  share(): number {
    return this.#below(2 ** 31) / 2 ** 31;
  }

  happens(probability: number): boolean {
    return this.share() < probability;
  }

  pick<T>(list: readonly T[]): T {
    const picked = list[this.#below(list.length)];
    if (picked === undefined) throw new Error('nothing to pick from');
    return picked;
  }

  /** One of the names, by its weight. */
  weighted<T extends string>(weights: Readonly<Record<T, number>>): T {
    const entries = Object.entries(weights) as [T, number][];
    let left = this.share() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of entries) {
      left -= weight;
      if (left < 0) return name;
    }
    throw new Error('no weights');
  }
}
