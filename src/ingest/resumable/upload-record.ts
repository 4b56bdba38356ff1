/**
 * An upload that comes in pieces, as a state machine that knows no protocol, no storage and no clock of its own:
 *
 *     receiving ── all of it is here ──> storing ── the object is whole ──> verifying ── receipt and row ──> done
 *         └─────────────┴── terminated, expired, refused, damaged: failed ──────┘
 *
 * Transitions take a record and give a new one, or throw what refuses them. The session (upload-session.ts) stores it.
 */
import type { Compression } from '../../catalogue/backups.ts';
import { type ContentCoding, mostSentBytes } from '../../codec/content-encoding.ts';
import type { ExpectedDigest } from '../../codec/digest.ts';
import { type ErrorCode, VaultError } from '../../shared/errors.ts';
import { SESSION_KEPT_MS } from '../../shared/limits.ts';
import type { OpenUpload } from '../../store/object-store.ts';
import type { Expiry } from '../expiry.ts';

/** What was ordered when the upload was created; it never changes. Times are milliseconds since the epoch. */
export interface SessionOrder {
  /** Also the name of the upload itself. */
  readonly backup_id: string;
  readonly job_id: string;
  readonly name: string;
  /** The last segment of the name. */
  readonly filename: string;
  readonly content_type: string;
  readonly level: number;
  readonly compression: 'auto' | 'zstd' | 'none';
  /**
   * How the bytes encode the file; none: they are the file. An encoding is stored as it was sent and decoded at the end,
   * because no state of a decoder can be kept between two requests (docs/decisions/0019-content-encoding.md).
   */
  readonly codings: readonly ContentCoding[];
  /** Whether zstd frames of the sender that have the stored form are stored as they came. */
  readonly keep_frames: boolean;
  /** age recipients that the sender named, or null; then those that are meant where the content is no age file already. */
  readonly recipients: readonly string[] | null;
  readonly default_recipients: readonly string[];
  /** The checksum that the sender expects of the whole content. */
  readonly sha256: string | null;
  /** Digests that the sender expects of all bytes as it sends them. */
  readonly sent_digests: readonly ExpectedDigest[];
  /** Whether a file of no bytes is meant. */
  readonly allow_empty: boolean;
  /** Whether the file must be an archive that can be read to its end. */
  readonly require_archive: boolean;
  /** When the backup expires; null: it does not. */
  readonly expiry: Expiry | null;
  /** The cap of this upload, in bytes of content. */
  readonly max_bytes: number;
  /** What the sender's protocol wants back as it came. */
  readonly client_metadata: string | null;
  /** SHA-256 (hex) of the upload's own secret, and of the token that created it, if one did. */
  readonly secret_hash: string;
  readonly token_hash: string | null;
  /** Of that token. */
  readonly token_id: string | null;
  readonly created_at: number;
  /** When the upload itself expires. */
  readonly expires_at: number;
}

/** What is durable of the content, and where a writer goes on. */
export interface Written {
  /** Bytes of content, from its start on. */
  readonly offset: number;
  /** CRC-32 of them. */
  readonly crc32: number;
  /** Null while too few bytes have come to tell. */
  readonly compressed: boolean | null;
  /** Whole frames that were made. */
  readonly frames: number;
  /** Bytes of the object to be, in parts or kept. */
  readonly encoded_bytes: number;
  /** Parts that the storage has taken, from the first on. */
  readonly parts: number;
  /** Of its frames; null while all of them have the level that was asked for. */
  readonly lowest_level: number | null;
}

export const NOTHING_WRITTEN: Written = {
  offset: 0,
  crc32: 0,
  compressed: null,
  frames: 0,
  encoded_bytes: 0,
  parts: 0,
  lowest_level: null,
};

export type SessionPhase = 'receiving' | 'storing' | 'verifying' | 'done' | 'failed';

/** The object that was made of the content. */
export interface StoredObject {
  readonly bytes: number;
  readonly compression: Compression;
  /** To be completed into the object; null where it was put at once. */
  readonly open: OpenUpload | null;
  /** ISO 8601. */
  readonly stored_at: string;
}

export interface UploadFailure {
  readonly code: ErrorCode;
  readonly detail: string;
}

export interface UploadRecord extends SessionOrder {
  readonly phase: SessionPhase;
  /** Bytes that there will be; null while the sender has not said. */
  readonly length: number | null;
  readonly written: Written;
  /** From `verifying` on. */
  readonly stored: StoredObject | null;
  /** With `failed`. */
  readonly failure: UploadFailure | null;
  readonly ended_at: number | null;
  /** Whether its end was told to everybody, and nothing is left of it but this record. */
  readonly settled: boolean;
}

/** What comes with a piece. */
export interface PieceOrder {
  /** Where the sender believes to be. */
  readonly offset: number;
  /** Bytes of the piece, where they are known before. */
  readonly bytes: number | null;
  /** Bytes of the whole content, where the sender says them now. */
  readonly length: number | null;
}

export class NoSuchUpload extends VaultError {
  constructor() {
    super('not-found', 'There is no such upload. Create it anew.');
  }
}

/** The sender is not where the vault is. */
export class OffsetMismatch extends VaultError {
  readonly offset: number;

  constructor(offset: number, given: number) {
    super('offset-mismatch', `The upload stands at byte ${offset}, not at ${given}. Go on there.`, {
      facts: { expected_offset: offset, provided_offset: given },
    });
    this.offset = offset;
  }
}

export class LengthDiffers extends VaultError {
  constructor(length: number) {
    super('invalid-upload-header', `The length of this upload is ${length} and cannot change.`);
  }
}

/** More than was announced, or than the vault takes. */
export class UploadTooLong extends VaultError {
  constructor(mostBytes: number) {
    super('file-too-large', `This upload takes ${mostBytes} bytes and no more.`);
  }
}

/** Ends that a sender did not cause: they are what its next request is answered with. */
const GONE_CODES = ['upload-gone', 'upload-expired', 'upload-cancelled', 'job-superseded'] as const;
type GoneCode = (typeof GONE_CODES)[number];

export class UploadGone extends VaultError {
  constructor(code: GoneCode, detail: string) {
    super(code, detail);
  }
}

/** The upload came to no good end, and its sender asks again. */
export class UploadFailed extends VaultError {
  constructor({ code, detail }: UploadFailure) {
    super('upload-failed', detail, { facts: { reason: code } });
  }
}

export function newUpload(order: SessionOrder, length: number | null): UploadRecord {
  checkLength(length, mostBytesOf(order));
  return {
    ...order,
    phase: length === 0 ? 'storing' : 'receiving',
    length,
    written: NOTHING_WRITTEN,
    stored: null,
    failure: null,
    ended_at: null,
    settled: false,
  };
}

/** The record that answers questions. Throws where there is nothing more to be said of the upload but why. */
export function living(record: UploadRecord): UploadRecord {
  if (record.failure === null) return record;
  const { code, detail } = record.failure;
  const gone = GONE_CODES.find((one) => one === code);
  throw gone ? new UploadGone(gone, detail) : new UploadFailed(record.failure);
}

/**
 * Admits a piece; the record then knows the length that came with it. Throws {@link OffsetMismatch},
 * {@link LengthDiffers}, {@link UploadTooLong}, and as {@link living}. A piece of nothing at the end of a whole upload is
 * welcome: it repeats a question whose answer was lost.
 */
export function admitPiece(record: UploadRecord, piece: PieceOrder): UploadRecord {
  const { length, written } = living(record);
  const max_bytes = mostBytesOf(record);
  if (piece.offset !== written.offset) throw new OffsetMismatch(written.offset, piece.offset);
  if (piece.length !== null && length !== null && piece.length !== length) throw new LengthDiffers(length);
  const known = length ?? piece.length;
  if (piece.length !== null) {
    if (piece.length < written.offset) throw new UploadTooLong(piece.length);
    checkLength(piece.length, max_bytes);
  }
  checkFits(written.offset + (piece.bytes ?? 0), known, max_bytes);
  return known === length ? record : { ...record, length: known };
}

/** The most bytes that this upload may send. */
export function mostBytesOf({ max_bytes, codings }: SessionOrder): number {
  return mostSentBytes(max_bytes, codings);
}

/** Throws {@link UploadTooLong} where content would reach beyond what was announced, or beyond the cap. */
export function checkFits(offset: number, length: number | null, maxBytes: number): void {
  const most = length ?? maxBytes;
  if (offset > most) throw new UploadTooLong(most);
}

/** What is durable now; with the last byte the upload goes on by itself. */
export function withWritten(record: UploadRecord, written: Written): UploadRecord {
  const moved = { ...record, written };
  return record.phase === 'receiving' && written.offset === record.length ? { ...moved, phase: 'storing' } : moved;
}

export function withStored(record: UploadRecord, stored: StoredObject): UploadRecord {
  return { ...record, phase: 'verifying', stored };
}

export function finished(record: UploadRecord, now: number): UploadRecord {
  return { ...record, phase: 'done', ended_at: now };
}

export function failed(record: UploadRecord, failure: UploadFailure, now: number): UploadRecord {
  return { ...record, phase: 'failed', failure, ended_at: now };
}

/** A finished upload that its sender wants forgotten; its backup stays, and was told of. */
export function forgotten(record: UploadRecord): UploadRecord {
  return { ...record, failure: { code: 'upload-gone', detail: 'The upload was finished and then removed.' } };
}

/**
 * An upload that was to fail, and whose backup was committed before. A sender that deleted the upload gets the answers of
 * one that deleted it after its end.
 */
export function kept(record: UploadRecord): UploadRecord {
  const done: UploadRecord = { ...record, phase: 'done', failure: null };
  return record.failure?.code === 'upload-gone' ? forgotten(done) : done;
}

/** All bytes are here, and the vault has still to do with them. */
export function isUnfinished(record: UploadRecord): boolean {
  return record.phase === 'storing' || record.phase === 'verifying';
}

/** What is to be done of itself, and when. */
export type Upkeep =
  | { readonly kind: 'finish' | 'settle'; readonly at: 0 }
  | { readonly kind: 'expire' | 'forget'; readonly at: number };

export function upkeepOf(record: UploadRecord): Upkeep {
  if (isUnfinished(record)) return { kind: 'finish', at: 0 };
  if (record.ended_at === null) return { kind: 'expire', at: record.expires_at };
  return record.settled ? { kind: 'forget', at: record.ended_at + SESSION_KEPT_MS } : { kind: 'settle', at: 0 };
}

function checkLength(length: number | null, maxBytes: number): void {
  if (length !== null && length > maxBytes) throw new UploadTooLong(maxBytes);
}
