import type { Pieces } from './streams.ts';

/**
 * Hands pieces to a second reader of the same bytes, in step with the first: no piece is copied, none waits in a queue.
 * `give` resolves when the reader asks for the next piece, which says that it is done with this one, or has left; a
 * piece given after that is dropped. The two work in turns, so both sides may only be used within one request.
 */
export class HandOff {
  #offered: { readonly piece: Uint8Array; readonly taken: () => void } | null = null;
  #inUse: (() => void) | null = null;
  #wanted: ((result: IteratorResult<Uint8Array, void>) => void) | null = null;
  #ended = false;
  #left = false;

  /** For one reader; leaving the loop lets the giver go on alone. */
  readonly pieces: Pieces = {
    [Symbol.asyncIterator]: () => ({
      next: () => this.#next(),
      return: async () => {
        this.#leave();
        return { done: true, value: undefined };
      },
    }),
  };

  give(piece: Uint8Array): Promise<void> {
    if (this.#left || this.#ended) return Promise.resolve();
    return new Promise((taken) => {
      this.#offered = { piece, taken };
      this.#deliver();
    });
  }

  /** There are no more pieces: the reader's loop ends. */
  end(): void {
    this.#ended = true;
    this.#wanted?.({ done: true, value: undefined });
    this.#wanted = null;
  }

  #next(): Promise<IteratorResult<Uint8Array, void>> {
    this.#inUse?.();
    this.#inUse = null;
    if (this.#ended || this.#left) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => {
      this.#wanted = resolve;
      this.#deliver();
    });
  }

  #deliver(): void {
    if (!this.#wanted || !this.#offered) return;
    const { piece, taken } = this.#offered;
    const wanted = this.#wanted;
    this.#offered = this.#wanted = null;
    this.#inUse = taken;
    wanted({ done: false, value: piece });
  }

  #leave(): void {
    this.#left = true;
    this.#inUse?.();
    this.#offered?.taken();
    this.#inUse = this.#offered = null;
  }
}
