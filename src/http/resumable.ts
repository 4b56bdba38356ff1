/** What every protocol of uploads in pieces does alike with a session, whatever its headers are called. */
import { getBackup } from '../catalogue/backups.ts';
import type { Piece } from '../ingest/resumable/piece-run.ts';
import { NoSuchUpload, type SessionOrder } from '../ingest/resumable/upload-record.ts';
import type { SessionAccess, SessionView } from '../ingest/resumable/upload-session.ts';
import { VaultError } from '../shared/errors.ts';
import type { AppContext } from './app-env.ts';
import { creatorHash, makeUploadSecret, tokenHash, uploadAccess } from './auth.ts';
import { orTellJob } from './or-tell-job.ts';
import { contentLength } from './request-body.ts';
import { orderOf, withLink } from './upload-order.ts';
import { backupView } from './views.ts';

/** A new upload as its sender orders it. */
export interface NewSession {
  readonly filename: string | undefined;
  readonly content_type: string | undefined;
  /** Those of any upload, as text; a missing one has its default. */
  readonly options: Readonly<Record<string, string | undefined>>;
  readonly client_metadata: string | null;
  /** Null where it comes later. */
  readonly length: number | null;
}

/** Creates an upload, for a token or a link. Its own secret is told once. */
export async function createSession(
  c: AppContext,
  asked: NewSession,
): Promise<{ readonly view: SessionView; readonly secret: string }> {
  const { uploads, config, defaultRecipients } = c.get('services');
  const given = definedOf({ ...asked.options, ...c.req.query() });
  const prepared = await orTellJob(c, 'upload', given.job_id, () =>
    orderOf(c, asked.filename ?? '', given, asked.content_type),
  );
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

/** Appends the body of the request. The client may go away: what has come is then still brought to its end. */
export async function appendPiece(
  c: AppContext,
  uploadId: string,
  access: SessionAccess,
  piece: Omit<Piece, 'bytes'>,
): Promise<SessionView> {
  const body = c.req.raw.body;
  const bytes = body === null ? 0 : c.req.header('content-length') === undefined ? null : contentLength(c);
  const appending = c.get('services').uploads.append(uploadId, access, { ...piece, bytes }, body);
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

/** The upload and, once there is one, its receipt: for who may write and not read. */
export async function sessionStatus(c: AppContext): Promise<Response> {
  const { uploads, catalogue } = c.get('services');
  const access = await uploadAccess(c);
  const view = await uploads.describe(uploadIdOf(c), access);
  const { backup_id, job_id, filename, offset, length, phase, expires_at } = view;
  const backup = phase === 'done' ? await getBackup(catalogue, backup_id) : null;
  const receipt = backup && { message: 'Upload successful', ...backupView(backup) };
  const status = { upload_id: backup_id, backup_id, job_id, filename, offset, length, phase };
  c.header('cache-control', 'no-store');
  return c.json({ ...status, expires_at: new Date(expires_at).toISOString(), receipt });
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

function definedOf(values: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}
