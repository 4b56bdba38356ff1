import { printable, showBytes, showDuration } from './amounts.ts';
import { CommandFailed, IncompleteInput, Interrupted, PartialFailure, unlessAborted } from './failures.ts';
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
  /** Stores an empty pipe too. */
  readonly allowEmpty: boolean;
  pieces(): PieceSize;
}

export interface Pushed {
  readonly receipt: Receipt;
  /** What is wrong with the backup all the same: an archive that breaks off, files that a tar lacks. */
  readonly flaw: CommandFailed | null;
}

/** What `GET /tus/{id}` returns. */
interface UploadState {
  readonly phase: string;
  readonly job_id: string;
  readonly receipt: Receipt | null;
}

/** An upload that vanishes each time is not started for ever. */
const BEGINNINGS = 3;

/**
 * Pushes one item. Resolves once the vault has read back what it stored and that is what was read here. A file whose
 * upload was interrupted is resumed; if that upload is gone, a new one starts.
 */
export async function pushUpload(order: PushOrder): Promise<Pushed> {
  const { session, item } = order;
  const record = new PushRecord(order);
  const transfer = session.view.begin(item.name, item.size);
  let begun = await record.begun();
  for (let beginning = 1; ; beginning++) {
    const push = new Push(order, record, begun, transfer);
    try {
      const receipt = await push.run();
      return { receipt, flaw: flawOf(item, receipt) };
    } catch (error) {
      if (!(error instanceof UploadGone)) throw await push.explained(error);
      await record.forget();
      if (item.state === null) throw new CommandFailed(`${error.message}\nA pipe cannot be read again. Run it again.`);
      if (beginning === BEGINNINGS) throw error;
      session.view.note(`${item.name}: the earlier upload is gone, so a new one starts. ${error.message}`);
      begun = null;
    }
  }
}

/** A few of many, so that a message stays readable. */
const SHOWN_PROBLEMS = 20;

function flawOf({ problems }: PushItem, { archive, backup_id }: Receipt): CommandFailed | null {
  if (problems.length > 0) {
    const more = problems.length > SHOWN_PROBLEMS ? [`and ${problems.length - SHOWN_PROBLEMS} more`] : [];
    const lines = [...problems.slice(0, SHOWN_PROBLEMS), ...more].join('\n');
    return new PartialFailure(`${lines}\n${backup_id} lacks these, or has them as they were in between.`);
  }
  if (!archive?.stopped) return null;
  const { offset, reason } = archive.stopped;
  return new IncompleteInput(
    `The archive breaks off at byte ${offset} (${printable(reason)}). It is stored as ${backup_id}, as it was read. ` +
      'If a program made it, that program failed.',
  );
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
    const source = new PieceSource(content, pieces, session.limit);
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
    if (!isPipe || !isEmpty || this.#order.allowEmpty) return;
    throw new IncompleteInput('The input is empty, so nothing was stored. If that is right, use --allow-empty.');
  }

  #send(source: PieceSource, pieces: PieceSize, reached: (sent: number) => number): Promise<UploadAccess> {
    const { session, item, metadata, retryForSeconds, allowEmpty } = this.#order;
    this.#transfer.phase('sending', item.size);
    return sendByTus({
      client: session.client,
      source,
      pieces,
      patience: new Patience(retryForSeconds),
      signal: session.signal,
      // An empty pipe is a program that failed; an empty file is a file.
      metadata: { filename: item.name, ...((item.size === 0 || allowEmpty) && { allow_empty: 'true' }), ...metadata },
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
    // A compression starts again, so the bytes sent say nothing about the file yet.
    const where = reached === offset ? `${showBytes(offset)}${of}` : `${showBytes(offset)} sent`;
    const age = (Date.now() - Date.parse(this.#begun?.begunAt ?? '')) / 1000;
    session.view.note(`${item.name}: resumes at ${where}, started ${showDuration(age)} ago`);
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

  /** The upload shows its phase to its sender. Only the job, which needs a token that may read, shows the progress. */
  async #showPhase({ phase, job_id }: UploadState): Promise<void> {
    if (this.#jobIsSecret) return this.#transfer.phase(phase, null);
    try {
      const job = await this.#order.session.client.json<JobUpdate>(`/jobs/${job_id}`);
      this.#transfer.phase(phase, job.phase === phase && job.total > 0 ? job.total : null);
      if (job.phase === phase) this.#transfer.at(job.current);
    } catch (error) {
      // The receipt is what counts, and the next poll finds out whether the vault can be reached.
      this.#jobIsSecret = error instanceof VaultRefused && !isPassing(error);
      this.#transfer.phase(phase, null);
    }
  }

  /** The vault hashes what it stored, we hash what we read: only if both agree is it a backup, and else it is deleted. */
  async #compare(receipt: Receipt, sent: { bytes: number; sha256: string }): Promise<void> {
    if (receipt.checksum === sent.sha256 && receipt.file_size === sent.bytes) return;
    const { session } = this.#order;
    const isDeleted = await session.client.request(`/backup/${receipt.backup_id}`, { method: 'DELETE' }).then(
      () => true,
      () => false,
    );
    await this.#record.forget();
    throw new CommandFailed(
      `The vault stored other bytes than were read here (${receipt.file_size} bytes, SHA-256 ${receipt.checksum}; ` +
        `here ${sent.bytes} bytes, ${sent.sha256}). ` +
        (isDeleted
          ? 'That backup was deleted. Push again.'
          : `Do not use ${receipt.backup_id}: this token may not delete it. Delete it, and push again.`),
    );
  }

  /** The failure with advice how to continue. An upload that no later run can resume is deleted. */
  async explained(failure: unknown): Promise<unknown> {
    const error = asInput(failure);
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
      return `Run the same command again to resume after the ${showBytes(this.#sent)} or so that the vault has.`;
    const job = this.#order.metadata.job_id ?? new URL(url).pathname.split('/').at(-1);
    return `All of it is sent, and the vault is storing it: coldstream watch ${job}`;
  }
}

/** Refusals of the vault that speak of the input. */
const INPUT_CODES: readonly unknown[] = ['empty-upload', 'broken-archive'];

function asInput(error: unknown): unknown {
  if (!(error instanceof VaultRefused)) return error;
  return INPUT_CODES.includes(error.code) || INPUT_CODES.includes(error.facts.reason)
    ? new IncompleteInput(error.message, { cause: error })
    : error;
}
