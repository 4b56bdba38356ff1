import { type Backup, deleteBackup, insertBackup, receiptOf } from '../catalogue/backups.ts';
import { recordJob } from '../catalogue/jobs.ts';
import { type Sha256Digest, sha256Digest } from '../codec/digest.ts';
import type { SeekEntry } from '../codec/seekable/seek-table.ts';
import { seekPoints } from '../codec/seekable/seek-table-points.ts';
import { seekableEncode } from '../codec/seekable/seekable-encoder.ts';
import { isCompressedAlready } from '../codec/sniff.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { type JobPublisher, type JobRooms, JobRunning, JobSuperseded } from '../progress/publisher.ts';
import { hex, utf8 } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import type { IsolateBudget } from '../shared/isolate-budget.ts';
import { PART_BYTES, UPLOAD_BYTES, UPLOAD_INDEX_BYTES } from '../shared/limits.ts';
import type { Pieces } from '../shared/streams.ts';
import { backupPrefix, dataKey, receiptKey } from '../store/object-keys.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { type IndexBounds, MemberIndexing } from './member-indexing.ts';

export interface UploadRooms {
  readonly store: ObjectStore;
  readonly catalogue: D1Database;
  readonly jobs: JobRooms;
  readonly engine: ZstdEngine;
  readonly budget: IsolateBudget;
  /** Bounds of the members' index; tests have smaller ones. */
  readonly indexBounds?: IndexBounds;
}

export interface UploadOrder {
  readonly backup_id: string;
  readonly job_id: string;
  readonly filename: string;
  readonly content_type: string;
  readonly level: number;
  readonly compression: 'auto' | 'zstd' | 'none';
  /** The cap of this upload, in bytes of content. */
  readonly max_bytes: number;
  /** Bytes that the sender announced; 0 where unknown. Only what is shown rests on it, but for `exact`. */
  readonly total: number;
  /** Whether `total` is a promise (Content-Length of a raw body): fewer bytes are then a cut upload. */
  readonly exact: boolean;
  readonly content: Pieces;
  /** Called when the content has ended: reads what follows it; gives the checksum the sender expects, if any. */
  readonly ending: () => Promise<string | undefined>;
}

export class FileTooLarge extends VaultError {
  readonly maxBytes: number;

  constructor(maxBytes: number) {
    super('file-too-large', `The file has more than ${maxBytes} bytes, the most that this vault takes in one upload.`);
    this.maxBytes = maxBytes;
  }
}

export class ChecksumMismatch extends VaultError {
  readonly received: string;

  constructor(received: string) {
    super(
      'checksum-mismatch',
      `The bytes that arrived have the SHA-256 ${received}, not the one expected. Send it again.`,
    );
    this.received = received;
  }
}

export class UploadInterrupted extends VaultError {
  constructor(options?: ErrorOptions) {
    super('upload-interrupted', 'The connection ended before the whole file had arrived. Send it again.', options);
  }
}

/**
 * THE way in, top to bottom: content → meter (cap) → digest → members of an archive → zstd frames → equal parts → R2;
 * then the members' index, the receipt, the row, the job's end. Resolves with the receipt when everything is stored;
 * rejects after everything has been taken back.
 */
export async function upload(rooms: UploadRooms, order: UploadOrder): Promise<Backup> {
  const { job_id, backup_id } = order;
  const begun = await rooms.jobs.begin({
    job_id,
    backup_id,
    total: order.total,
    message: `Waiting to receive ${order.filename}`,
  });
  if (begun.kind === 'running') throw new JobRunning(job_id);
  const job = rooms.jobs.publisher(job_id, backup_id);
  const started_at = new Date().toISOString();
  const writer = new ObjectWriter(rooms.store, dataKey(backup_id), PART_BYTES, (open) => job.noteOpen(open));
  const indexing = new MemberIndexing(rooms.store, rooms.engine, backup_id, rooms.indexBounds);
  try {
    if (order.exact && order.total > order.max_bytes) throw new FileTooLarge(order.max_bytes);
    const share = await rooms.budget.reserve(
      UPLOAD_BYTES + UPLOAD_INDEX_BYTES + rooms.engine.contextBytes(order.level),
    );
    let backup: Backup;
    try {
      backup = await receive(rooms, order, job, writer, indexing);
    } finally {
      share.release();
    }
    await commit(rooms, backup, job);
    const message = `Stored ${order.filename}`;
    await job.finish({
      phase: 'done',
      backup_id,
      current: backup.file_size,
      total: backup.file_size,
      stored: backup.stored_size,
      message,
    });
    // Taken over in the last moment: whoever took over has removed it, or will.
    if (!job.alive()) throw new JobSuperseded(job_id);
    await noteJob(rooms, order, started_at, 'done', message, null);
    return backup;
  } catch (error) {
    await takeBack(rooms, order, job, [writer, indexing], started_at, error);
    throw error;
  }
}

/** Tells a job that its upload was refused before it began: somebody may be watching. A job that runs is left alone. */
export async function refuseUpload(
  jobs: JobRooms,
  job_id: string,
  backup_id: string,
  refusal: VaultError,
): Promise<void> {
  const begun = await jobs.begin({ job_id, backup_id, total: 0, message: 'Refused' });
  if (begun.kind === 'running') return;
  const { code, message } = refusal;
  await jobs
    .publisher(job_id, backup_id)
    .finish({ phase: 'failed', code, detail: message, message: 'The upload was refused' });
}

/** Content in, data object out. Gives the receipt of what is now stored. */
async function receive(
  rooms: UploadRooms,
  order: UploadOrder,
  job: JobPublisher,
  writer: ObjectWriter,
  indexing: MemberIndexing,
): Promise<Backup> {
  const digest = sha256Digest();
  let received = 0;
  const report = (phase: 'receiving' | 'storing' | 'verifying', message: string) =>
    job.publish({
      phase,
      current: received,
      total: Math.max(order.total, received),
      stored: writer.bytesWritten,
      message,
    });

  async function* metered(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const piece of fromSender(order.content)) {
        received += piece.length;
        if (received > order.max_bytes) throw new FileTooLarge(order.max_bytes);
        if (!job.alive()) throw new JobSuperseded(order.job_id);
        digest.update(piece);
        await indexing.give(piece);
        job.publish({
          phase: 'receiving',
          current: received,
          total: order.total,
          stored: writer.bytesWritten,
          message: `Receiving ${order.filename}`,
        });
        yield piece;
      }
    } finally {
      await indexing.end();
    }
  }

  const { pieces, compressed } = await lookAhead(metered());
  const plain = order.compression === 'none' || (order.compression === 'auto' && compressed);
  let frames: readonly SeekEntry[] = [];
  const encode = seekableEncode({
    engine: rooms.engine,
    level: order.level,
    onFrames: (made) => {
      frames = made;
    },
  });
  const storedDigest: Sha256Digest | null = plain ? null : sha256Digest();
  for await (const piece of plain ? pieces : encode(pieces)) {
    storedDigest?.update(piece);
    await writer.write(piece);
  }
  if (order.exact && received !== order.total) throw new UploadInterrupted();
  report('verifying', `Checking ${order.filename}`);
  const expected = await order.ending();
  const checksum = hex(digest.digest());
  if (expected !== undefined && expected !== checksum) throw new ChecksumMismatch(checksum);
  report('storing', `Storing ${order.filename}`);
  await writer.close();
  const sizes = { storedBytes: writer.bytesWritten, contentBytes: received };
  const outer = plain ? null : { codec: 'zstd' as const, points: seekPoints(frames, sizes) };
  const archive = await indexing.write(outer, (open) => job.noteOpen(open));
  return {
    backup_id: order.backup_id,
    job_id: order.job_id,
    filename: order.filename,
    content_type: order.content_type,
    file_size: received,
    checksum,
    stored_size: writer.bytesWritten,
    stored_checksum: storedDigest ? hex(storedDigest.digest()) : checksum,
    compression: plain
      ? { codec: 'none' }
      : { codec: 'zstd', level: order.level, engine: rooms.engine.name, frames: frames.length },
    archive,
    created_at: new Date().toISOString(),
    verified_at: null,
    damage: null,
  };
}

/** The receipt, then the row: a row never names what is not there. */
async function commit(rooms: UploadRooms, backup: Backup, job: JobPublisher): Promise<void> {
  if (!job.alive()) throw new JobSuperseded(backup.job_id);
  await rooms.store.put(receiptKey(backup.backup_id), utf8(JSON.stringify(receiptOf(backup))));
  await insertBackup(rooms.catalogue, backup);
}

/**
 * After a failure nothing is left. Where that cannot be done now (the storage is away), the job is not told its end:
 * its alarm misses the heartbeat and takes back the rest.
 */
async function takeBack(
  rooms: UploadRooms,
  order: UploadOrder,
  job: JobPublisher,
  written: readonly { abort(): Promise<void> }[],
  startedAt: string,
  error: unknown,
): Promise<void> {
  const { code, message } =
    error instanceof VaultError
      ? error
      : { code: 'internal-error' as const, message: 'The upload failed. Send it again.' };
  try {
    for (const each of written) await each.abort();
    await deleteBackup(rooms.catalogue, order.backup_id);
    await rooms.store.removeAll(backupPrefix(order.backup_id));
  } catch (cause) {
    console.error(
      JSON.stringify({
        level: 'error',
        event: 'cleanup-left-to-alarm',
        backup_id: order.backup_id,
        cause: String(cause),
      }),
    );
    job.abandon();
    return;
  }
  await job.finish({ phase: 'failed', code, detail: message, message: `Upload of ${order.filename} failed` });
  await noteJob(rooms, order, startedAt, 'failed', message, code);
}

/** The job's row is for exports; the job itself is the truth, so a failure here changes nothing. */
async function noteJob(
  rooms: UploadRooms,
  order: UploadOrder,
  started_at: string,
  phase: 'done' | 'failed',
  message: string,
  code: string | null,
): Promise<void> {
  const { job_id, backup_id, filename } = order;
  await recordJob(rooms.catalogue, {
    job_id,
    backup_id,
    filename,
    phase,
    message,
    code,
    started_at,
    ended_at: new Date().toISOString(),
  }).catch((cause: unknown) =>
    console.error(JSON.stringify({ level: 'error', event: 'job-row-not-written', job_id, cause: String(cause) })),
  );
}

/** What breaks while we read is the sender's connection, unless a parser of ours said otherwise. */
async function* fromSender(content: Pieces): AsyncGenerator<Uint8Array, void, undefined> {
  const pieces = content[Symbol.asyncIterator]();
  try {
    while (true) {
      const { done, value } = await nextFromSender(pieces);
      if (done) return;
      yield value;
    }
  } finally {
    await pieces.return?.();
  }
}

async function nextFromSender(pieces: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array>> {
  try {
    return await pieces.next();
  } catch (error) {
    throw error instanceof VaultError ? error : new UploadInterrupted({ cause: error });
  }
}

/** Pulls the first piece to see what the content is, and gives it back in front of the others. */
async function lookAhead(
  source: AsyncGenerator<Uint8Array, void, undefined>,
): Promise<{ pieces: Pieces; compressed: boolean }> {
  const first = await source.next();
  async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      if (!first.done) yield first.value;
      yield* source;
    } finally {
      await source.return();
    }
  }
  return { pieces: pieces(), compressed: !first.done && isCompressedAlready(first.value) };
}
