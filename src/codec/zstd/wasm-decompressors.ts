import { VaultError } from '../../shared/errors.ts';
import { Gate, type Share } from '../../shared/isolate-memory.ts';
import { DecoderBusy, type FrameDecompressor } from './engine.ts';
import type { DecompressStreamBinding, ZstdBinding } from './generated/zstd-codec-glue.js';
import { MalformedZstd } from './malformed-zstd.ts';

/**
 * The decoders that live in one instance of zstd-codec, one at a time, because its heap holds one window of 8 MiB. The
 * next one waits at its first push. A decoder whose request was killed is freed by the one after it.
 *
 * One in the background may last for as long as its upload has a slow sender: nobody waits for it, nor does it wait.
 */
export class WasmDecompressors {
  readonly #binding: ZstdBinding;
  readonly #turn = new Gate({ units: 1 });
  #current: DecompressStreamBinding | undefined;
  #background: Share | undefined;

  constructor(binding: ZstdBinding) {
    this.#binding = binding;
  }

  open(background: boolean): FrameDecompressor {
    let share: Share | undefined;
    let stream: DecompressStreamBinding | undefined;
    return {
      push: async (input) => {
        share ??= background ? await this.#enterIfFree() : await this.#enter();
        stream ??= this.#begin();
        if (stream !== this.#current) {
          throw background ? new DecoderBusy() : new VaultError('internal-error', 'The decoding took too long.');
        }
        return transform(stream, input);
      },
      end: () => undefined,
      close: () => {
        if (stream && stream === this.#current) this.#free();
        share?.release();
      },
    };
  }

  /** Decodes one small frame, so that the glue makes its functions now. */
  warmUp(frame: Uint8Array): void {
    transform(this.#begin(), frame);
    this.#free();
  }

  async #enter(): Promise<Share> {
    this.#background?.release();
    this.#background = undefined;
    return this.#turn.acquire(FOREGROUND);
  }

  async #enterIfFree(): Promise<Share> {
    this.#background = await this.#turn.acquire(BACKGROUND, AbortSignal.abort(new DecoderBusy()));
    return this.#background;
  }

  #begin(): DecompressStreamBinding {
    this.#free();
    const stream = new this.#binding.ZstdDecompressStreamBinding();
    stream.begin();
    this.#current = stream;
    return stream;
  }

  #free(): void {
    this.#current?.delete();
    this.#current = undefined;
  }
}

const FOREGROUND = 'decoding';
const BACKGROUND = 'decoding along';

function transform(stream: DecompressStreamBinding, input: Uint8Array): Uint8Array[] {
  const out: Uint8Array[] = [];
  if (!stream.transform(input, (piece) => out.push(piece))) throw new MalformedZstd('a frame is corrupt', 0);
  return out;
}
