import { KIB, MIB, ZSTD_WINDOW_BYTES } from '../../shared/limits.ts';
import type { FrameDecompressor, ZstdEngine } from './engine.ts';
import wasm from './generated/zstd-codec.wasm';
import startGlue, { type VectorU8, type ZstdBinding } from './generated/zstd-codec-glue.js';
import { MalformedZstd } from './malformed-zstd.ts';

/*
 * zstd-codec 0.1.5. Its heap is 16 MiB, of which 11 are to be had, and does not grow; where it runs out the instance
 * aborts and is lost until the isolate is. So the numbers below are what fits, found by trial (test/unit/codec), and
 * nothing larger is ever sent to it.
 */
/** Level 7's tables do not fit beside 4 MiB of content and as much for the result. */
const HIGHEST_LEVEL = 6;
const ONE_SHOT_BYTES = 4 * MIB + 128 * KIB;

export function startWasmEngine(): ZstdEngine {
  const binding = startBinding();
  const codec = new binding.ZstdCodec();
  const engine: ZstdEngine = {
    name: 'wasm',
    writesChecksum: false,
    highestLevel: HIGHEST_LEVEL,
    largestWindowBytes: ZSTD_WINDOW_BYTES,
    oneShotBytes: ONE_SHOT_BYTES,
    compressFrame: (content, level) =>
      withVectors(binding, content, (source, result) => {
        result.resize(codec.compressBound(content.length), 0);
        const bytes = codec.compress(result, source, level);
        if (bytes < 0) throw new Error(`zstd-codec failed to compress ${content.length} bytes at level ${level}`);
        result.resize(bytes, 0);
      }),
    decompressFrame: (frame, contentBytes) =>
      withVectors(binding, frame, (source, result) => {
        result.resize(contentBytes, 0);
        const bytes = codec.decompress(result, source);
        if (bytes < 0) throw new MalformedZstd('a frame is corrupt', 0);
        if (bytes !== contentBytes) throw new MalformedZstd('a frame does not hold what its header says', 0);
      }),
    decompressor: () => decompressorOf(binding),
  };
  return engine;
}

function startBinding(): ZstdBinding {
  return startGlue({
    instantiateWasm: (imports, received) => {
      const instance = new WebAssembly.Instance(wasm, imports);
      received(instance);
      return instance.exports;
    },
    print: () => undefined,
    printErr: () => undefined,
  });
}

function withVectors(
  binding: ZstdBinding,
  input: Uint8Array,
  work: (source: VectorU8, result: VectorU8) => void,
): Uint8Array {
  const source = new binding.VectorU8();
  const result = new binding.VectorU8();
  try {
    binding.cloneToVector(source, input);
    work(source, result);
    return binding.cloneAsTypedArray(result);
  } finally {
    source.delete();
    result.delete();
  }
}

function decompressorOf(binding: ZstdBinding): FrameDecompressor {
  const stream = new binding.ZstdDecompressStreamBinding();
  stream.begin();
  return {
    push: (input) => {
      const out: Uint8Array[] = [];
      if (!stream.transform(input, (piece) => out.push(piece))) throw new MalformedZstd('a frame is corrupt', 0);
      return out;
    },
    end: () => undefined,
    close: () => stream.delete(),
  };
}
