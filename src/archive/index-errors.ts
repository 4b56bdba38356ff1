import { VaultError } from '../shared/errors.ts';

/** The stored index is not what was written. `message` is for the log; clients hear what they can do. */
export class IndexCorrupt extends VaultError {
  constructor(what: string, options?: ErrorOptions) {
    super(
      'stored-data-corrupt',
      `The index of this archive's files is damaged (${what}). The backup itself can still be downloaded.`,
      options,
    );
  }
}

/** A later version of the code wrote the index in a form that this one does not know. */
export class IndexTooNew extends VaultError {
  readonly version: number;

  constructor(version: number) {
    super(
      'index-too-new',
      "The index of this archive's files was made by a newer version; update this deployment. The backup itself can still be downloaded.",
    );
    this.version = version;
  }
}

/** The index takes no more members; what it has stays good. `message` is a sentence without a full stop. */
export class IndexFull extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = new.target.name;
  }
}
