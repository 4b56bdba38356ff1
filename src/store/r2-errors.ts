import { VaultError } from '../shared/errors.ts';

/** The storage refused or broke, after the tries that made sense. */
export class StorageFailed extends VaultError {
  readonly operation: string;

  constructor(operation: string, cause: unknown) {
    super(
      'storage-failed',
      `The storage failed (${operation}). Try again; an upload in pieces goes on where HEAD says that it stands.`,
      {
        cause,
      },
    );
    this.operation = operation;
  }
}

/** R2 tells errors as text that ends in a number in brackets (platform): null where there is none. */
export function r2ErrorNumber(error: unknown): number | null {
  const found = error instanceof Error ? /\((\d{5})\)/.exec(error.message) : null;
  return found ? Number(found[1]) : null;
}

const NO_SUCH_UPLOAD = 10024;
/** Answers that another try cannot change: part too small, no such upload, checksum, range, unequal parts. */
const FINAL = new Set([10011, NO_SUCH_UPLOAD, 10037, 10039, 10048]);

/** Whether a call without a body, or with a buffered one, is worth another try. */
export function isTransient(error: unknown): boolean {
  const number = r2ErrorNumber(error);
  return number === null || !FINAL.has(number);
}

/** Whether a multipart upload is gone, and its parts with it: aborted by somebody, or by R2 after its time. */
export function isUploadLost(error: unknown): boolean {
  return error instanceof StorageFailed && isNoSuchUpload(error.cause);
}

export function isNoSuchUpload(error: unknown): boolean {
  return r2ErrorNumber(error) === NO_SUCH_UPLOAD || /does not exist/.test(error instanceof Error ? error.message : '');
}
