import { VaultError } from '../shared/errors.ts';

/** `cut`: the object is shorter than what was stored; `changed`: it is longer, or another one than when reading began. */
export type LossKind = 'missing' | 'cut' | 'changed';

/**
 * The object does not exist, or is not the one that was stored. Objects are written once, so in each of these cases the
 * stored bytes are gone, and no retry brings them back: 410, where a 5xx would have clients retry. An object of the right
 * size whose bytes are damaged is another case (`stored-data-corrupt`): other parts of it can still be read.
 */
export class StoredDataLost extends VaultError {
  readonly how: LossKind;

  constructor(how: LossKind, key: string) {
    super('stored-data-lost', DETAILS[how], { cause: new Error(`${key}: ${how}`) });
    this.how = how;
  }
}

const WHAT_NEXT = 'It cannot be restored from this vault. Use another backup.';

const DETAILS: Readonly<Record<LossKind, string>> = {
  missing: `The stored data of this backup is missing. ${WHAT_NEXT}`,
  cut: `The stored data of this backup is shorter than what was stored. ${WHAT_NEXT}`,
  changed: `The stored data of this backup was replaced by other data. ${WHAT_NEXT}`,
};
