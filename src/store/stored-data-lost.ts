import { VaultError } from '../shared/errors.ts';

/** What stands in the storage is not what was put there; another try cannot change that. */
export class StoredDataLost extends VaultError {
  /** `cut`: the object ends before the bytes that it should have. */
  readonly how: 'missing' | 'changed' | 'cut';

  constructor(how: 'missing' | 'changed' | 'cut', key: string) {
    super('stored-data-corrupt', 'The stored data is missing, or is not what was stored.', {
      cause: new Error(`${key}: ${how}`),
    });
    this.how = how;
  }
}
