/** What src/cli/build.ts takes out of zstd-codec 0.1.5; of embind's classes only what is used here. */

declare module '*/zstd-codec.wasm' {
  const module: WebAssembly.Module;
  export default module;
}

declare module '*/zstd-codec-glue.js' {
  /** An object in the WebAssembly heap: freed by delete() alone. */
  interface Embound {
    delete(): void;
  }

  export interface VectorU8 extends Embound {
    resize(bytes: number, fill: number): void;
  }

  /** Answers are sizes, or negative where it failed. */
  interface OneShotBinding extends Embound {
    compressBound(contentBytes: number): number;
    compress(into: VectorU8, content: VectorU8, level: number): number;
    decompress(into: VectorU8, frame: VectorU8): number;
  }

  /** Answers are false where it failed. The bytes given to `take` are a copy of their own. */
  export interface DecompressStreamBinding extends Embound {
    begin(): boolean;
    transform(input: Uint8Array, take: (output: Uint8Array) => void): boolean;
    end(take: (output: Uint8Array) => void): boolean;
  }

  export interface ZstdBinding {
    readonly ZstdCodec: new () => OneShotBinding;
    readonly VectorU8: new () => VectorU8;
    readonly ZstdDecompressStreamBinding: new () => DecompressStreamBinding;
    cloneToVector(into: VectorU8, bytes: Uint8Array): void;
    cloneAsTypedArray(vector: VectorU8): Uint8Array;
  }

  export interface GlueOptions {
    /** Called once, before the factory returns where `instantiateWasm` is synchronous. */
    onRuntimeInitialized?: () => void;
    instantiateWasm(
      imports: WebAssembly.Imports,
      received: (instance: WebAssembly.Instance) => void,
    ): WebAssembly.Exports;
    print(text: string): void;
    printErr(text: string): void;
  }

  export default function start(options: GlueOptions): ZstdBinding;
}
