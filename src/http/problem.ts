import { HTTPException } from 'hono/http-exception';
import { type ErrorCode, VaultError } from '../shared/errors.ts';

/** The one place where what happened becomes an HTTP status (RFC 9457). */
const PROBLEMS = {
  'invalid-request': [400, 'The request cannot be read'],
  'invalid-option': [400, 'An option has no usable value'],
  'unknown-option': [400, 'The option is unknown'],
  'option-not-applicable': [400, 'The option has no effect here'],
  'invalid-filename': [400, 'The filename cannot be used'],
  'invalid-name': [400, 'The name cannot be used'],
  'invalid-file-type': [400, 'Files of this type are not accepted'],
  'invalid-cursor': [400, 'The cursor is not one of ours'],
  'invalid-upload-header': [400, 'A header of the upload cannot be used'],
  'checksum-unsupported': [400, 'The checksum algorithm is not supported'],
  'no-file': [400, 'The form has no file'],
  'partial-upload': [400, 'The body is a part of the file'],
  'empty-upload': [400, 'The upload is empty'],
  'malformed-multipart': [400, 'The form is broken'],
  'malformed-json': [400, 'The JSON is broken'],
  'malformed-zstd': [400, 'The zstd data is broken'],
  'malformed-gzip': [400, 'The gzip data is broken'],
  'malformed-age': [400, 'The age data is broken'],
  'invalid-recipient': [400, 'A recipient cannot be used'],
  'invalid-identity': [400, 'The identity cannot be used'],
  'level-unsupported': [400, 'The compression level is too high'],
  'level-too-slow': [400, 'The compression level is too slow for this length'],
  unauthorized: [401, 'A credential is needed'],
  forbidden: [403, 'The credential lacks the scope'],
  'wrong-identity': [403, 'The identity does not open the backup'],
  'bad-signature': [403, 'The link has been altered'],
  'link-expired': [403, 'The link has expired'],
  'bad-origin': [403, 'The page may not connect'],
  'cross-site': [403, 'The request comes from another site'],
  'not-found': [404, 'Not found'],
  'method-not-allowed': [405, 'The method does not apply here'],
  'format-unavailable': [406, 'The backup is not available in this format'],
  'upload-stalled': [408, 'The sender stopped'],
  'not-an-archive': [409, 'The backup is no archive'],
  'archive-incomplete': [409, 'The archive could not be read to its end'],
  'hard-link-unresolved': [409, 'The hard link has no bytes'],
  'not-a-document': [409, 'The backup is no JSON document'],
  'table-unsupported': [409, 'This is no table with rows of its own'],
  'table-too-wide': [409, 'The table has too long column names'],
  'window-too-large': [409, 'The zstd window is too large'],
  'backup-encrypted': [409, 'The backup is encrypted'],
  'link-used': [409, 'The link has been used'],
  'job-running': [409, 'The job is running'],
  'job-cancelled': [409, 'The job was cancelled'],
  'job-ended': [409, 'The job has ended'],
  'job-superseded': [409, 'Another upload took over the job'],
  'upload-superseded': [409, 'The upload was taken over'],
  'offset-mismatch': [409, 'The upload stands at another byte'],
  'upload-failed': [410, 'The upload failed'],
  'upload-gone': [410, 'The upload is gone'],
  'upload-cancelled': [410, 'The upload was cancelled'],
  'stored-data-lost': [410, 'The stored data is missing'],
  'upload-expired': [410, 'The upload has expired'],
  'precondition-failed': [412, 'A precondition failed'],
  'tus-version-unsupported': [412, 'The tus version is not supported'],
  'file-too-large': [413, 'The file is too large'],
  'body-too-large': [413, 'The body is too large'],
  'item-too-large': [413, 'A value is too large'],
  'too-many-rows': [413, 'The document has too many rows'],
  'unsupported-media-type': [415, 'The body has the wrong type'],
  'form-not-accepted': [415, 'A form is not accepted here'],
  'unsupported-encoding': [415, 'The content encoding is not supported'],
  'range-not-satisfiable': [416, 'The range lies outside of the file'],
  'checksum-mismatch': [422, 'The checksum does not match'],
  'stored-data-corrupt': [422, 'The stored data is damaged'],
  'broken-archive': [422, 'The archive is broken'],
  'too-many-errors': [422, 'Too many rows were refused'],
  'rows-refused': [422, 'Rows were refused'],
  'sparse-map-malformed': [422, 'The sparse file cannot be read'],
  'sparse-map-too-large': [422, 'The sparse file has too many holes'],
  'upgrade-required': [426, 'A WebSocket is needed'],
  'too-many-attempts': [429, 'Too many wrong credentials'],
  'too-many-transfers': [429, 'Too many transfers at once'],
  'chunk-checksum-mismatch': [460, 'The checksum of the piece does not match'],
  'upload-interrupted': [499, 'The upload was interrupted'],
  'import-interrupted': [499, 'The import was interrupted'],
  'internal-error': [500, 'Something went wrong here'],
  'index-too-new': [500, 'The index was made by a newer version'],
  'storage-failed': [502, 'The storage failed'],
  'verify-interrupted': [503, 'The verification was interrupted'],
  'job-unavailable': [503, 'The job cannot be reached'],
  busy: [503, 'The vault is busy'],
  'links-not-configured': [503, 'Links are not configured'],
} as const satisfies Record<ErrorCode, readonly [number, string]>;

/** Every code, in the order of their statuses. */
export const ERROR_CODES = (Object.keys(PROBLEMS) as ErrorCode[]).sort((a, b) => PROBLEMS[a][0] - PROBLEMS[b][0]);

export function statusOf(code: ErrorCode): number {
  return PROBLEMS[code][0];
}

export function titleOf(code: ErrorCode): string {
  return PROBLEMS[code][1];
}

/** What the framework's own errors are here. It throws 400 for a body that is not JSON. */
const FRAMEWORK_ERRORS: Readonly<Record<number, readonly [ErrorCode, string]>> = {
  400: ['invalid-request', 'The body is not valid JSON.'],
  401: ['unauthorized', 'Send a token: "Authorization: Bearer TOKEN".'],
  403: ['cross-site', 'The request comes from a page that may not send it.'],
  404: ['not-found', 'There is nothing at this address. See /docs.'],
  405: ['method-not-allowed', 'This address does not take the method. OPTIONS lists those it takes.'],
  413: ['body-too-large', 'The body is too large for this route.'],
  415: ['unsupported-media-type', 'The route does not take a body of this type. See /docs.'],
};

/** Every status of the framework becomes a problem: a mistake of the client must not look like a fault of the vault. */
function translated(thrown: HTTPException): VaultError | HTTPException {
  if (thrown.status >= 500) return thrown;
  const [code, detail] = FRAMEWORK_ERRORS[thrown.status] ?? [
    'invalid-request',
    'The request cannot be read. See /docs.',
  ];
  return new VaultError(code, detail, { cause: thrown });
}

export class NothingHere extends VaultError {
  constructor() {
    super('not-found', 'There is nothing at this address. See /docs.');
  }
}

export type ProblemStatus = (typeof PROBLEMS)[ErrorCode][0];

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: ProblemStatus;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly request_id: string;
  /** Facts of the error. */
  readonly [fact: string]: unknown;
}

/** What a client may know of an error. Anything that is not a {@link VaultError} is ours to look up by its id. */
export function problemOf(thrown: unknown, requestId: string): Problem {
  const error = thrown instanceof HTTPException ? translated(thrown) : thrown;
  const code: ErrorCode = error instanceof VaultError ? error.code : 'internal-error';
  const detail =
    error instanceof VaultError ? error.message : `Try again; if it happens again, report request ${requestId}.`;
  const [status, title] = PROBLEMS[code];
  const facts = error instanceof VaultError ? error.facts : {};
  // Some protocols name their problems themselves: such an error has `type` and `title` among its facts.
  return { type: `/docs#${code}`, title, ...facts, status, detail, code, request_id: requestId };
}

/** Headers that belong to a problem's answer. The fact `retry_after_seconds` of an error becomes `Retry-After`. */
export function problemHeaders(problem: Problem): Record<string, string> {
  return {
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
    ...(problem.status === 426 ? { upgrade: 'websocket' } : {}),
    ...(typeof problem.retry_after_seconds === 'number' ? { 'retry-after': String(problem.retry_after_seconds) } : {}),
  };
}
