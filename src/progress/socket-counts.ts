/**
 * Sockets of each holder (a token or a link) in this isolate, over all job objects that are in its memory. An object that
 * hibernates leaves the memory, and its sockets with it.
 */
export class SocketCounts {
  static readonly #inIsolate = new Set<WeakRef<SocketCounts>>();

  readonly #byHolder = new Map<string, number>();

  constructor() {
    SocketCounts.#inIsolate.add(new WeakRef(this));
  }

  /** Notes how many sockets `holder` has at this job. */
  note(holder: string, sockets: number): void {
    if (sockets > 0) this.#byHolder.set(holder, sockets);
    else this.#byHolder.delete(holder);
  }

  /** Sockets of `holder` at all jobs of the isolate. */
  static of(holder: string): number {
    let sum = 0;
    for (const reference of SocketCounts.#inIsolate) {
      const counts = reference.deref();
      if (counts) sum += counts.#byHolder.get(holder) ?? 0;
      else SocketCounts.#inIsolate.delete(reference);
    }
    return sum;
  }
}
