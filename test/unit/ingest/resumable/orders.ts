/** Uploads in pieces as their tests order them. */
import type { SessionOrder, UploadRecord, Written } from '../../../../src/ingest/resumable/upload-record.ts';
import { NOTHING_WRITTEN, newUpload } from '../../../../src/ingest/resumable/upload-record.ts';
import { MIB } from '../../../../src/shared/limits.ts';

let next = 0;

/** An id like those of the vault, one after the other. */
export function newId(): string {
  next += 1;
  return `01RESUME${String(next).padStart(18, '0')}`;
}

export function orderOf(more: Partial<SessionOrder> = {}): SessionOrder {
  const backup_id = newId();
  return {
    backup_id,
    job_id: backup_id,
    name: 'a/a.tar',
    filename: 'a.tar',
    content_type: 'application/x-tar',
    token_id: null,
    level: 1,
    compression: 'none',
    codings: [],
    keep_frames: false,
    recipients: null,
    default_recipients: [],
    sha256: null,
    sent_digests: [],
    allow_empty: true,
    require_archive: false,
    expiry: null,
    max_bytes: 64 * MIB,
    client_metadata: null,
    secret_hash: 'aa'.repeat(32),
    token_hash: null,
    created_at: Date.now(),
    expires_at: Date.now() + 60_000,
    ...more,
  };
}

/** A record on its way, and what is to be different of it. */
export function recordOf(more: Partial<UploadRecord> = {}): UploadRecord {
  return { ...newUpload(orderOf(), null), ...more };
}

export function writtenTo(offset: number, more: Partial<Written> = {}): Written {
  return { ...NOTHING_WRITTEN, offset, ...more };
}
