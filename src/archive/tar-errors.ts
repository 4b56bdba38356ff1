import { VaultError } from '../shared/errors.ts';

/** The archive cannot be read on from here. Caught by the scan, which tells it as a value. */
export class BrokenTar extends Error {
  /** A sentence without a full stop, as in `Stopped`. */
  readonly reason: string;

  constructor(reason: string) {
    super(reason);
    this.name = new.target.name;
    this.reason = reason;
  }
}

/** The map of a sparse file contradicts itself, or the archive. */
export class SparseMapMalformed extends VaultError {
  /** `reason`: what is wrong, as the end of a sentence. */
  constructor(reason: string) {
    super('sparse-map-malformed', `The archive's map of this sparse file cannot be used: ${reason}.`);
  }
}

/** The map of a sparse file has more segments, or more text, than we hold. */
export class SparseMapTooLarge extends VaultError {
  constructor() {
    super('sparse-map-too-large', "The archive's map of this sparse file is larger than can be read here.");
  }
}
