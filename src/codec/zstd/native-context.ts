import { constants, createZstdCompress, type ZstdCompress } from 'node:zlib';

/**
 * The compressor behind a stream of node:zlib. It is no public interface, so {@link openNativeContext} looks whether it
 * is there, and the engine checks it by a round trip.
 */
interface ZstdHandle {
  initialize(params: Uint32Array, state: Uint32Array, onWritten: () => void): void;
  writeSync(
    flush: number,
    input: Uint8Array,
    inputOffset: number,
    inputBytes: number,
    output: Uint8Array,
    outputOffset: number,
    outputBytes: number,
  ): void;
}

/** Makes frames of any level, one call after the other, with one zstd context. */
export interface NativeContext {
  /**
   * Compresses `content` into one frame with its content size. Returns a view of the context's own memory, valid until
   * the next call.
   *
   * @param params compression parameters of zstd by their numbers; those left out stay as the last call set them
   */
  compress(content: Uint8Array, params: Readonly<Record<number, number>>): Uint8Array;
}

const NOT_GIVEN = 0xff_ff_ff_ff;
const PARAMS =
  1 + Math.max(...Object.entries(constants).map(([name, value]) => (name.startsWith('ZSTD_c_') ? value : 0)));

/**
 * One context for all uploads of the isolate: compressing is synchronous and no state of it crosses a frame, so uploads
 * take turns by themselves. A context of its own a upload would hold 3.5 to 18 MiB for each slow sender, and one a frame
 * leaves its memory behind (docs/decisions/0017-fair-memory.md).
 *
 * The stream is never written to. Its compressor is given our input and output, which a write would allocate each time.
 *
 * @param outputBytes room for the largest frame
 * @returns null where this runtime has no such compressor
 */
export function openNativeContext(outputBytes: number): NativeContext | null {
  const stream = createZstdCompress({ flush: constants.ZSTD_e_end });
  const handle: unknown = Reflect.get(stream, '_handle');
  const state: unknown = Reflect.get(stream, '_writeState');
  if (!isHandle(handle) || !(state instanceof Uint32Array)) return null;
  return new SharedContext(stream, handle, state, outputBytes);
}

class SharedContext implements NativeContext {
  readonly #handle: ZstdHandle;
  /** Written by the compressor: output bytes that are free, input bytes that are left. */
  readonly #state: Uint32Array;
  readonly #output: Uint8Array;
  #failure: unknown = null;

  constructor(stream: ZstdCompress, handle: ZstdHandle, state: Uint32Array, outputBytes: number) {
    this.#handle = handle;
    this.#state = state;
    this.#output = new Uint8Array(outputBytes);
    stream.on('error', (error: unknown) => {
      this.#failure = error;
    });
  }

  compress(content: Uint8Array, params: Readonly<Record<number, number>>): Uint8Array {
    this.#setParams(params);
    const output = this.#output;
    this.#handle.writeSync(constants.ZSTD_e_end, content, 0, content.length, output, 0, output.length);
    const [free = 0, left = 0] = this.#state;
    if (this.#failure !== null || left > 0 || free === output.length) {
      throw new Error('zstd could not compress a frame', { cause: this.#failure });
    }
    return output.subarray(0, output.length - free);
  }

  #setParams(params: Readonly<Record<number, number>>): void {
    const values = new Uint32Array(PARAMS).fill(NOT_GIVEN);
    for (const [key, value] of Object.entries(params)) values[Number(key)] = value;
    this.#handle.initialize(values, this.#state, () => undefined);
  }
}

function isHandle(value: unknown): value is ZstdHandle {
  return typeof value === 'object' && value !== null && 'initialize' in value && 'writeSync' in value;
}
