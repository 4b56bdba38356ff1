import { findBackup } from './backup-name.ts';
import { print, printJson } from './output.ts';
import type { Session } from './session.ts';

export interface LinkOptions {
  /** Seconds. */
  readonly expires: number;
  readonly path?: string;
  readonly format?: string;
  readonly name?: string;
}

interface Link {
  readonly url: string;
  readonly expires_at: string;
}

/** Prints an address that needs no token: of a backup, or of a file or a directory within it. */
export async function link(session: Session, wanted: string, options: LinkOptions): Promise<void> {
  const { expires, path, format, name } = options;
  const { backup_id } = await findBackup(session.client, wanted);
  const json = { expires_in: Math.floor(expires), path, format, filename: name };
  const made = await session.client.json<Link>(`/backup/${backup_id}/links`, { method: 'POST', json });
  if (session.json) return printJson(made);
  await print(`${made.url}\n`);
  session.view.note(`Valid until ${made.expires_at}, for everybody who has it.`);
}

export interface UploadLinkOptions {
  /** Seconds. */
  readonly expires: number;
  /** Bytes. */
  readonly maxSize?: number;
  readonly job?: string;
  readonly level?: number;
  readonly sha256?: string;
  readonly recipient?: readonly string[];
}

/** Prints an address at which somebody without a token stores one file: `curl -T FILE URL`. */
export async function uploadLink(session: Session, name: string, options: UploadLinkOptions): Promise<void> {
  const { expires, maxSize, job, level, sha256, recipient } = options;
  // A name of several segments has a field of its own: see docs, Share.
  const naming = name.includes('/') ? { name } : { filename: name };
  const json = {
    ...naming,
    expires_in: Math.floor(expires),
    max_bytes: maxSize,
    job_id: job,
    level,
    sha256,
    recipient,
  };
  const made = await session.client.json<Link & { readonly job_id: string }>('/backup/upload-links', {
    method: 'POST',
    json,
  });
  if (session.json) return printJson(made);
  await print(`${made.url}\n`);
  session.view.note(
    `For one file until ${made.expires_at}: curl --fail-with-body -T FILE 'URL'. Watch it: coldstream watch ${made.job_id}`,
  );
}
