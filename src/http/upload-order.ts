import { ulid } from 'ulidx';
import { claimLink, releaseLink } from '../catalogue/upload-links.ts';
import { checkRecipients } from '../codec/age-keys.ts';
import type { ContentCoding } from '../codec/content-encoding.ts';
import { checkLevel } from '../codec/levels.ts';
import { checkName, filenameOf } from '../ingest/backup-name.ts';
import type { Expiry } from '../ingest/expiry.ts';
import { checkSuffix, contentTypeOf } from '../ingest/filename.ts';
import { isSigned } from '../links/signed-link.ts';
import { VaultError } from '../shared/errors.ts';
import { BACKUP_MAX_TTL_SECONDS, DEFAULT_LEVEL } from '../shared/limits.ts';
import type { AppContext } from './app-env.ts';
import { UPLOAD_OPTION_NAMES, UploadQuery } from './request-schemas.ts';
import { checkOptions, OptionNotApplicable } from './validation.ts';

class LinkUsed extends VaultError {
  constructor() {
    super('link-used', 'This upload link has been used. Ask for a new one.');
  }
}

/** Those of some options that are an upload's, from a query that may have more. */
export function uploadOptionsOf(options: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(options).filter(([name]) => UPLOAD_OPTION_NAMES.includes(name)));
}

/** Everything about an upload that can be refused before its first byte is read. */
export function orderOf(
  c: AppContext,
  rawName: string,
  given: Record<string, string>,
  contentType: string | undefined,
  /** The codings that the body has, in the order in which they were applied. */
  codings: readonly ContentCoding[],
) {
  const { config, engine } = c.get('services');
  const options = checkOptions(given, UploadQuery);
  if (options.compression === 'none' && options.level !== undefined) {
    throw new OptionNotApplicable('level', 'with compression=none');
  }
  const expiry = expiryOf(options);
  const name = checkName(rawName);
  const filename = filenameOf(name);
  checkSuffix(filename, config.allowedSuffixes);
  const level = options.level ?? DEFAULT_LEVEL;
  if (options.compression !== 'none') checkLevel(level, engine);
  const linkBytes = isSigned(new URL(c.req.url)) ? Number(c.req.query('max_bytes') ?? Infinity) : Infinity;
  const backup_id = ulid();
  return {
    backup_id,
    job_id: options.job_id ?? backup_id,
    token_id: c.get('credential')?.token_id ?? null,
    name,
    filename,
    content_type: contentTypeOf(filename, contentType),
    level,
    compression: options.compression ?? 'auto',
    codings,
    // Frames of the sender are kept only where nothing asks for others.
    keep_frames: given.level === undefined && given.compression === undefined,
    recipients: options.recipient === undefined ? null : checkRecipients(options.recipient),
    sha256: options.sha256,
    allow_empty: options.allow_empty,
    require_archive: options.require === 'whole-archive',
    expiry,
    max_bytes: Math.min(config.maxFileBytes, linkBytes),
  };
}

function expiryOf({ expires_in, expires_at }: { expires_in?: number | undefined; expires_at?: number | undefined }) {
  if (expires_at === undefined) return expires_in === undefined ? null : after(expires_in);
  if (expires_in !== undefined) {
    throw new VaultError('invalid-option', 'expires_at: expires_in is given too. Give one of the two.');
  }
  const seconds = (expires_at - Date.now()) / 1000;
  if (seconds <= 0) throw new VaultError('invalid-option', 'expires_at: this time has passed. Give one that is ahead.');
  if (seconds > BACKUP_MAX_TTL_SECONDS) {
    throw new VaultError(
      'invalid-option',
      'expires_at: this is more than 100 years ahead. Leave it out to keep the backup.',
    );
  }
  return { kind: 'at', time: new Date(expires_at).toISOString() } satisfies Expiry;
}

function after(seconds: number) {
  return { kind: 'after', seconds } satisfies Expiry;
}

/** The one name of an upload that came as `name` or as `filename`; undefined where neither came. */
export function oneName(
  { name, filename }: { readonly name?: string | undefined; readonly filename?: string | undefined },
  code: 'invalid-option' | 'invalid-request',
): string | undefined {
  if (name !== undefined && filename !== undefined && name !== filename) {
    throw new VaultError(code, 'name: filename is given too, and differs. Give one of the two.');
  }
  return name ?? filename;
}

/** A link is good for one upload: it is claimed before, and given back if what `work` begins fails. */
export async function withLink<T>(c: AppContext, backup_id: string, work: () => Promise<T>): Promise<T> {
  const { catalogue } = c.get('services');
  const link_id = c.req.query('link_id');
  if (!isSigned(new URL(c.req.url)) || !link_id) return work();
  const expires_at = new Date(Number(c.req.query('expires')) * 1000).toISOString();
  if (!(await claimLink(catalogue, { link_id, backup_id, expires_at }))) throw new LinkUsed();
  try {
    return await work();
  } catch (error) {
    await releaseLink(catalogue, link_id);
    throw error;
  }
}
