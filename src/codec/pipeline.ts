import type { Pieces } from '../shared/streams.ts';

/** What can be wrapped around bytes. */
export type Codec = 'zstd' | 'gzip' | 'age';

/** The codecs around the content, the outermost first: `[]` is the content itself, `['age', 'zstd']` our encrypted form. */
export type Layers = readonly Codec[];

/** Exists for the type checker alone. */
declare const wrapped: unique symbol;

/** Pieces of bytes, with what they are of in their type. Nothing of it is left at run time. */
export type Coded<L extends Layers> = Pieces & { readonly [wrapped]?: L };

/** Takes bytes that are wrapped so, gives bytes that are wrapped so. It leaves its source when it is left. */
export type StageOf<From extends Layers, To extends Layers> = (source: Coded<From>) => Coded<To>;

/** Bytes that no stage has touched: the content, unless the caller names what is around it. */
export function pipeline<L extends Layers = []>(source: Coded<L>): Pipeline<L> {
  return new Pipeline(source, source);
}

/**
 * A way of bytes through stages, written in the order in which they go. Stages whose order makes no sense do not
 * compile: compressing what is compressed or encrypted, decrypting what is not. It is itself {@link Pieces}, so that any
 * loop, pump or further stage may consume it, once.
 *
 * Nothing moves before the first pull, a pull asks for one piece all the way up, and no piece is copied. An error of the
 * source or of a stage is thrown to the consumer, and everything above it is left; a consumer that leaves, with or
 * without an error of its own, leaves all stages and the source, also when it has not pulled yet. Leaving waits for a
 * pull that is under way: who cannot wait gives the source a signal.
 */
export class Pipeline<L extends Layers> implements AsyncIterable<Uint8Array> {
  declare readonly [wrapped]?: L;
  readonly #source: Pieces;
  readonly #pieces: Coded<L>;

  constructor(source: Pieces, pieces: Coded<L>) {
    this.#source = source;
    this.#pieces = pieces;
  }

  through<M extends Layers>(stage: StageOf<L, M>): Pipeline<M> {
    return new Pipeline<M>(this.#source, stage(this.#pieces));
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, unknown, undefined> {
    const pieces = this.#pieces[Symbol.asyncIterator]();
    let pulled = false;
    return {
      next: () => {
        pulled = true;
        return pieces.next();
      },
      return: async () => {
        await pieces.return?.();
        // A generator that never ran does not know its source: who leaves before the first pull reaches no stage above.
        if (!pulled && this.#source !== this.#pieces) await this.#source[Symbol.asyncIterator]().return?.();
        return { done: true, value: undefined };
      },
    };
  }
}
