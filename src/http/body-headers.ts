/**
 * Request headers that change what a body means. Every way in (form, PUT, upload link, tus, draft) obeys or rejects each of
 * them: one that is dropped makes a backup that is not the file. Digests of the body are in digest-fields.ts.
 */
import { UnsupportedEncoding } from '../codec/content-encoding.ts';
import { VaultError } from '../shared/errors.ts';

class PartialUpload extends VaultError {
  constructor() {
    super(
      'partial-upload',
      'Content-Range says that the body is a part of the file. Send the whole file, or upload it in chunks by tus (/tus).',
    );
  }
}

class ConcatenationNotOffered extends VaultError {
  constructor() {
    super(
      'invalid-upload-header',
      'Upload-Concat: the vault does not join partial uploads. Send the file as one upload (tus-js-client: parallelUploads 1).',
    );
  }
}

class FormNotAccepted extends VaultError {
  constructor() {
    super('form-not-accepted', 'The body is a form. Send a form by POST to /backup/upload, or the bare file here.');
  }
}

/** Throws where the body is a part of a file only: Content-Range, and Upload-Concat of tus. */
export function checkIsWhole(headers: Headers): void {
  if (headers.has('content-range')) throw new PartialUpload();
  if (headers.has('upload-concat')) throw new ConcatenationNotOffered();
}

/** Throws where the body is encoded; `identity` is no encoding. `advice` says what to do instead. */
export function checkNotEncoded(headers: Headers, advice: string): void {
  const field = headers.get('content-encoding');
  if (field !== null && field.trim().toLowerCase() !== 'identity') throw new UnsupportedEncoding(field, advice);
}

/** Throws where a raw body is a form: its boundaries and part headers would be stored as the file. */
export function checkIsNoForm(contentType: string | null): void {
  if (/^\s*multipart\/form-data\s*(?:;|$)/i.test(contentType ?? '')) throw new FormNotAccepted();
}
