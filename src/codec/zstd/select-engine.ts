import type { ZstdEngine } from './engine.ts';
import { nativeEngine, nativeEnginePasses } from './native-engine.ts';
import { startWasmEngine } from './wasm-engine.ts';

export type EngineChoice = 'auto' | 'native' | 'wasm';

/**
 * The engine that the deployment wants; `auto` is native where it passes a round trip, else wasm. To be called while
 * the script starts: WebAssembly glue may make functions only then.
 */
export function selectEngine(choice: EngineChoice): ZstdEngine {
  if (choice === 'native') return nativeEngine;
  if (choice === 'auto' && nativeEnginePasses()) return nativeEngine;
  return startWasmEngine();
}
