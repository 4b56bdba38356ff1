import { ulid } from 'ulidx';
import { claimLink, releaseLink } from '../catalogue/upload-links.ts';
import { checkRecipients } from '../codec/age-keys.ts';
import type { ContentCoding } from '../codec/content-encoding.ts';
import { checkLevel } from '../codec/levels.ts';
import { checkFilename, checkSuffix, contentTypeOf } from '../ingest/filename.ts';
import { isSigned } from '../links/signed-link.ts';
import { VaultError } from '../shared/errors.ts';
import { DEFAULT_LEVEL } from '../shared/limits.ts';
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
  const filename = checkFilename(rawName);
  checkSuffix(filename, config.allowedSuffixes);
  const level = options.level ?? DEFAULT_LEVEL;
  if (options.compression !== 'none') checkLevel(level, engine);
  const linkBytes = isSigned(new URL(c.req.url)) ? Number(c.req.query('max_bytes') ?? Infinity) : Infinity;
  const backup_id = ulid();
  return {
    backup_id,
    job_id: options.job_id ?? backup_id,
    token_id: c.get('credential')?.token_id ?? null,
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
    max_bytes: Math.min(config.maxFileBytes, linkBytes),
  };
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
