/** Lines that are kept of one upload; the rest of a long one is its end. */
const KEPT_LINES = 400;

/** What happened to one upload, and what should not have. */
export class UploadLog {
  readonly #began = performance.now();
  readonly #lines: string[] = [];
  readonly #violations: string[] = [];

  say(line: string): void {
    this.#lines.push(`${((performance.now() - this.#began) / 1000).toFixed(3)} ${line}`);
    if (this.#lines.length > KEPT_LINES) this.#lines.splice(1, 1);
  }

  /** Something that the vault must never do. */
  accuse(violation: string): void {
    this.#violations.push(violation);
    this.say(`VIOLATION ${violation}`);
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  get violations(): readonly string[] {
    return this.#violations;
  }
}

/** What happened, counted over all uploads. */
export class Tally {
  readonly #counts = new Map<string, number>();

  count(name: string, by = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + by);
  }

  most(name: string, value: number): void {
    this.#counts.set(name, Math.max(this.#counts.get(name) ?? 0, value));
  }

  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  all(): [string, number][] {
    return [...this.#counts].toSorted(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));
  }
}
