import { VaultError } from '../shared/errors.ts';

/** A document that is no JSON (RFC 8259), or ends before it is one. */
export class MalformedJson extends VaultError {
  /** Of the first byte that is wrong; the document's length where it ends too early. */
  readonly offset: number;
  /** What should stand there. */
  readonly expected: string;

  constructor(expected: string, offset: number, ended: boolean) {
    const where = ended ? `ends too early, after ${offset} bytes` : `is malformed at byte ${offset}`;
    super('malformed-json', `The JSON ${where}: expected ${expected}.`, { facts: { offset } });
    this.offset = offset;
    this.expected = expected;
  }
}

/** One element or line alone is larger than what may be held of it. */
export class ItemTooLarge extends VaultError {
  /** Of the item's first byte. */
  readonly offset: number;
  readonly maxBytes: number;

  constructor(offset: number, maxBytes: number) {
    super(
      'item-too-large',
      `The JSON value at byte ${offset} has more than ${maxBytes} bytes, the most that one may.`,
      {
        facts: { offset },
      },
    );
    this.offset = offset;
    this.maxBytes = maxBytes;
  }
}
