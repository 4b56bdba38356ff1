import { DurableObject } from 'cloudflare:workers';
import { DigestMismatch } from '../../codec/digest.ts';
import { JobRunning } from '../../progress/publisher.ts';
import { bytesFromHex } from '../../shared/bytes.ts';
import { drainOnceFree } from '../../shared/drain.ts';
import { type ErrorCode, VaultError } from '../../shared/errors.ts';
import {
  FINISH_AT_ONCE_BYTES,
  REFUSED_READ_BYTES,
  SESSION_LONGEST_RETRY_MS,
  SESSION_RETRY_MS,
} from '../../shared/limits.ts';
import { sentChunks } from '../../shared/sender.ts';
import type { ByteStream } from '../../shared/streams.ts';
import type { PeerLimits } from '../../shared/watchdog.ts';
import { isUploadLost } from '../../store/r2-errors.ts';
import { DeletedBeforeCommit } from '../commit-backup.ts';
import { ChecksumMismatch } from '../upload.ts';
import { finishUpload, settleUpload } from './finish-upload.ts';
import { type Piece, PieceRun } from './piece-run.ts';
import { StoredOtherwise } from './read-back.ts';
import { TooOftenInterrupted } from './resumable-parts.ts';
import { PieceSuperseded } from './resumable-writer.ts';
import type { SessionRooms } from './session-rooms.ts';
import { SessionStore } from './session-store.ts';
import { SessionWriter } from './session-writer.ts';
import {
  admitPiece,
  failed,
  forgotten,
  isUnfinished,
  living,
  NoSuchUpload,
  newUpload,
  type SessionOrder,
  type SessionPhase,
  type UploadFailure,
  UploadGone,
  type UploadRecord,
  UploadTooLong,
  upkeepOf,
} from './upload-record.ts';

/** What a request has shown: a credential that is good for any upload, or the hash of one that may be good for this. */
export type SessionAccess = { readonly kind: 'granted' } | { readonly kind: 'hash'; readonly sha256: string };

/** An upload as its sender may see it. Times are milliseconds since the epoch. */
export interface SessionView {
  readonly backup_id: string;
  readonly job_id: string;
  readonly name: string;
  readonly filename: string;
  /** Bytes that are durable. */
  readonly offset: number;
  readonly length: number | null;
  readonly phase: SessionPhase;
  readonly expires_at: number;
  readonly client_metadata: string | null;
}

/** What a session answers its Worker: errors lose their class on the way, so they go as what they say. */
export type SessionAnswer =
  | { readonly kind: 'view'; readonly view: SessionView }
  | {
      readonly kind: 'refused';
      readonly code: ErrorCode;
      readonly detail: string;
      readonly facts: Readonly<Record<string, unknown>>;
    };

/** A request to append: its body is the piece, and this header says what is known of it. */
export const PIECE_HEADER = 'x-piece';
export interface PieceRequest {
  readonly access: SessionAccess;
  readonly piece: Piece;
}

class NotForThisUpload extends VaultError {
  constructor() {
    super('unauthorized', 'The token is unknown, expired or revoked, and not the one of this upload.');
  }
}

/** How often what is stored is found to be other than what came, before that is believed. */
const TIMES_OTHERWISE = 2;

/**
 * The Durable Object of one upload in pieces: it has the record, takes the pieces one at a time, and brings a whole upload
 * to its end. Several requests reach it at once and take turns at every wait; what they change, they change in one step.
 * `roomsOf` gets the object's env.
 */
export function uploadSession(roomsOf: (env: unknown) => SessionRooms) {
  return class UploadSession extends DurableObject {
    readonly #rooms: SessionRooms;
    readonly #store: SessionStore;
    readonly #writer: SessionWriter;
    // Memory only: what is lost of it is begun anew.
    #run: PieceRun | null = null;
    #finishing: { readonly done: Promise<void>; readonly leave: AbortController } | null = null;
    #failures = 0;
    #otherwise = 0;

    constructor(ctx: DurableObjectState, env: unknown) {
      super(ctx, env as never);
      this.#rooms = roomsOf(env);
      this.#store = new SessionStore(ctx.storage);
      this.#writer = new SessionWriter(this.#rooms, this.#store);
    }

    /** Begins the upload and its job. The record comes first, so that whatever dies in between, expires. */
    create(order: SessionOrder, length: number | null): Promise<SessionAnswer> {
      return answered(async () => {
        // Asked again, after a lost answer.
        if (this.#store.record) return living(this.#store.record);
        const record = newUpload(order, length);
        this.#store.create(record);
        await this.#schedule();
        try {
          await this.#beginJob(record);
        } catch (error) {
          if (error instanceof JobRunning) await this.#store.forget();
          // It may have begun all the same, and wait for an end.
          else
            await this.#end({ code: 'job-unavailable', detail: 'The job could not be begun. Create the upload anew.' });
          throw error;
        }
        return await this.#finishedIfSmall();
      });
    }

    /** Where the upload stands. What a piece that is under way has brought so far is made durable first, and counts. */
    describe(access: SessionAccess): Promise<SessionAnswer> {
      return answered(async () => {
        await this.#expireIfDue();
        living(this.#admitted(access));
        this.#run?.checkpoint();
        return this.#store.known;
      });
    }

    /** Where the upload stands, and stays until another piece comes: the one that is under way writes no more. */
    stop(access: SessionAccess): Promise<SessionAnswer> {
      return answered(async () => {
        living(this.#admitted(access));
        this.#run?.checkpoint();
        if (this.#run) this.#takeOver();
        return this.#store.known;
      });
    }

    /** A piece; the sender has gone on from where an earlier one stopped, which may write no more. */
    override async fetch(request: Request): Promise<Response> {
      const { access, piece }: PieceRequest = JSON.parse(request.headers.get(PIECE_HEADER) ?? '');
      const answer = await answered(() => this.#append(access, piece, request.body));
      // A sender that stalled sends nothing that could be drained.
      if (answer.kind === 'refused' && answer.code !== 'upload-stalled') {
        await drainOnceFree(request.body, { stranger: !this.#isAdmitted(access) });
      }
      return Response.json(answer);
    }

    /** Takes everything back; of a finished upload only the record goes, since its backup is one like any other. */
    terminate(access: SessionAccess): Promise<SessionAnswer> {
      return answered(async () => {
        await this.#expireIfDue();
        living(this.#admitted(access));
        await this.#stopAll(TERMINATED);
        const record = this.#store.known;
        if (record.phase === 'done') this.#store.record = forgotten(record);
        else await this.#end(TERMINATED);
        return this.#store.known;
      });
    }

    /** Like terminate, for callers that may cancel the job. Resolves with the phase before; an ended upload is left as it is. */
    async cancel(): Promise<SessionPhase | null> {
      await this.#stopAll(CANCELLED);
      const phase = this.#store.record?.phase ?? null;
      if (phase !== null && phase !== 'done' && phase !== 'failed') await this.#end(CANCELLED);
      return phase;
    }

    /** The job belongs to a newer upload. One that has all its bytes becomes a backup all the same. */
    async supersede(): Promise<void> {
      if (this.#store.record?.phase !== 'receiving') return;
      this.#takeOver(new UploadGone(SUPERSEDED.code, SUPERSEDED.detail));
      await this.#end(SUPERSEDED);
    }

    override async alarm(): Promise<void> {
      if (this.#store.record) await this.#surely(() => this.#upkeep());
    }

    async #beginJob(record: UploadRecord): Promise<void> {
      const { job_id, backup_id, filename, length, token_id, expires_at } = record;
      const message = `Waiting to receive ${filename}`;
      const begun = await this.#rooms.jobs.begin({
        job_id,
        backup_id,
        filename,
        token_id,
        expires_at,
        total: length ?? 0,
        message,
      });
      if (begun.kind === 'running') throw new JobRunning(job_id, begun.holder);
    }

    async #append(access: SessionAccess, piece: Piece, body: ReadableStream<Uint8Array> | null): Promise<UploadRecord> {
      await this.#expireIfDue();
      const record = admitPiece(this.#admitted(access), piece);
      if (record.phase === 'receiving') await this.#take({ ...piece, length: record.length }, body);
      else if (!(await isEmpty(piece, body, this.#rooms.senderLimits))) throw new UploadTooLong(record.written.offset);
      return this.#finishedIfSmall();
    }

    async #take(piece: Piece, body: ReadableStream<Uint8Array> | null): Promise<void> {
      if (this.#run) this.#takeOver();
      const run = new PieceRun(this.#rooms, this.#store, this.#writer, piece);
      this.#run = run;
      try {
        await run.take(body);
      } catch (error) {
        const failure = this.#run === run ? this.#finalFailure(error) : null;
        if (failure) await this.#end(failure);
        throw error;
      } finally {
        if (this.#run === run) this.#run = null;
      }
    }

    /** The upload failed, and what is left of it is taken back: now, or by the alarm. */
    async #end(failure: UploadFailure): Promise<void> {
      this.#store.record = failed(this.#store.known, failure, Date.now());
      // In the same turn: should this die before all is taken back, nobody else would know of it for days.
      void this.#store.setAlarm(Date.now() + SESSION_RETRY_MS);
      await this.#surely(() => settleUpload(this.#rooms, this.#store));
    }

    /** Who writes now, writes no more, and answers with `reason`. Nobody waits for it, since it may hang on a sender who has gone. */
    #takeOver(reason: VaultError = new PieceSuperseded()): void {
      this.#run?.supersede(reason);
      this.#run = null;
      void this.#writer.drop();
    }

    /**
     * What is read back in a moment is waited for; the alarm that is set does the same for the others. An end that was not
     * good is thrown as what it was.
     */
    async #finishedIfSmall(): Promise<UploadRecord> {
      const record = this.#store.known;
      if (isUnfinished(record) && record.written.offset <= FINISH_AT_ONCE_BYTES)
        await this.#surely(() => this.#finish());
      const { failure } = this.#store.known;
      if (failure) throw new VaultError(failure.code, failure.detail);
      return this.#store.known;
    }

    async #upkeep(): Promise<void> {
      const { kind, at } = upkeepOf(this.#store.known);
      if (Date.now() < at) return;
      switch (kind) {
        case 'finish':
          return this.#finish();
        case 'settle':
          return settleUpload(this.#rooms, this.#store);
        case 'expire':
          this.#takeOver(new UploadGone(EXPIRED.code, EXPIRED.detail));
          this.#store.record = failed(this.#store.known, EXPIRED, Date.now());
          return settleUpload(this.#rooms, this.#store);
        case 'forget':
          return this.#store.forget();
      }
    }

    /** An alarm may be late, but nobody goes on after the time that was told. */
    async #expireIfDue(): Promise<void> {
      const { record } = this.#store;
      if (!record) return;
      const { kind, at } = upkeepOf(record);
      if (kind === 'expire' && Date.now() >= at) await this.#surely(() => this.#upkeep());
    }

    /** Brings a whole upload to its end, once for all who ask. */
    #finish(): Promise<void> {
      if (!this.#finishing) {
        const leave = new AbortController();
        const done = this.#bringToEnd(leave.signal).finally(() => {
          this.#finishing = null;
        });
        this.#finishing = { done, leave };
      }
      return this.#finishing.done;
    }

    async #bringToEnd(signal: AbortSignal): Promise<void> {
      try {
        await finishUpload(this.#rooms, this.#store, this.#writer, signal);
      } catch (error) {
        const failure = signal.aborted ? null : this.#finalFailure(error);
        if (!failure) throw error;
        this.#store.record = failed(this.#store.known, failure, Date.now());
      }
      await settleUpload(this.#rooms, this.#store);
    }

    async #stopAll({ code, detail }: typeof TERMINATED | typeof CANCELLED): Promise<void> {
      const reason = new UploadGone(code, detail);
      this.#takeOver(reason);
      this.#finishing?.leave.abort(reason);
      await this.#finishing?.done.catch(() => undefined);
    }

    /** What another try would not change; all else is tried again, since every byte was acknowledged. */
    #finalFailure(met: unknown): UploadFailure | null {
      const error = isUploadLost(met) ? new StoredOtherwise(met) : met;
      // A PATCH that is too long: none of its bytes count, and the upload stays at its offset.
      if (error instanceof UploadTooLong) return null;
      if (error instanceof StoredOtherwise && ++this.#otherwise < TIMES_OTHERWISE) return null;
      const final = [StoredOtherwise, ChecksumMismatch, DigestMismatch, TooOftenInterrupted, DeletedBeforeCommit].some(
        (kind) => error instanceof kind,
      );
      return error instanceof VaultError && (final || FAULTS_OF_THE_FILE.has(error.code))
        ? { code: error.code, detail: error.message }
        : null;
    }

    /** Work that the alarm takes up again where it fails now. */
    async #surely(work: () => Promise<void>): Promise<void> {
      try {
        await work();
        this.#failures = 0;
      } catch (error) {
        this.#failures += 1;
        const { backup_id, phase } = this.#store.known;
        const cause = error instanceof Error && error.cause !== undefined ? String(error.cause) : undefined;
        const event = {
          level: 'error',
          event: 'upload-session-retries',
          backup_id,
          phase,
          error: String(error),
          cause,
        };
        console.error(JSON.stringify(event));
      }
      await this.#schedule();
    }

    async #schedule(): Promise<void> {
      const { record } = this.#store;
      if (!record) return;
      const { at } = upkeepOf(record);
      const waitMs = Math.min(SESSION_RETRY_MS * 2 ** (this.#failures - 1), SESSION_LONGEST_RETRY_MS);
      await this.#store.setAlarm(at > 0 ? at : Date.now() + (this.#failures > 0 ? waitMs : 0));
    }

    #admitted(access: SessionAccess): UploadRecord {
      const { record } = this.#store;
      if (!record) throw new NoSuchUpload();
      if (!this.#isAdmitted(access)) throw new NotForThisUpload();
      return record;
    }

    #isAdmitted(access: SessionAccess): boolean {
      if (access.kind === 'granted') return true;
      const { secret_hash = null, token_hash = null } = this.#store.record ?? {};
      return [secret_hash, token_hash].some((hash) => hash !== null && sameHash(hash, access.sha256));
    }
  };
}

/** What decoding finds wrong with an encoded file. Its bytes came as they are, so another try finds the same. */
const FAULTS_OF_THE_FILE: ReadonlySet<ErrorCode> = new Set([
  'malformed-zstd',
  'malformed-gzip',
  'file-too-large',
  'empty-upload',
  'broken-archive',
]);

const TERMINATED = { code: 'upload-gone', detail: 'The upload was terminated, and nothing of it was kept.' } as const;
const CANCELLED = {
  code: 'upload-cancelled',
  detail: 'The upload was cancelled, and nothing of it was kept. Create a new upload to send the file again.',
} as const;
const SUPERSEDED = {
  code: 'job-superseded',
  detail: 'A newer upload took over the job of this one, which had no open request. Nothing of this one was kept.',
} as const;
const EXPIRED = {
  code: 'upload-expired',
  detail: 'The upload was not finished in time, and nothing of it was kept. Send the file again.',
} as const;

/** A body without Content-Length may be empty too, e.g. a repeated PATCH that states the length of a whole upload. */
async function isEmpty({ bytes }: Piece, body: ByteStream | null, limits: PeerLimits): Promise<boolean> {
  if (bytes !== null) return bytes === 0;
  if (body) for await (const _ of sentChunks(body, REFUSED_READ_BYTES, limits)) return false;
  return true;
}

function sameHash(a: string, b: string): boolean {
  return a.length === b.length && crypto.subtle.timingSafeEqual(bytesFromHex(a), bytesFromHex(b));
}

async function answered(work: () => Promise<UploadRecord>): Promise<SessionAnswer> {
  try {
    return { kind: 'view', view: viewOf(await work()) };
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    const { code, message: detail, facts, cause } = error;
    if (cause !== undefined)
      console.warn(JSON.stringify({ level: 'warn', event: 'piece-refused', code, cause: String(cause) }));
    return { kind: 'refused', code, detail, facts };
  }
}

function viewOf(record: UploadRecord): SessionView {
  const { backup_id, job_id, name, filename, written, length, phase, expires_at, client_metadata } = record;
  return { backup_id, job_id, name, filename, offset: written.offset, length, phase, expires_at, client_metadata };
}
