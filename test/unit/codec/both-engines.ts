import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { startWasmEngine } from '../../../src/codec/zstd/wasm-engine.ts';

/** The contract suites run once for each. Started here, where scripts start. */
export const bothEngines = [nativeEngine, startWasmEngine()];
