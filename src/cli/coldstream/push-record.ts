import type { PushItem } from './push-item.ts';
import { fingerprintOf, hasSender, type OpenUpload, type ResumeStore } from './resume-store.ts';
import type { Session } from './session.ts';
import type { CreatedUpload, UploadAccess } from './tus-upload.ts';
import { causeOf, VaultClient } from './vault-client.ts';

/** What distinguishes a push from others. */
export interface RecordOrder {
  readonly session: Session;
  readonly item: PushItem;
  readonly metadata: Readonly<Record<string, string>>;
  readonly store: ResumeStore;
  readonly fresh: boolean;
}

/**
 * The record of this push for later runs. They cannot resume a pipe, but they delete its upload if it has a job's name,
 * which the vault keeps for an upload until it expires.
 */
export class PushRecord {
  readonly #order: RecordOrder;
  readonly #fingerprint: string | null;

  constructor(order: RecordOrder) {
    const { session, item, metadata } = order;
    this.#order = order;
    const isOfUse = item.state !== null || metadata.job_id !== undefined;
    this.#fingerprint = isOfUse
      ? fingerprintOf([session.client.origin, item.source, item.name, metadata, item.compressLevel])
      : null;
  }

  /** The upload to resume. If the file has changed since, that upload is deleted. */
  async begun(): Promise<OpenUpload | null> {
    const { session, item, store, fresh } = this.#order;
    const upload = this.#fingerprint === null ? null : await store.find(this.#fingerprint);
    if (!upload) return null;
    if (upload.state !== null && upload.state === item.state && !fresh) return upload;
    if (!fresh && hasSender(upload)) return null;
    await removeUpload(session, upload);
    await this.forget();
    return null;
  }

  async keep(upload: CreatedUpload): Promise<void> {
    if (this.#fingerprint === null) return;
    const { store, session, item } = this.#order;
    const now = { begunAt: new Date().toISOString(), state: item.state, pid: process.pid };
    await store.keep(this.#fingerprint, { ...upload, ...now }).catch((error: unknown) => {
      session.view.note(`${item.name}: if interrupted, this upload cannot be resumed. ${causeOf(error)}.`);
    });
  }

  async forget(): Promise<void> {
    if (this.#fingerprint !== null) await this.#order.store.forget(this.#fingerprint);
  }
}

/** A person who pressed Ctrl-C does not wait long. */
const PARTING_MS = 3000;

/** Deletes the upload at the vault. One that cannot be deleted now expires there. */
export async function removeUpload({ client }: Session, { url, secret }: UploadAccess): Promise<void> {
  // A client of its own: an interruption has aborted the session's requests.
  const parting = new VaultClient(client.origin, secret, AbortSignal.timeout(PARTING_MS), client.connections);
  const headers = { 'Tus-Resumable': '1.0.0' };
  await parting.request(url, { method: 'DELETE', headers }).catch(() => undefined);
}
