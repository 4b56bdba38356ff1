import type { PushItem } from './push-item.ts';
import { fingerprintOf, hasSender, type OpenUpload, type ResumeStore } from './resume-store.ts';
import type { Session } from './session.ts';
import type { CreatedUpload, UploadAccess } from './tus-upload.ts';
import { causeOf, VaultClient } from './vault-client.ts';

/** What of a push tells it from others. */
export interface RecordOrder {
  readonly session: Session;
  readonly item: PushItem;
  readonly metadata: Readonly<Record<string, string>>;
  readonly store: ResumeStore;
  readonly fresh: boolean;
}

/**
 * What later runs know of this push. Of a pipe they cannot go on with it, but if it has a job's name, that has to be
 * freed: the vault keeps it for the upload until that expires.
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

  /** The upload to go on with. Another one, that was begun with what the file was before, is removed. */
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
      session.view.note(`${item.name}: should this be stopped, it cannot be resumed. ${causeOf(error)}.`);
    });
  }

  async forget(): Promise<void> {
    if (this.#fingerprint !== null) await this.#order.store.forget(this.#fingerprint);
  }
}

/** After an interruption nobody waits long. */
const PARTING_MS = 3000;

/** Leaves nothing at the vault. What cannot be removed now expires there. */
export async function removeUpload({ client }: Session, { url, secret }: UploadAccess): Promise<void> {
  // Of its own: an interruption has ended the session's requests.
  const parting = new VaultClient(client.origin, secret, AbortSignal.timeout(PARTING_MS));
  const headers = { 'Tus-Resumable': '1.0.0' };
  await parting.request(url, { method: 'DELETE', headers }).catch(() => undefined);
}
