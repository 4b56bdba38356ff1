import { type Piece, PieceInterrupted } from '../../ingest/resumable/piece-run.ts';
import type { SessionAccess, SessionView } from '../../ingest/resumable/upload-session.ts';
import { EmptyUpload } from '../../ingest/upload.ts';
import { VaultError } from '../../shared/errors.ts';
import { parseFlag } from '../../shared/units.ts';
import type { App, AppContext } from '../app-env.ts';
import { needs, uploadAccess } from '../auth.ts';
import { checkIsNoForm, checkNotEncoded } from '../body-headers.ts';
import { bytesField, completeField, DRAFT_INTEROP_VERSION, limitsField, PARTIAL_UPLOAD } from '../draft-headers.ts';
import { decodeName } from '../name-path.ts';
import { NothingHere } from '../problem.ts';
import { DraftAppendQuery, UploadQuery } from '../request-schemas.ts';
import {
  appendPiece,
  checkNoDigests,
  chunkDigests,
  createSession,
  orTerminate,
  pieceBytes,
  receiptOf,
  sessionHeaders,
  sessionStatus,
  terminateSession,
  uploadIdOf,
} from '../resumable.ts';
import { InvalidUploadHeader } from '../tus-headers.ts';
import { describeDraft } from './resumable-draft-openapi.ts';

const PROBLEM_TYPES = 'https://iana.org/assignments/http-problem-types';

class MismatchingOffset extends VaultError {
  constructor({ message, facts }: VaultError) {
    super('offset-mismatch', message, {
      facts: {
        type: `${PROBLEM_TYPES}#mismatching-upload-offset`,
        title: 'Mismatching Upload Offset',
        'expected-offset': facts.expected_offset,
        'provided-offset': facts.provided_offset,
      },
    });
  }
}

class InconsistentLength extends VaultError {
  constructor(detail: string) {
    const facts = {
      type: `${PROBLEM_TYPES}#inconsistent-upload-length`,
      title: 'Inconsistent Upload Length Values',
    };
    super('invalid-upload-header', detail, { facts });
  }
}

class NotPartialUpload extends VaultError {
  constructor() {
    super('unsupported-media-type', `Content is appended as "Content-Type: ${PARTIAL_UPLOAD}".`);
  }
}

/** What the vault finds once all content is here: an answer to the upload as a whole, and no reason to resume it. */
const OF_THE_WHOLE: readonly string[] = [
  'checksum-mismatch',
  'stored-data-corrupt',
  'malformed-zstd',
  'malformed-gzip',
];

/**
 * The IETF's draft of resumable uploads, a thin adapter of upload sessions like tus: see draft-headers.ts for its version
 * and docs/decisions/0015-resumable-draft.md for what of it there is. In the order of its sections.
 */
export function resumableDraftRoutes(app: App): void {
  describeDraft(app);
  app.use('/uploads/*', async (c, next) => {
    if (!c.get('services').config.resumableDraft) throw new NothingHere();
    await next();
  });
  app.post('/uploads/*', needs('write'), create);
  // HEAD comes to the routes of GET.
  app.get('/uploads/:upload_id', retrieve);
  app.patch('/uploads/:upload_id', append);
  app.delete('/uploads/:upload_id', terminateSession);
}

/** What goes with answers under /uploads. OPTIONS, a preflight too, discovers the limits. */
export async function withDraftHeaders(c: AppContext, next: () => Promise<void>): Promise<void> {
  await next();
  const { config } = c.get('services');
  if (!config.resumableDraft) return;
  const { method } = c.req;
  c.header('upload-draft-interop-version', String(DRAFT_INTEROP_VERSION));
  if (method === 'OPTIONS') c.header('upload-limit', limitsField(config, config.uploadTtlMs));
  else if (c.res.status === 413) c.header('upload-limit', limitsField(config, null));
  if (method === 'OPTIONS' || c.res.status === 415) c.header('accept-patch', PARTIAL_UPLOAD);
  const ofUpload = method === 'POST' || method === 'PATCH';
  if (ofUpload && !c.res.headers.has('upload-complete')) c.header('upload-complete', '?0');
}

/** "Upload Creation". There is no interim response, so its sender knows the upload once it has this answer, and no sooner. */
async function create(c: AppContext): Promise<Response> {
  checkIsNoForm(c.req.header('content-type') ?? null);
  const completes = completenessOf(c);
  const length = lengthOf(c, 0, completes);
  const isBare = pieceBytes(c) === 0 && !completes;
  if (isBare) checkNoDigests(chunkDigests(c));
  const { view, secret } = await createSession(c, {
    name: decodeName(new URL(c.req.url).pathname.slice('/uploads/'.length)),
    content_type: c.req.header('content-type'),
    options: {},
    query: UploadQuery,
    client_metadata: null,
    content_encoding: c.req.header('content-encoding'),
    length,
  });
  const { backup_id } = view;
  const first = () => appended(c, backup_id, { kind: 'granted' }, { offset: 0, length, completes });
  const after = isBare ? view : await orTerminate(c, backup_id, first());
  c.header('coldstream-upload-secret', secret);
  if (completes) return finalAnswer(c, after);
  c.header('location', `/uploads/${backup_id}`);
  return answer(c, after, 201);
}

/** "Offset Retrieval". The offset is good for the next append, so a piece that is still under way ends with it. */
async function retrieve(c: AppContext): Promise<Response> {
  const access = await uploadAccess(c);
  const view = await c.get('services').uploads.stop(uploadIdOf(c), access);
  c.header('upload-complete', view.phase === 'receiving' ? '?0' : '?1');
  if (view.length !== null) c.header('upload-length', String(view.length));
  c.header('cache-control', 'no-store');
  if (c.req.raw.method === 'HEAD') return answer(c, view, 204);
  stateHeaders(c, view);
  return c.json(await sessionStatus(c, view));
}

/** "Upload Append". */
async function append(c: AppContext): Promise<Response> {
  const access = await uploadAccess(c, DraftAppendQuery);
  checkNotEncoded(
    c.req.raw.headers,
    'Content is appended as it is. The request that creates the upload names its encoding.',
  );
  if (mediaType(c) !== PARTIAL_UPLOAD) throw new NotPartialUpload();
  const offset = bytesField(c.req.header('upload-offset'));
  if (offset === null) throw new InvalidUploadHeader('Upload-Offset: say where the content begins.');
  const completes = completenessOf(c);
  const length = lengthOf(c, offset, completes);
  const view = await appended(c, uploadIdOf(c), access, { offset, length, completes });
  return completes ? finalAnswer(c, view) : answer(c, view, 204);
}

/** "Completeness": what makes a request one of this protocol. */
function completenessOf(c: AppContext): boolean {
  const completes = completeField(c.req.header('upload-complete'));
  if (completes === null) {
    throw new InvalidUploadHeader('Upload-Complete: ?1 where the content ends with this request, else ?0.');
  }
  return completes;
}

/** "Length": it may be said in two ways at once, which then say the same. */
function lengthOf(c: AppContext, offset: number, completes: boolean): number | null {
  const said = bytesField(c.req.header('upload-length'));
  const bytes = completes ? pieceBytes(c) : null;
  if (bytes === null) return said;
  const length = offset + bytes;
  if (said !== null && said !== length) {
    throw new InconsistentLength(`Upload-Length says ${said} bytes, and with this request it would be ${length}.`);
  }
  return length;
}

/** Appends, and tells what is refused in the words of the draft. */
async function appended(
  c: AppContext,
  uploadId: string,
  access: SessionAccess,
  where: { readonly offset: number; readonly length: number | null; readonly completes: boolean },
): Promise<SessionView> {
  const { offset, length, completes } = where;
  const piece = { offset, length, digests: chunkDigests(c) };
  try {
    return await (completes ? appendLast : appendPiece)(c, uploadId, access, piece);
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    if (OF_THE_WHOLE.includes(error.code)) c.header('upload-complete', '?1');
    switch (error.code) {
      case 'offset-mismatch':
        throw new MismatchingOffset(error);
      case 'invalid-upload-header':
        throw new InconsistentLength(error.message);
      case 'file-too-large':
        throw await tooLong(c, uploadId, access, length, error);
      default:
        throw error;
    }
  }
}

/** Appends the end of the content, which ends the upload: all of it must have come. */
async function appendLast(
  c: AppContext,
  uploadId: string,
  access: SessionAccess,
  piece: Omit<Piece, 'bytes'>,
): Promise<SessionView> {
  if (pieceBytes(c) !== null) checkNotEmpty(c, piece.offset + (pieceBytes(c) ?? 0));
  if (pieceBytes(c) === null) return appendUntilEnd(c, uploadId, access, piece);
  const view = await appendPiece(c, uploadId, access, piece);
  if (view.phase === 'receiving') throw new PieceInterrupted(null);
  return view;
}

/** An upload that ends with its body may be the output of a command that failed. */
function checkNotEmpty(c: AppContext, length: number): void {
  if (length === 0 && parseFlag(c.req.query('allow_empty') ?? 'false') !== true) throw new EmptyUpload();
}

/**
 * The same where nobody knows before how much will come. An object takes a body that breaks off in the Worker for one
 * that ends (workerd 1.20261117; a break of the network it does see), so the Worker looks for the end, and tells the
 * length in a second step.
 */
async function appendUntilEnd(
  c: AppContext,
  uploadId: string,
  access: SessionAccess,
  piece: Omit<Piece, 'bytes'>,
): Promise<SessionView> {
  let ended = false;
  const watch = new TransformStream<Uint8Array, Uint8Array>({
    flush: () => {
      ended = true;
    },
  });
  const { offset } = await appendPiece(c, uploadId, access, piece, c.req.raw.body?.pipeThrough(watch) ?? null);
  if (!ended) throw new PieceInterrupted(null);
  checkNotEmpty(c, offset);
  return c.get('services').uploads.append(uploadId, access, { offset, length: offset, bytes: 0, digests: [] }, null);
}

/** Beyond the cap nothing is taken. Who goes beyond a length that is known loses the upload, unless it is whole already. */
async function tooLong(
  c: AppContext,
  uploadId: string,
  access: SessionAccess,
  announced: number | null,
  error: VaultError,
): Promise<VaultError> {
  const { uploads, config } = c.get('services');
  const { length, phase } = await uploads.describe(uploadId, access);
  const most = length ?? announced;
  if (most === null || most > config.maxFileBytes) return error;
  if (phase !== 'receiving') return new InconsistentLength(`The upload is complete with its ${most} bytes.`);
  await uploads.terminate(uploadId, access);
  return new InconsistentLength(`More came than the ${most} bytes that were announced. Send the file again.`);
}

function mediaType(c: AppContext): string | undefined {
  return c.req.header('content-type')?.split(';')[0]?.trim().toLowerCase();
}

function answer(c: AppContext, view: SessionView, status: 201 | 204): Response {
  stateHeaders(c, view);
  return c.body(null, status);
}

/** What an upload in one request would be answered; what is still being read back has its receipt at the upload, later. */
async function finalAnswer(c: AppContext, view: SessionView): Promise<Response> {
  stateHeaders(c, view);
  c.header('upload-complete', '?1');
  const receipt = await receiptOf(c, view);
  c.header('location', receipt ? `/backup/${view.backup_id}` : `/uploads/${view.backup_id}`);
  return receipt ? c.json(receipt, 201) : c.json(await sessionStatus(c, view), 202);
}

function stateHeaders(c: AppContext, view: SessionView): void {
  sessionHeaders(c, view);
  c.header('upload-offset', String(view.offset));
  c.header('upload-limit', limitsField(c.get('services').config, view.expires_at - Date.now()));
}
