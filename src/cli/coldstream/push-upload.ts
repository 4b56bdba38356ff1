import { showBytes, showDuration } from './amounts.ts';
import { CommandFailed, Interrupted, unlessAborted } from './failures.ts';
import type { JobUpdate } from './job-updates.ts';
import { Patience, waitFor } from './patience.ts';
import type { PieceSize } from './piece-size.ts';
import { PieceSource } from './piece-source.ts';
import type { PushItem } from './push-item.ts';
import { PushRecord, removeUpload } from './push-record.ts';
import type { OpenUpload, ResumeStore } from './resume-store.ts';
import type { Session } from './session.ts';
import type { Transfer } from './transfer-view.ts';
import { sendByTus, type UploadAccess, UploadGone, UploadTakenOver } from './tus-upload.ts';
import { isPassing, persist, type Receipt, VaultRefused } from './vault-client.ts';

/** How often the vault is asked whether it is done. */
const FIRST_POLL_MS = 100;
const POLL_MS = 1000;

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

/** An upload that vanishes each time it was begun is not begun for ever. */
const BEGINNINGS = 3;

/**
 * Pushes one file or pipe, and gives its receipt once the vault has read back what it stored and that is what was sent.
 * A file that was begun before is resumed; one whose upload is no longer there is begun anew.
 */
export async function pushUpload(order: PushOrder): Promise<Receipt> {
  const { session, item } = order;
  const record = new PushRecord(order);
  const transfer = session.view.begin(item.name, item.size);
  let begun = await record.begun();
  for (let beginning = 1; ; beginning++) {
    const push = new Push(order, record, begun, transfer);
    try {
      return await push.run();
    } catch (error) {
      if (!(error instanceof UploadGone)) throw await push.explained(error);
      await record.forget();
      if (item.state === null)
        throw new CommandFailed(`${error.message}\nA pipe cannot be read again: run its command anew.`);
      if (beginning === BEGINNINGS) throw error;
      session.view.note(`${item.name}: the upload begun before is gone; it is begun anew. ${error.message}`);
      begun = null;
    }
  }
}

class Push {
  readonly #order: PushOrder;
  readonly #record: PushRecord;
  readonly #begun: OpenUpload | null;
  readonly #transfer: Transfer;
  #upload: UploadAccess | null;
  #sent = 0;
  #allSent = false;
  #jobIsSecret = false;

  constructor(order: PushOrder, record: PushRecord, begun: OpenUpload | null, transfer: Transfer) {
    this.#order = order;
    this.#record = record;
    this.#begun = begun;
    this.#upload = begun;
    this.#transfer = transfer;
  }

  async run(): Promise<Receipt> {
    const { session, item } = this.#order;
    const { content, reached, file } = item.open();
    const pieces = this.#order.pieces();
    const source = new PieceSource(content, pieces);
    if (!this.#begun) await this.#checkReadable(source);
    this.#upload = await this.#send(source, pieces, reached);
    this.#allSent = true;
    this.#transfer.phase('storing', null);
    const ends = Promise.all([this.#receipt(this.#upload), source.digest()]);
    const [receipt, sent] = await unlessAborted(session.signal, ends);
    await this.#compare(receipt, file?.() ?? sent);
    this.#transfer.phase('done', item.size);
    this.#transfer.at(item.size ?? sent.bytes);
    this.#transfer.end();
    await this.#record.forget();
    return receipt;
  }

  /** Before there is an upload: what cannot be read needs none, and a pipe may be long in coming. */
  async #checkReadable(source: PieceSource): Promise<void> {
    const { session, item } = this.#order;
    const isPipe = item.state === null;
    if (isPipe) this.#transfer.phase('waiting', null);
    const isEmpty = await unlessAborted(session.signal, source.isEmpty());
    if (!isPipe || !isEmpty) return;
    throw new CommandFailed('Nothing came through the pipe, so nothing was stored. Did its command fail?');
  }

  #send(source: PieceSource, pieces: PieceSize, reached: (sent: number) => number): Promise<UploadAccess> {
    const { session, item, metadata, retryForSeconds } = this.#order;
    this.#transfer.phase('sending', item.size);
    return sendByTus({
      client: session.client,
      source,
      pieces,
      patience: new Patience(retryForSeconds),
      signal: session.signal,
      // A pipe that brings nothing is a command that failed; an empty file is one.
      metadata: { filename: item.name, ...(item.size === 0 && { allow_empty: 'true' }), ...metadata },
      upload: this.#begun,
      onCreated: (upload) => {
        this.#upload = upload;
        return this.#record.keep(upload);
      },
      onResumed: (offset) => this.#tellResumed(offset, reached(offset)),
      onProgress: (offset) => {
        this.#sent = offset;
        this.#transfer.at(reached(offset));
      },
      note: (text) => session.view.note(`${item.name}: ${text}`),
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
    if (receipt.checksum !== sent.sha256 || receipt.file_size !== sent.bytes) {
      throw new CommandFailed(
        `What the vault stored as ${receipt.backup_id} is not what is here ` +
          `(${receipt.file_size} bytes, SHA-256 ${receipt.checksum}; here ${sent.bytes} bytes, ${sent.sha256}). ` +
          'Do not rely on it: remove it, and push anew.',
      );
    }
    if (await this.#order.item.isUnchanged()) return;
    throw new CommandFailed(
      `The file changed while it was read, so ${receipt.backup_id} may hold a mixture. Push it anew.`,
    );
  }

  /** What is to be said of a failure: the same, and how to go on. What nobody can go on with is taken back. */
  async explained(error: unknown): Promise<unknown> {
    const interrupted = error instanceof Interrupted ? error : null;
    if (!this.#upload) return interrupted?.because('Stopped before anything was sent.') ?? error;
    const mayGoOn = interrupted !== null || isPassing(error);
    if (mayGoOn && (this.#allSent || this.#order.item.state !== null)) {
      const advice = this.#howToGoOn(this.#upload);
      return interrupted?.because(`Stopped. ${advice}`) ?? new CommandFailed(`${(error as Error).message}\n${advice}`);
    }
    if (error instanceof UploadTakenOver) return error;
    await removeUpload(this.#order.session, this.#upload);
    await this.#record.forget();
    return interrupted?.because('Stopped. A pipe cannot be resumed; nothing was stored.') ?? error;
  }

  #howToGoOn({ url }: UploadAccess): string {
    if (!this.#allSent)
      return `The same command again goes on after the ${showBytes(this.#sent)} or so that the vault has.`;
    const job = this.#order.metadata.job_id ?? new URL(url).pathname.split('/').at(-1);
    return `All of it is sent, and the vault goes on alone: coldstream watch ${job}`;
  }
}
