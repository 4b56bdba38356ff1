import { VaultError } from '../shared/errors.ts';
import type { ZstdEngine } from './zstd/engine.ts';

/** A level that the engine in use cannot hold in its memory. */
export class LevelUnsupported extends VaultError {
  readonly level: number;
  readonly highest: number;

  constructor(level: number, highest: number) {
    super('level-unsupported', `Compression level ${level} is not available here: choose 1 to ${highest}.`);
    this.level = level;
    this.highest = highest;
  }
}

/** Refuses a level that `engine` must not be asked for. Throws {@link LevelUnsupported}. */
export function checkLevel(level: number, engine: ZstdEngine): void {
  if (!Number.isInteger(level) || level < 1 || level > engine.highestLevel) {
    throw new LevelUnsupported(level, engine.highestLevel);
  }
}
