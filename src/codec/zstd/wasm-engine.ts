/**
 * zstd-codec 0.1.5 (WebAssembly). Its heap is 16 MiB, of which 11 are to be had, and does not grow; an instance that
 * runs out aborts and is lost for as long as the isolate lives. So the numbers here are what fits, found by trial
 * (test/unit/codec/engines.test.ts), and nothing larger is ever sent to it.
 *
 * There are two instances: one for calls that free all they took before they return, one for decoders that keep their
 * window between pushes, of which an 8 MiB one leaves no room for anything else.
 */
import { KIB, MIB, ZSTD_WINDOW_BYTES } from '../../shared/limits.ts';
import type { ZstdEngine } from './engine.ts';
import wasm from './generated/zstd-codec.wasm';
import startGlue, { type VectorU8, type ZstdBinding } from './generated/zstd-codec-glue.js';
import { MalformedZstd } from './malformed-zstd.ts';
import { WasmDecompressors } from './wasm-decompressors.ts';

/** Of each of the two instances. */
const HEAP_BYTES = 16 * MIB;
/** The tables of level 6 do not fit beside 4 MiB of content and as much for the result. */
const HIGHEST_LEVEL = 5;
/** A frame of incompressible content and its content fit together, with some room. */
const ONE_SHOT_BYTES = 4 * MIB + 128 * KIB;

/**
 * Starts the engine: some 20 ms. Only while the script starts, since the glue makes functions from text, which is
 * allowed only then; the round trips below make it make all of them.
 */
export function startWasmEngine(): ZstdEngine {
  const frames = startBinding();
  const decompressors = new WasmDecompressors(startBinding());
  const codec = new frames.ZstdCodec();
  const engine: ZstdEngine = {
    name: 'wasm',
    writesChecksum: false,
    highestLevel: HIGHEST_LEVEL,
    largestWindowBytes: ZSTD_WINDOW_BYTES,
    oneShotBytes: ONE_SHOT_BYTES,
    heapBytes: 2 * HEAP_BYTES,
    compressor: (level) => ({ compress: (content) => engine.compressFrame(content, level), close: () => undefined }),
    compressFrame: (content, level) =>
      withVectors(frames, content, (source, result) => {
        result.resize(codec.compressBound(content.length), 0);
        const bytes = codec.compress(result, source, level);
        if (bytes < 0) throw new Error(`zstd-codec failed to compress ${content.length} bytes at level ${level}`);
        result.resize(bytes, 0);
      }),
    decompressFrame: (frame, contentBytes) =>
      withVectors(frames, frame, (source, result) => {
        // Into no room at all it decodes not even nothing.
        result.resize(Math.max(contentBytes, 1), 0);
        const bytes = codec.decompress(result, source);
        if (bytes < 0) throw new MalformedZstd('a frame is corrupt', 0);
        if (bytes !== contentBytes) throw new MalformedZstd('a frame does not hold what its header says', 0);
        result.resize(bytes, 0);
      }),
    decompressor: (_windowBytes, { background = false } = {}) => decompressors.open(background),
  };
  const probe = engine.compressFrame(new Uint8Array(1000), 1);
  engine.decompressFrame(probe, 1000);
  decompressors.warmUp(probe);
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

/** Runs `work` on a copy of `input` in the heap, gives a copy of the result, and frees both. */
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
