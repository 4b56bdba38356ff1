/** Every word that a program may switch on. `http/problem.ts` gives each its status and title, and nothing else does. */
export type ErrorCode =
  | 'invalid-request'
  | 'invalid-option'
  | 'invalid-filename'
  | 'invalid-name'
  | 'invalid-file-type'
  | 'invalid-cursor'
  | 'no-file'
  | 'malformed-multipart'
  | 'malformed-json'
  | 'malformed-zstd'
  | 'malformed-gzip'
  | 'malformed-age'
  | 'invalid-recipient'
  | 'invalid-identity'
  | 'level-unsupported'
  | 'unauthorized'
  | 'forbidden'
  | 'wrong-identity'
  | 'bad-signature'
  | 'link-expired'
  | 'link-used'
  | 'bad-origin'
  | 'not-found'
  | 'method-not-allowed'
  | 'format-unavailable'
  | 'not-an-archive'
  | 'archive-incomplete'
  | 'hard-link-unresolved'
  | 'not-a-document'
  | 'table-unsupported'
  | 'table-too-wide'
  | 'window-too-large'
  | 'backup-encrypted'
  | 'job-running'
  | 'upgrade-required'
  | 'unsupported-media-type'
  | 'file-too-large'
  | 'item-too-large'
  | 'too-many-rows'
  | 'range-not-satisfiable'
  | 'precondition-failed'
  | 'checksum-mismatch'
  | 'too-many-errors'
  | 'rows-refused'
  | 'sparse-map-malformed'
  | 'sparse-map-too-large'
  | 'upload-interrupted'
  | 'upload-superseded'
  | 'upload-failed'
  | 'upload-gone'
  | 'upload-expired'
  | 'offset-mismatch'
  | 'invalid-upload-header'
  | 'checksum-unsupported'
  | 'chunk-checksum-mismatch'
  | 'tus-version-unsupported'
  | 'verify-interrupted'
  | 'import-interrupted'
  | 'storage-failed'
  | 'stored-data-corrupt'
  | 'index-too-new'
  | 'job-unavailable'
  | 'links-not-configured'
  | 'unknown-option'
  | 'option-not-applicable'
  | 'partial-upload'
  | 'empty-upload'
  | 'level-too-slow'
  | 'cross-site'
  | 'upload-stalled'
  | 'job-superseded'
  | 'job-cancelled'
  | 'job-ended'
  | 'upload-cancelled'
  | 'stored-data-lost'
  | 'body-too-large'
  | 'form-not-accepted'
  | 'unsupported-encoding'
  | 'broken-archive'
  | 'too-many-attempts'
  | 'too-many-transfers'
  | 'busy'
  | 'internal-error';

/**
 * What went wrong, in words for the person who can mend it. `message` reaches clients (as `detail`): it names no
 * internals and no secrets; those belong in `cause`, which only the log sees.
 */
export class VaultError extends Error {
  readonly code: ErrorCode;
  /** What programs may want to know beside the code: members of the problem that clients get (RFC 9457, section 3.2). */
  readonly facts: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: ErrorOptions & { facts?: Record<string, unknown> } = {}) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.facts = options.facts ?? {};
  }
}
