import { VaultError } from '../../shared/errors.ts';

/** Bytes that are no zstd file, or none that this vault may decode. `offset` counts the compressed bytes before the fault. */
export class MalformedZstd extends VaultError {
  readonly offset: number;
  readonly reason: string;

  constructor(reason: string, offset: number, options?: ErrorOptions) {
    super('malformed-zstd', `The zstd data cannot be decoded at byte ${offset}: ${reason}.`, options);
    this.offset = offset;
    this.reason = reason;
  }

  /** The same fault, told from the start of a file in which this frame begins at `frameStart`. */
  within(frameStart: number): MalformedZstd {
    return new MalformedZstd(this.reason, frameStart + this.offset, { cause: this.cause });
  }
}
