/** What every protocol of uploads in pieces does alike with a session, whatever its headers are called. */
import { getBackup } from '../catalogue/backups.ts';
import { listOpenUploads } from '../catalogue/jobs.ts';
import { tokenHash } from '../catalogue/token-lookup.ts';
import { parseContentEncoding } from '../codec/content-encoding.ts';
import type { ExpectedDigest } from '../codec/digest.ts';
import type { Piece } from '../ingest/resumable/piece-run.ts';
import { NoSuchUpload, type SessionOrder } from '../ingest/resumable/upload-record.ts';
import type { SessionAccess, SessionView } from '../ingest/resumable/upload-session.ts';
import { EmptyUpload } from '../ingest/upload.ts';
import { isSigned } from '../links/signed-link.ts';
import { VaultError } from '../shared/errors.ts';
import { PAGE_ROWS, UPLOADS_ASKED_AT_ONCE } from '../shared/limits.ts';
import type { AppContext } from './app-env.ts';
import { creatorHash, makeUploadSecret, uploadAccess } from './auth.ts';
import { checkIsWhole } from './body-headers.ts';
import { contentDigests, reprDigests } from './digest-fields.ts';
import { orTellJob } from './or-tell-job.ts';
import { contentLength } from './request-body.ts';
import type { TusQuery, UploadQuery } from './request-schemas.ts';
import { beginTransfer } from './transfers.ts';
import { InvalidUploadHeader } from './tus-headers.ts';
import { orderOf, uploadOptionsOf, withLink } from './upload-order.ts';
import { checkQuery, joinOptions, OptionNotApplicable, queryText } from './validation.ts';
import { backupView } from './views.ts';

/** A new upload as its sender orders it. */
export interface NewSession {
  readonly name: string | undefined;
  readonly content_type: string | undefined;
  /** Those of any upload, as text, that came beside the query; a missing one has its default. */
  readonly options: Readonly<Record<string, string | undefined>>;
  /** What the query may have: options too, which join the others. */
  readonly query: typeof TusQuery | typeof UploadQuery;
  readonly client_metadata: string | null;
  /** How the bytes of the upload encode the file, as Content-Encoding has it. */
  readonly content_encoding: string | null | undefined;
  /** Null where it comes later. */
  readonly length: number | null;
}

/** Creates an upload, for a token or a link. Its own secret is told once. */
export async function createSession(
  c: AppContext,
  asked: NewSession,
): Promise<{ readonly view: SessionView; readonly secret: string }> {
  const { uploads, config, defaultRecipients } = c.get('services');
  const { headers } = c.req.raw;
  const job = c.req.query('job_id') ?? asked.options.job_id;
  const prepared = await orTellJob(c, 'upload', job, () => {
    checkQuery(c, asked.query);
    checkIsWhole(headers);
    const codings = parseContentEncoding(asked.content_encoding);
    const sent_digests = reprDigests(headers);
    const fixed = uploadOptionsOf(queryText(c));
    if (isSigned(new URL(c.req.url))) checkAreFixed(asked.options, fixed);
    const options = joinOptions(asked.options, fixed);
    const order = orderOf(c, asked.name ?? '', options, asked.content_type, codings);
    if (asked.length === 0 && !order.allow_empty) throw new EmptyUpload();
    return { ...order, sent_digests };
  });
  const secret = makeUploadSecret();
  const created_at = Date.now();
  const order: SessionOrder = {
    ...prepared,
    default_recipients: defaultRecipients,
    sha256: prepared.sha256 ?? null,
    client_metadata: asked.client_metadata,
    secret_hash: await tokenHash(secret),
    token_hash: await creatorHash(c),
    created_at,
    expires_at: created_at + config.uploadTtlMs,
  };
  const view = await withLink(c, order.backup_id, () => uploads.create(order, asked.length));
  return { view, secret };
}

/**
 * The creator of an upload link decided how the upload is stored: the options in its signed URL are all that apply. The
 * holder of the link may repeat them. Without this, one with level=22 would compute for minutes on the creator's account.
 */
function checkAreFixed(asked: NewSession['options'], fixed: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(asked)) {
    if (value !== undefined && fixed[name] === undefined) {
      throw new OptionNotApplicable(name, 'on an upload link, which fixes the options of its upload');
    }
  }
}

/**
 * Digests of the bytes of this request. In a PATCH the representation is the chunk (RFC 9530, section 3), so Repr-Digest is
 * of the chunk too; in the request that creates an upload it is of the whole upload.
 */
export function chunkDigests(c: AppContext): ExpectedDigest[] {
  const { headers, method } = c.req.raw;
  const isCreation = method === 'POST' && c.req.param('upload_id') === undefined;
  return [...contentDigests(headers), ...(isCreation ? [] : reprDigests(headers))];
}

/** Throws where digests came with a request without content: its sender believes that they are compared. */
export function checkNoDigests(digests: readonly ExpectedDigest[]): void {
  if (digests.length === 0) return;
  throw new InvalidUploadHeader(
    'This request has no content to compare a digest with. Send the digest with the content.',
  );
}

/** Bytes of the body; null where they are not known before they have come. */
export function pieceBytes(c: AppContext): number | null {
  if (c.req.raw.body === null) return 0;
  return c.req.header('content-length') === undefined ? null : contentLength(c);
}

/**
 * Appends the body of the request, or one made of it. The client may go away: what has come is then still brought to its
 * end.
 */
export async function appendPiece(
  c: AppContext,
  uploadId: string,
  access: SessionAccess,
  piece: Omit<Piece, 'bytes'>,
  body = c.req.raw.body,
): Promise<SessionView> {
  checkIsWhole(c.req.raw.headers);
  beginTransfer(c);
  const order = { ...piece, bytes: pieceBytes(c) };
  const appending = c.get('services').uploads.append(uploadId, access, order, body);
  c.executionCtx.waitUntil(appending.catch(() => undefined));
  try {
    return await appending;
  } catch (error) {
    if (error instanceof VaultError && error.code === 'offset-mismatch') {
      c.header('upload-offset', String(error.facts.expected_offset));
    }
    throw error;
  }
}

/**
 * Whose first content is refused, or cut, never learns of the upload: it must not hold the job, or use up the link. Done
 * also where the client goes away.
 */
export function orTerminate(c: AppContext, uploadId: string, taken: Promise<SessionView>): Promise<SessionView> {
  const orGone = taken.catch(async (error: unknown) => {
    // One that failed for good is gone already.
    await c
      .get('services')
      .uploads.terminate(uploadId, { kind: 'granted' })
      .catch(() => undefined);
    throw error;
  });
  c.executionCtx.waitUntil(orGone.catch(() => undefined));
  return orGone;
}

/** What an upload in one request would be answered; null before the upload is done, and where the backup is no more. */
export async function receiptOf(c: AppContext, { backup_id, phase }: SessionView) {
  const backup = phase === 'done' ? await getBackup(c.get('services').catalogue, backup_id) : null;
  return backup && { message: 'Upload successful', ...backupView(backup) };
}

/** The upload and, once there is one, its receipt: for who may write and not read. */
export async function sessionStatus(c: AppContext, view: SessionView) {
  return { ...uploadView(view), receipt: await receiptOf(c, view) };
}

function uploadView({ backup_id, job_id, name, filename, offset, length, phase, expires_at }: SessionView) {
  const status = { upload_id: backup_id, backup_id, job_id, name, filename, offset, length, phase };
  return { ...status, expires_at: new Date(expires_at).toISOString() };
}

/** A page of uploads that have not ended: those of the token, or all for an admin. */
export async function openUploads(
  c: AppContext,
  { cursor, limit }: { cursor?: string | undefined; limit?: number | undefined },
) {
  const { catalogue, uploads } = c.get('services');
  const { token_id = null, scopes = [] } = c.get('credential') ?? {};
  const own = scopes.includes('admin') ? null : token_id;
  const page = await listOpenUploads(catalogue, { token_id: own, cursor, limit: limit ?? PAGE_ROWS });
  const shown = [];
  for (let at = 0; at < page.rows.length; at += UPLOADS_ASKED_AT_ONCE) {
    const asked = page.rows.slice(at, at + UPLOADS_ASKED_AT_ONCE).map(async ({ run_id, token_id, started_at }) => {
      // The offset is known to the upload alone. One that has ended since its row was read is not open.
      const view = await uploads.describe(run_id, { kind: 'granted' }).catch(orEnded);
      return view && view.phase !== 'done' ? [{ ...uploadView(view), started_at, token_id }] : [];
    });
    shown.push(...(await Promise.all(asked)).flat());
  }
  return { uploads: shown, cursor: page.cursor };
}

function orEnded(error: unknown): null {
  if (error instanceof VaultError) return null;
  throw error;
}

export async function terminateSession(c: AppContext): Promise<Response> {
  const access = await uploadAccess(c);
  await c.get('services').uploads.terminate(uploadIdOf(c), access);
  return c.body(null, 204);
}

/** What is not a name of ours is no upload of ours, and no object is asked for it. */
export function uploadIdOf(c: AppContext): string {
  const id = c.req.param('upload_id') ?? '';
  if (!/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(id)) throw new NoSuchUpload();
  return id;
}

export function sessionHeaders(c: AppContext, { backup_id, job_id, phase }: SessionView): void {
  c.header('coldstream-backup-id', backup_id);
  c.header('coldstream-job-id', job_id);
  c.header('coldstream-phase', phase);
}
