/** Long enough for a steady figure, short enough to notice that the line became slow. */
const WINDOW_MS = 10_000;
/** No figure is better than a wild one. */
const LEAST_MS = 500;
const STEP_MS = 200;

/** Bytes a second over the last ten seconds. */
export class TransferRate {
  #samples: { readonly at: number; readonly bytes: number }[] = [];

  /** `now` in milliseconds. Going back (what was sent and is not acknowledged) begins anew. */
  sample(bytes: number, now: number): void {
    const last = this.#samples.at(-1);
    if (last && bytes < last.bytes) this.#samples = [];
    else if (last && now - last.at < STEP_MS) return;
    this.#samples.push({ at: now, bytes });
    while (this.#samples.length > 2 && (this.#samples[1]?.at ?? now) < now - WINDOW_MS) this.#samples.shift();
  }

  /** null until it can be told. While nothing comes it sinks. */
  perSecond(now: number): number | null {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (!first || !last || now - first.at < LEAST_MS) return null;
    return ((last.bytes - first.bytes) / (now - first.at)) * 1000;
  }
}
