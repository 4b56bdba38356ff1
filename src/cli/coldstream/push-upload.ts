import { showBytes, showDuration } from './amounts.ts';
import { CommandFailed, Interrupted, unlessAborted } from './failures.ts';
import type { JobUpdate } from './job-updates.ts';
import { Patience, waitFor } from './patience.ts';
import type { PieceSize } from './piece-size.ts';
import { PieceSource } from './piece-source.ts';
import type { PushItem } from './push-item.ts';
import { fingerprintOf, type OpenUpload, type ResumeStore } from './resume-store.ts';
import type { Session } from './session.ts';
import type { Transfer } from './transfer-view.ts';
import { type CreatedUpload, sendByTus, type UploadAccess, UploadGone } from './tus-upload.ts';
import { causeOf, isPassing, persist, type Receipt, VaultClient, VaultRefused } from './vault-client.ts';

/** How often the vault is asked whether it is done. */
const FIRST_POLL_MS = 100;
const POLL_MS = 1000;
/** After an interruption nobody waits long. */
const PARTING_MS = 3000;

export interface PushOrder {
  readonly session: Session;
  readonly item: PushItem;
  /** Upload-Metadata beside the name. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly store: ResumeStore;
  readonly retryForSeconds: number;
  /** Does not go on with an upload of an earlier run, but removes it. */
  readonly fresh: boolean;
  pieces(): PieceSize;
}

/** What `GET /tus/{id}` tells. */
interface UploadState {
  readonly phase: string;
  readonly job_id: string;
  readonly receipt: Receipt | null;
}

/**
 * Pushes one file or pipe, and gives its receipt once the vault has read back what it stored and that is what was sent.
 * A file that was begun before is gone on with; one whose upload is no longer there is begun anew.
 */
export async function pushUpload(order: PushOrder): Promise<Receipt> {
  const { session, item, store, fresh } = order;
  const fingerprint = item.identity && fingerprintOf([session.client.origin, item.identity, order.metadata, item.name]);
  let begun = fingerprint === null ? null : await store.find(fingerprint);
  if (begun && fresh) {
    await removeUpload(session, begun);
    begun = null;
  }
  while (true) {
    const push = new Push(order, fingerprint, begun);
    try {
      const receipt = await push.run();
      if (fingerprint) await store.forget(fingerprint);
      return receipt;
    } catch (error) {
      if (!(error instanceof UploadGone)) throw await push.explained(error);
      if (!fingerprint) throw new CommandFailed(`${error.message}\nA pipe cannot be read again: run its command anew.`);
      await store.forget(fingerprint);
      session.view.note(`${item.name}: the upload begun before is gone; it is begun anew. ${error.message}`);
      begun = null;
    }
  }
}

class Push {
  readonly #order: PushOrder;
  readonly #fingerprint: string | null;
  readonly #begun: OpenUpload | null;
  readonly #transfer: Transfer;
  #upload: UploadAccess | null;
  #sent = 0;
  #allSent = false;
  #jobIsSecret = false;

  constructor(order: PushOrder, fingerprint: string | null, begun: OpenUpload | null) {
    this.#order = order;
    this.#fingerprint = fingerprint;
    this.#begun = begun;
    this.#upload = begun;
    this.#transfer = order.session.view.begin(order.item.name, order.item.size);
  }

  async run(): Promise<Receipt> {
    const { session, item, metadata, retryForSeconds, pieces } = this.#order;
    const { content, reached } = item.open();
    const size = pieces();
    const source = new PieceSource(content, size);
    // An upload that is made before its first byte is there would wait with it.
    if (!item.identity) this.#transfer.phase('waiting', null);
    if (!item.identity && (await unlessAborted(session.signal, source.isEmpty()))) {
      throw new CommandFailed('Nothing came through the pipe, so nothing was stored. Did its command fail?');
    }
    this.#transfer.phase('sending', item.size);
    this.#upload = await sendByTus({
      client: session.client,
      source,
      pieces: size,
      patience: new Patience(retryForSeconds),
      signal: session.signal,
      metadata: { filename: item.name, ...metadata },
      upload: this.#begun,
      onCreated: (upload) => this.#keep(upload),
      onResumed: (offset) => this.#tellResumed(offset, reached(offset)),
      onProgress: (offset) => {
        this.#sent = offset;
        this.#transfer.at(reached(offset));
      },
      note: (text) => session.view.note(`${item.name}: ${text}`),
    });
    this.#allSent = true;
    this.#transfer.phase('storing', null);
    const ends = Promise.all([this.#receipt(this.#upload), source.digest()]);
    const [receipt, sent] = await unlessAborted(session.signal, ends);
    await this.#compare(receipt, sent);
    this.#transfer.phase('done', item.size);
    this.#transfer.end();
    return receipt;
  }

  async #keep(upload: CreatedUpload): Promise<void> {
    this.#upload = upload;
    if (!this.#fingerprint) return;
    const { store, session, item } = this.#order;
    await store.keep(this.#fingerprint, { ...upload, begunAt: new Date().toISOString() }).catch((error: unknown) => {
      session.view.note(`${item.name}: should this be stopped, it cannot be gone on with. ${causeOf(error)}.`);
    });
  }

  #tellResumed(offset: number, reached: number): void {
    const { session, item } = this.#order;
    const of = item.size === null ? '' : ` of ${showBytes(item.size)}`;
    // A compression begins again, so what was sent of it says nothing about the file yet.
    const where = reached === offset ? `${showBytes(offset)}${of}` : `${showBytes(offset)} sent`;
    const age = (Date.now() - Date.parse(this.#begun?.begunAt ?? '')) / 1000;
    session.view.note(`${item.name}: goes on at ${where}, begun ${showDuration(age)} ago`);
  }

  /** Waits until the vault has stored and read back what it got. */
  async #receipt({ url, secret }: UploadAccess): Promise<Receipt> {
    const { session, retryForSeconds } = this.#order;
    const patience = new Patience(retryForSeconds);
    for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(pollMs * 2, POLL_MS)) {
      const state = await persist(session.signal, patience, () =>
        session.client.json<UploadState>(url, { bearer: secret }),
      );
      if (state.receipt) return state.receipt;
      await this.#showPhase(state);
      await waitFor(pollMs, session.signal);
    }
  }

  /** The upload tells its phase to whoever may send it; how far that is, the job tells those who may read. */
  async #showPhase({ phase, job_id }: UploadState): Promise<void> {
    if (this.#jobIsSecret) return this.#transfer.phase(phase, null);
    try {
      const job = await this.#order.session.client.json<JobUpdate>(`/jobs/${job_id}`);
      this.#transfer.phase(phase, job.phase === phase && job.total > 0 ? job.total : null);
      if (job.phase === phase) this.#transfer.at(job.current);
    } catch (error) {
      // The receipt is what counts; and whether the vault can be reached, the next question tells.
      this.#jobIsSecret = error instanceof VaultRefused && !isPassing(error);
      this.#transfer.phase(phase, null);
    }
  }

  /** The vault hashes what it has stored, we what we have read: done is what is the same. */
  async #compare(receipt: Receipt, sent: { bytes: number; sha256: string }): Promise<void> {
    const { item, store } = this.#order;
    if (receipt.checksum !== sent.sha256 || receipt.file_size !== sent.bytes) {
      if (this.#fingerprint) await store.forget(this.#fingerprint);
      throw new CommandFailed(
        `What the vault stored as ${receipt.backup_id} is not what is here ` +
          `(${receipt.file_size} bytes, SHA-256 ${receipt.checksum}; here ${sent.bytes} bytes, ${sent.sha256}). ` +
          'Do not rely on it: remove it, and push anew.',
      );
    }
    if (!(await item.isUnchanged())) {
      if (this.#fingerprint) await store.forget(this.#fingerprint);
      throw new CommandFailed(
        `The file changed while it was read, so ${receipt.backup_id} may hold a mixture. Push it anew.`,
      );
    }
  }

  /** What is to be said of a failure: the same, and how to go on. Cleans up what nobody can go on with. */
  async explained(error: unknown): Promise<unknown> {
    const { session, store } = this.#order;
    const interrupted = error instanceof Interrupted ? error : null;
    if (!this.#upload) return interrupted?.because('Stopped before anything was sent.') ?? error;
    if (!this.#fingerprint) {
      await removeUpload(session, this.#upload);
      return interrupted?.because('Stopped. A pipe cannot be gone on with; nothing was stored.') ?? error;
    }
    if (interrupted) return interrupted.because(`Stopped. ${this.#howToGoOn()}`);
    if (isPassing(error)) return new CommandFailed(`${(error as Error).message}\n${this.#howToGoOn()}`);
    if (error instanceof VaultRefused) await store.forget(this.#fingerprint);
    return error;
  }

  #howToGoOn(): string {
    if (this.#allSent) return 'All of it is sent, and the vault goes on alone: the same command again tells the end.';
    return `The same command again goes on after the ${showBytes(this.#sent)} or so that the vault has.`;
  }
}

/** Leaves nothing at the vault. What cannot be removed now expires there. */
async function removeUpload({ client }: Session, { url, secret }: UploadAccess): Promise<void> {
  // Of its own: an interruption has ended the session's requests.
  const parting = new VaultClient(client.origin, secret, AbortSignal.timeout(PARTING_MS));
  const headers = { 'Tus-Resumable': '1.0.0' };
  await parting.request(url, { method: 'DELETE', headers }).catch(() => undefined);
}
