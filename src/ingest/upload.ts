import type { ArchiveSummary, Backup, Encryption } from '../catalogue/backups.ts';
import { beginsWithAgeHeader } from '../codec/age-header.ts';
import { type ContentCoding, decodeContent, mostSentBytes } from '../codec/content-encoding.ts';
import { CompressionPace, checkPace, lowestLevel } from '../codec/cpu-pace.ts';
import { sha256Digest } from '../codec/digest.ts';
import { type Pipeline, pipeline } from '../codec/pipeline.ts';
import { KeptFrames } from '../codec/seekable/kept-frames.ts';
import type { SeekEntry } from '../codec/seekable/seek-table.ts';
import { seekPoints } from '../codec/seekable/seek-table-points.ts';
import { isAge, isCompressedAlready, isEnoughToSniff } from '../codec/sniff.ts';
import { compress, digest, encrypt, meter, rateLimit } from '../codec/stages.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { JobCancelled, type JobPublisher, type JobRooms, JobRunning, JobSuperseded } from '../progress/publisher.ts';
import { hex } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import type { IsolateMemory } from '../shared/isolate-memory.ts';
import { partBytesFor } from '../shared/limits.ts';
import { type Pieces, peek, retold, untilAborted } from '../shared/streams.ts';
import { takingTurns } from '../shared/turns.ts';
import { UploadMemory } from '../shared/upload-memory.ts';
import { asideObjects } from '../store/aside-objects.ts';
import { dataKey } from '../store/object-keys.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { commitBackup, rollBack } from './commit-backup.ts';
import { type Expiry, expiresAt } from './expiry.ts';
import { type IndexBounds, MemberIndexing, membersInto } from './member-indexing.ts';

export interface UploadRooms {
  readonly store: ObjectStore;
  readonly catalogue: D1Database;
  readonly jobs: JobRooms;
  readonly engine: ZstdEngine;
  readonly memory: IsolateMemory;
  /** Recipients of uploads that name none themselves; empty: those are not encrypted. */
  readonly defaultRecipients: readonly string[];
  /** What one request may compute. */
  readonly cpuLimitMs: number;
  /** Bytes a second that one upload may send; null: as fast as it comes. */
  readonly uploadRate: number | null;
  /** Bounds of the members' index; tests have smaller ones. */
  readonly indexBounds?: IndexBounds;
}

export interface UploadOrder {
  readonly backup_id: string;
  readonly job_id: string;
  /** Of the token that sends it; null for a link. */
  readonly token_id: string | null;
  readonly name: string;
  /** The last segment of the name. */
  readonly filename: string;
  readonly content_type: string;
  readonly level: number;
  readonly compression: 'auto' | 'zstd' | 'none';
  /** How `content` encodes the file: the codings in the order in which they were applied; none: it is the file. */
  readonly codings: readonly ContentCoding[];
  /** Whether zstd frames of the sender that have the stored form are stored as they came. */
  readonly keep_frames: boolean;
  /** age recipients that the sender named; null where it named none. */
  readonly recipients: readonly string[] | null;
  /** Whether a file of no bytes is meant; else it is a mistake of its sender, e.g. a command in front of a pipe that failed. */
  readonly allow_empty: boolean;
  /** Whether the file must be an archive that can be read to its end. */
  readonly require_archive: boolean;
  /** When the backup expires; null: it does not. */
  readonly expiry: Expiry | null;
  /** The cap of this upload, in bytes of content. */
  readonly max_bytes: number;
  /** Bytes of `content` that the sender announced; 0 where unknown. Only what is shown rests on it, but for `exact`. */
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

/** The sender required a whole archive. */
export class BrokenArchive extends VaultError {
  constructor(archive: ArchiveSummary | null) {
    const stopped = archive?.stopped;
    super(
      'broken-archive',
      stopped
        ? `The archive cannot be read beyond byte ${stopped.offset}: ${stopped.reason}. Nothing was kept.`
        : 'The file is no archive that the vault can read, or it is encrypted. Nothing was kept.',
    );
  }
}

/** Throws {@link BrokenArchive} where a whole archive is required, and this is none. */
export function checkArchive(archive: ArchiveSummary | null, { require_archive }: { require_archive: boolean }): void {
  if (require_archive && (archive === null || archive.stopped !== null)) throw new BrokenArchive(archive);
}

export class EmptyUpload extends VaultError {
  constructor() {
    super('empty-upload', 'The file is empty. If that is meant, send it with the option allow_empty=true.');
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
 * THE way in, top to bottom: body → (decode its encoding) → content → meter (cap) → digest → members of an archive → zstd
 * frames → age → equal parts → R2; then the members' index, the receipt, the row, the job's end. Resolves with the receipt when everything is stored;
 * rejects after everything has been taken back.
 */
export async function upload(rooms: UploadRooms, order: UploadOrder): Promise<Backup> {
  const { job_id, backup_id, filename, token_id } = order;
  const begun = await rooms.jobs.begin({
    job_id,
    backup_id,
    filename,
    token_id,
    total: order.total,
    message: `Waiting to receive ${order.filename}`,
  });
  if (begun.kind === 'running') throw new JobRunning(job_id, begun.holder);
  const job = rooms.jobs.publisher(job_id, backup_id);
  const memory = new UploadMemory(rooms.memory, backup_id, asideObjects(rooms.store, backup_id));
  const partBytes = partBytesFor(order.max_bytes);
  const writer = new ObjectWriter(rooms.store, memory, dataKey(backup_id), partBytes, (open) => job.noteOpen(open));
  const indexing = new MemberIndexing(rooms.store, memory, rooms.engine, backup_id, rooms.indexBounds);
  let backup: Backup | null = null;
  try {
    if (order.exact && order.total > mostSentBytes(order.max_bytes, order.codings))
      throw new FileTooLarge(order.max_bytes);
    try {
      backup = await receive(rooms, order, job, memory, writer, indexing);
    } finally {
      // Before a rollback: what is being put aside must not arrive after it.
      await memory.close();
    }
    if (!job.alive()) throw new JobSuperseded(job_id);
    // From here on it is too late to cancel.
    job.signal.throwIfAborted();
    await commitBackup(rooms, backup);
  } catch (error) {
    const outcome = await takeBack(rooms, order, job, [writer, indexing], error);
    // Kept: the commit succeeded, and only its answer was lost.
    if (outcome !== 'kept' || !backup) throw error;
  }
  // From the commit on nothing fails: an alarm that took the job over in between found the backup, and reported it.
  const { file_size, stored_size: stored } = backup;
  const message = `Stored ${order.filename}`;
  await job.finish({ phase: 'done', backup_id, current: file_size, total: file_size, stored, message });
  return backup;
}

/** What the flow of bytes needs of its job. */
export type ReceivingJob = Pick<JobPublisher, 'publish' | 'noteOpen' | 'alive' | 'signal'>;

/** Body in, data object out. Resolves with the receipt of what is now stored; the caller aborts `writer` and `indexing` after an error. */
export async function receive(
  rooms: Omit<UploadRooms, 'catalogue' | 'jobs' | 'memory'>,
  order: UploadOrder,
  job: ReceivingJob,
  memory: UploadMemory,
  writer: ObjectWriter,
  indexing: MemberIndexing,
): Promise<Backup> {
  let sent = 0;
  let received = 0;
  const report = (phase: 'receiving' | 'storing' | 'verifying', message: string, current: number, total: number) =>
    job.publish({ phase, current, total, stored: writer.bytesWritten, message });
  const mostSent = mostSentBytes(order.max_bytes, order.codings);
  const onSent = (_: Uint8Array, bytes: number) => {
    sent = bytes;
    if (bytes > mostSent) throw new FileTooLarge(order.max_bytes);
    if (!job.alive()) throw new JobSuperseded(order.job_id);
    report('receiving', `Receiving ${order.filename}`, bytes, order.total);
  };
  const turn = takingTurns();
  const onContent = (piece: Uint8Array, bytes: number) => {
    received = bytes;
    if (bytes > order.max_bytes) throw new FileTooLarge(order.max_bytes);
    // A few bytes of an encoding may be much content, and decoding waits for nothing.
    return order.codings.length > 0 ? turn(piece.length) : undefined;
  };

  const body = pipeline(untilAborted(fromSender(order.content, memory), job.signal));
  const limited = rooms.uploadRate === null ? body : body.through(rateLimit(rooms.uploadRate));
  const { decoded, keptFrames } = decodedBody(rooms, memory, order, limited.through(meter(onSent)));
  const isEnough = keptFrames ? (first: Uint8Array) => beginsWithAgeHeader(first) !== null : isEnoughToSniff;
  const { first, pieces } = await peek(decoded, isEnough);
  if (first.length === 0 && !order.allow_empty && !(order.exact && order.total > sent)) throw new EmptyUpload();
  const form = storedForm(rooms, order, first, keptFrames);
  const contentDigest = sha256Digest();
  const storedDigest = sha256Digest();
  let frames: readonly SeekEntry[] = [];
  const onFrames = (made: readonly SeekEntry[]) => {
    frames = made;
  };

  const metered = pipeline(pieces).through(meter(onContent)).through(digest(contentDigest));
  const content = form.indexed ? metered.through(membersInto(indexing)) : metered;
  const { engine, cpuLimitMs: limitMs } = rooms;
  const { level } = order;
  // The length of an encoding says little about that of the file.
  const announced = order.codings.length > 0 ? 0 : order.total;
  if (form.compressed) checkPace({ engine, level, limitMs }, announced);
  const pace = new CompressionPace({ engine, level, limitMs, mostBytes: announced || order.max_bytes });
  const compressed: Pipeline<[] | ['zstd']> = form.compressed
    ? content.through(
        compress({ engine, level, pace, memory, onFrames, ...(form.keeps && { keptFrame: form.keeps.take }) }),
      )
    : content;
  const encrypted = form.recipients.length > 0 ? compressed.through(encrypt(form.recipients)) : compressed;
  const asItCame = !form.compressed && form.recipients.length === 0;
  for await (const piece of asItCame ? encrypted : encrypted.through(digest(storedDigest))) await writer.write(piece);

  if (order.exact && sent !== order.total) throw new UploadInterrupted();
  report('verifying', `Checking ${order.filename}`, received, received);
  const expected = await order.ending();
  const checksum = hex(contentDigest.digest());
  if (expected !== undefined && expected !== checksum) throw new ChecksumMismatch(checksum);
  report('storing', `Storing ${order.filename}`, received, received);
  await writer.close();
  const sizes = { storedBytes: writer.bytesWritten, contentBytes: received };
  const outer = () => (form.compressed ? { codec: 'zstd' as const, points: seekPoints(frames, sizes) } : null);
  const archive = form.indexed ? await indexing.write(outer(), (open) => job.noteOpen(open)) : null;
  checkArchive(archive, order);
  const created_at = new Date().toISOString();
  return {
    backup_id: order.backup_id,
    job_id: order.job_id,
    name: order.name,
    filename: order.filename,
    content_type: order.content_type,
    file_size: received,
    checksum,
    stored_size: writer.bytesWritten,
    stored_checksum: asItCame ? checksum : hex(storedDigest.digest()),
    compression: !form.compressed
      ? { codec: 'none' }
      : (form.keeps?.count ?? 0) > 0
        ? { codec: 'zstd', level: null, engine: 'client', frames: frames.length }
        : { codec: 'zstd', level, ...lowestLevel(pace.lowest, level), engine: engine.name, frames: frames.length },
    encryption: form.encryption,
    archive,
    created_at,
    created_by: order.token_id,
    expires_at: expiresAt(order.expiry, created_at),
    verified_at: null,
    damage: null,
  };
}

/** The file in a body. `keptFrames`: with them the frames of the sender may be stored as they came. */
function decodedBody(
  { engine }: Pick<UploadRooms, 'engine'>,
  memory: UploadMemory,
  { codings, keep_frames, max_bytes }: UploadOrder,
  body: Pieces,
) {
  const keptFrames = keep_frames && codings[0] === 'zstd' ? new KeptFrames() : null;
  const hold = (bytes: number) => memory.window(bytes);
  const options = { engine, maxBytes: max_bytes, hold, ...(keptFrames && { onWholeFrame: keptFrames.note }) };
  return { decoded: codings.length > 0 ? decodeContent(body, codings, options) : body, keptFrames };
}

interface StoredForm {
  readonly compressed: boolean;
  /** Where frames of the sender are stored as they came. */
  readonly keeps: KeptFrames | null;
  /** Empty: not encrypted here. */
  readonly recipients: readonly string[];
  /** Whether members are listed: an index in clear would tell what the encryption hides. */
  readonly indexed: boolean;
  readonly encryption: Encryption | null;
}

/** What becomes of the content, told from its first bytes and from what was ordered. */
function storedForm(
  { defaultRecipients }: Pick<UploadRooms, 'defaultRecipients'>,
  order: UploadOrder,
  first: Uint8Array,
  keptFrames: KeptFrames | null,
): StoredForm {
  const came = isAge(first);
  const recipients = order.recipients ?? (came ? [] : defaultRecipients);
  const byVault = recipients.length > 0;
  const keeps = byVault ? null : keptFrames;
  const isWorthIt = order.compression === 'zstd' || (order.compression === 'auto' && !isCompressedAlready(first));
  return {
    compressed: isWorthIt || (keeps?.holds(first) ?? false),
    keeps,
    recipients,
    indexed: !byVault && !came,
    encryption: byVault || came ? { format: 'age', by: byVault ? 'vault' : 'sender', recipients } : null,
  };
}

/**
 * After a failure nothing is left, unless the backup was committed. Where that cannot be done or decided now (`unknown`:
 * the storage or the catalogue does not answer), the job does not end: its alarm misses the heartbeat and rolls back.
 */
async function takeBack(
  rooms: UploadRooms,
  order: UploadOrder,
  job: JobPublisher,
  written: readonly { abort(): Promise<void> }[],
  error: unknown,
): Promise<'kept' | 'removed' | 'unknown'> {
  const { code, message } =
    error instanceof VaultError
      ? error
      : { code: 'internal-error' as const, message: 'The upload failed. Send it again.' };
  try {
    for (const each of written) await each.abort();
    if ((await rollBack(rooms, order.backup_id)) === 'kept') return 'kept';
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
    return 'unknown';
  }
  await job.finish(
    error instanceof JobCancelled
      ? { phase: 'cancelled', message: `Upload of ${order.filename} was cancelled` }
      : { phase: 'failed', code, detail: message, message: `Upload of ${order.filename} failed` },
  );
  return 'removed';
}

/** What breaks while we read is the sender's connection, unless a parser of ours said otherwise. */
function fromSender(content: Pieces, memory: UploadMemory): Pieces {
  return retold(whileThereIsRoom(content, memory), (error) =>
    error instanceof VaultError ? error : new UploadInterrupted({ cause: error }),
  );
}

/** While the isolate is full, what the sender has waits in its connection. */
async function* whileThereIsRoom(content: Pieces, memory: UploadMemory): AsyncGenerator<Uint8Array, void, undefined> {
  await memory.room();
  for await (const piece of content) {
    yield piece;
    const full = memory.room();
    if (full) await full;
  }
}
