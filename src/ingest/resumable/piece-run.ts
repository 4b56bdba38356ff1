import { CompressionPace } from '../../codec/cpu-pace.ts';
import { DigestCheck, DigestMismatch, type ExpectedDigest } from '../../codec/digest.ts';
import { pipeline } from '../../codec/pipeline.ts';
import { meter, rateLimit } from '../../codec/stages.ts';
import { VaultError } from '../../shared/errors.ts';
import { CHECKPOINT_MS, UPLOAD_READ_BYTES } from '../../shared/limits.ts';
import { sentChunks, UploadStalled } from '../../shared/sender.ts';
import { type ByteStream, untilAborted } from '../../shared/streams.ts';
import type { PeerLimits } from '../../shared/watchdog.ts';
import type { ResumableWriter } from './resumable-writer.ts';
import type { SessionRooms } from './session-rooms.ts';
import type { SessionStore } from './session-store.ts';
import type { SessionWriter } from './session-writer.ts';
import { checkFits, mostBytesOf, type PieceOrder, UploadTooLong } from './upload-record.ts';

/** What a sender says of its piece. `length` is that of the upload, also where an earlier piece had told it. */
export interface Piece extends PieceOrder {
  /** Digests of the chunk's bytes. With any, the chunk counts as a whole or not at all. */
  readonly digests: readonly ExpectedDigest[];
}

export class PieceMismatch extends VaultError {
  constructor() {
    super(
      'chunk-checksum-mismatch',
      'The bytes of this piece do not have its checksum. None of them counts; send it again.',
    );
  }
}

/** The connection ended within a piece. */
export class PieceInterrupted extends VaultError {
  constructor(cause: unknown) {
    super(
      'upload-interrupted',
      'The connection ended before the whole piece had arrived. Ask where the upload stands.',
      {
        cause,
      },
    );
  }
}

/**
 * One piece on its way in: body → rate → cap → {@link ResumableWriter}, with checkpoints on the way. However it ends, what
 * came before counts, unless the piece has a checksum, which then decides. Once it is superseded it changes nothing more.
 */
export class PieceRun {
  readonly #rooms: SessionRooms;
  readonly #store: SessionStore;
  readonly #session: SessionWriter;
  readonly #piece: Piece;
  readonly #leaving = new AbortController();
  #writer: ResumableWriter | null = null;

  constructor(rooms: SessionRooms, store: SessionStore, session: SessionWriter, piece: Piece) {
    this.#rooms = rooms;
    this.#store = store;
    this.#session = session;
    this.#piece = piece;
  }

  /** Another request has taken over the upload, or it has ended (`reason`): this run no longer touches its writer. */
  supersede(reason: VaultError): void {
    this.#leaving.abort(reason);
  }

  get #isAllOrNothing(): boolean {
    return this.#piece.digests.length > 0;
  }

  /** Makes durable what has come so far, so that it can be told; not of a piece that counts as a whole. */
  checkpoint(): void {
    const writer = this.#writer;
    if (!writer || this.#isAllOrNothing || this.#leaving.signal.aborted) return;
    // The end is noted by the run itself.
    if (writer.offset !== this.#piece.length) this.#note(writer);
  }

  /** Takes the body to its end. Resolves when all of it is durable. */
  async take(body: ByteStream | null): Promise<void> {
    const { signal } = this.#leaving;
    signal.throwIfAborted();
    const record = this.#store.known;
    const { job_id, backup_id, filename, written } = record;
    const job = this.#rooms.jobs.publisher(job_id, backup_id);
    const publish = (current: number, stored: number) => {
      const total = this.#piece.length ?? 0;
      job.publish({ phase: 'receiving', current, total, stored, message: `Receiving ${filename}` });
    };
    // At once: an upload without an open request may lose its job to another.
    publish(written.offset, written.encoded_bytes);
    const writer = this.#session.take();
    this.#writer = writer;
    const { bytes, length } = this.#piece;
    const mostBytes = bytes ?? (length ?? mostBytesOf(record)) - writer.offset;
    const { engine, cpuLimitMs: limitMs } = this.#rooms;
    writer.paceBy(new CompressionPace({ engine, level: record.level, limitMs, mostBytes }));
    const report = () => publish(writer.offset, writer.encodedBytes);
    try {
      await this.#receive(writer, mostBytesOf(record), body, report);
      // While the last parts are on their way, and before something is written that all calls would wait for.
      const told = job.pause();
      await writer.settleMost();
      signal.throwIfAborted();
      this.#note(writer);
      this.#session.rest();
      await told;
    } catch (error) {
      await this.#endEarly(writer, error);
      // Whatever a writer meets that was taken away, is for that reason.
      throw signal.aborted ? signal.reason : error;
    } finally {
      this.#writer = null;
      await job.pause();
    }
  }

  async #receive(
    writer: ResumableWriter,
    maxBytes: number,
    body: ByteStream | null,
    report: () => void,
  ): Promise<void> {
    const { uploadRate, senderLimits } = this.#rooms;
    const { digests, length } = this.#piece;
    const check = new DigestCheck(digests);
    const sent = pipeline(untilAborted(fromSender(body, senderLimits), this.#leaving.signal));
    const limited = uploadRate === null ? sent : sent.through(rateLimit(uploadRate));
    const capped = limited.through(meter((piece) => checkFits(writer.offset + piece.length, length, maxBytes)));
    let noted = Date.now();
    for await (const piece of capped) {
      check.update(piece);
      await writer.write(piece);
      report();
      if (Date.now() - noted < CHECKPOINT_MS) continue;
      this.checkpoint();
      noted = Date.now();
    }
    try {
      check.check();
    } catch (error) {
      throw error instanceof DigestMismatch ? new PieceMismatch() : error;
    }
  }

  /** What came before a failure counts; but of more bytes than there may be, a sender's mistake, nothing is believed. */
  async #endEarly(writer: ResumableWriter, error: unknown): Promise<void> {
    const { signal } = this.#leaving;
    try {
      if (this.#isAllOrNothing || error instanceof UploadTooLong || signal.aborted) return;
      await writer.settle();
      if (!signal.aborted) this.#note(writer);
    } finally {
      // Whoever asks meanwhile, asks the record.
      this.#writer = null;
      if (!signal.aborted) await this.#session.drop();
    }
  }

  /** What counts of the piece, counts with the length that came with it: of a refused one neither does. */
  #note(writer: ResumableWriter): void {
    const { length } = this.#piece;
    this.#session.note(writer, (noted) => ({ ...noted, length }));
  }
}

async function* fromSender(body: ByteStream | null, limits: PeerLimits): AsyncGenerator<Uint8Array, void, undefined> {
  if (!body) return;
  try {
    yield* sentChunks(body, UPLOAD_READ_BYTES, limits);
  } catch (error) {
    throw error instanceof UploadStalled ? error : new PieceInterrupted(error);
  }
}
