/** How the bytes of a backup are stored. */
export type Compression =
  | {
      readonly codec: 'zstd';
      /** Null with the engine `client`: the vault does not know at which level a sender compressed. */
      readonly level: number | null;
      /** Of some frames, where the time that one request may compute did not suffice for `level`. */
      readonly lowest_level?: number;
      /** What made the frames; `client`: some or all came from the sender, and were stored as they came. */
      readonly engine: 'native' | 'wasm' | 'client';
      readonly frames: number;
    }
  | { readonly codec: 'none' };

/** Of a backup whose bytes nobody reads without an identity (age-encryption.org/v1). */
export interface Encryption {
  readonly format: 'age';
  /** Who encrypted: the vault, around what it stores, or the sender, in which case the content itself is an age file. */
  readonly by: 'vault' | 'sender';
  /** Those the vault encrypted for; the format does not name those of a file that came encrypted. */
  readonly recipients: readonly string[];
}

/** What was found in a backup that is an archive. */
export interface ArchiveSummary {
  readonly format: 'tar';
  readonly members: number;
  /** Where (in bytes of the decoded archive) and why the reading of members ended before the archive did. */
  readonly stopped: { readonly offset: number; readonly reason: string } | null;
}

/** What a verification found broken first. */
export interface Damage {
  readonly found_at: string;
  readonly reason: string;
  /** Counts from 0; null where the damage is in no frame, or where there are none. */
  readonly frame: number | null;
  /** In bytes of the stored object; null where it has no one place. */
  readonly offset: number | null;
}

/**
 * What the last verification found. One of the two at most is set: a backup that is known to be damaged must not show
 * a time at which it was whole, which somebody would read as "good".
 */
export interface Verification {
  readonly verified_at: string | null;
  readonly damage: Damage | null;
}

/**
 * What the vault knows of a backup from its upload on, and writes beside its data: sizes in bytes, checksums in
 * lower-case hex, the time in ISO 8601 (UTC).
 */
export interface BackupReceipt {
  readonly backup_id: string;
  readonly job_id: string;
  /** A path. Backups of one name are its versions. */
  readonly name: string;
  /** The last segment of the name. */
  readonly filename: string;
  readonly content_type: string;
  readonly file_size: number;
  readonly checksum: string;
  readonly stored_size: number;
  readonly stored_checksum: string;
  readonly compression: Compression;
  readonly encryption: Encryption | null;
  /** Null where the backup is no archive, or was stored before archives were looked into. */
  readonly archive: ArchiveSummary | null;
  readonly created_at: string;
  /** The id of the token that uploaded it; null where a link did, or where it was stored before receipts had this. */
  readonly created_by: string | null;
  /** From then on there is no such backup any more; null: it does not expire. */
  readonly expires_at: string | null;
}

/** What the catalogue knows of a backup. */
export interface Backup extends BackupReceipt, Verification {}

/**
 * A row of `backups`: the record with its compression spread over columns that are null where they do not apply, and
 * with `encryption`, `archive` and `damage` as JSON.
 */
export interface BackupRow extends Omit<Backup, 'compression' | 'encryption' | 'archive' | 'damage'> {
  readonly codec: string;
  readonly level: number | null;
  readonly lowest_level: number | null;
  readonly engine: string | null;
  readonly frames: number | null;
  readonly encryption: string | null;
  readonly archive: string | null;
  readonly damage: string | null;
}

/** The columns, in the order in which {@link rowOf} and the statements name them. */
export const BACKUP_COLUMNS =
  'backup_id, job_id, name, filename, content_type, file_size, checksum, stored_size, stored_checksum, ' +
  'codec, level, lowest_level, engine, frames, encryption, archive, created_at, created_by, expires_at, ' +
  'verified_at, damage';

export function backupOf(row: BackupRow): Backup {
  const { codec, level, lowest_level, engine, frames, ...others } = row;
  const { encryption, archive, created_at, created_by, expires_at, verified_at, damage, ...rest } = others;
  return {
    ...rest,
    compression: compressionOf({ codec, level, lowest_level, engine, frames }),
    encryption: parsed<Encryption>(encryption),
    archive: parsed<ArchiveSummary>(archive),
    created_at,
    created_by,
    expires_at,
    verified_at,
    damage: parsed<Damage>(damage),
  };
}

/** The part of the record that lies in the bucket, where nothing is written twice. */
export function receiptOf({ verified_at: _, damage: __, ...receipt }: Backup): BackupReceipt {
  return receipt;
}

/** Of JSON that we wrote. */
function parsed<T>(json: string | null): T | null {
  return json === null ? null : (JSON.parse(json) as T);
}

function jsonText(value: Encryption | ArchiveSummary | Damage | null): string | null {
  return value && JSON.stringify(value);
}

export function rowOf(backup: Backup): BackupRow {
  const { compression, ...rest } = backup;
  const { encryption, archive, damage } = backup;
  const texts = { encryption: jsonText(encryption), archive: jsonText(archive), damage: jsonText(damage) };
  if (compression.codec === 'none')
    return { ...rest, ...texts, codec: 'none', level: null, lowest_level: null, engine: null, frames: null };
  return { ...rest, ...texts, lowest_level: null, ...compression };
}

type CompressionColumns = Pick<BackupRow, 'codec' | 'level' | 'lowest_level' | 'engine' | 'frames'>;

function compressionOf({ codec, level, lowest_level, engine, frames }: CompressionColumns): Compression {
  if (codec === 'zstd' && (engine === 'native' || engine === 'wasm' || engine === 'client') && frames !== null) {
    return { codec, level, ...(lowest_level !== null && { lowest_level }), engine, frames };
  }
  if (codec === 'none') return { codec };
  throw new TypeError(`a row of the catalogue has the unknown codec ${codec}`);
}

/** Rows that go into one statement: a bound value may have 2 MB (D1 limits), a row has under 3 KiB. */
const ROWS_PER_STATEMENT = 500;

const INSERT = `
  INSERT INTO backups (${BACKUP_COLUMNS})
  SELECT value ->> 'backup_id', value ->> 'job_id', value ->> 'name', value ->> 'filename',
         value ->> 'content_type', value ->> 'file_size', value ->> 'checksum', value ->> 'stored_size', value ->> 'stored_checksum',
         value ->> 'codec', value ->> 'level', value ->> 'lowest_level', value ->> 'engine', value ->> 'frames',
         value ->> 'encryption', value ->> 'archive', value ->> 'created_at', value ->> 'created_by',
         value ->> 'expires_at', value ->> 'verified_at', value ->> 'damage'
  FROM json_each(?1)
  WHERE value ->> 'backup_id' NOT IN (SELECT backup_id FROM deleted_backups)`;

const KEEP = `${INSERT} ON CONFLICT (backup_id) DO NOTHING`;

/** A receipt tells nothing of verifications: what is known of them stays. */
const REPLACE = `${INSERT} ON CONFLICT (backup_id) DO UPDATE SET
  job_id = excluded.job_id, name = excluded.name, filename = excluded.filename, content_type = excluded.content_type,
  file_size = excluded.file_size, checksum = excluded.checksum,
  stored_size = excluded.stored_size, stored_checksum = excluded.stored_checksum,
  codec = excluded.codec, level = excluded.level, lowest_level = excluded.lowest_level, engine = excluded.engine, frames = excluded.frames,
  encryption = excluded.encryption, archive = excluded.archive, created_at = excluded.created_at,
  created_by = excluded.created_by, expires_at = excluded.expires_at`;

/**
 * Lists a backup, unless its id was deleted (deleted-backups.ts). Returns whether it is listed. May be called again with
 * the same record after a lost answer: a row that is there already is this one, because its id is drawn once.
 */
export async function insertBackup(db: D1Database, backup: Backup): Promise<boolean> {
  const [, row] = await db.batch([
    db.prepare(KEEP).bind(json([backup])),
    db.prepare('SELECT 1 FROM backups WHERE backup_id = ?1').bind(backup.backup_id),
  ]);
  return row !== undefined && row.results.length > 0;
}

/**
 * Lists backups by their receipts, unless their ids were deleted, replacing what rows of the same ids say but for their
 * verification: for rebuilding from the bucket. One statement for 500. Returns how many rows were written.
 */
export async function upsertBackups(db: D1Database, receipts: readonly BackupReceipt[]): Promise<number> {
  let written = 0;
  const backups = receipts.map((receipt) => ({ ...receipt, verified_at: null, damage: null }));
  for (let at = 0; at < backups.length; at += ROWS_PER_STATEMENT) {
    const { meta } = await db
      .prepare(REPLACE)
      .bind(json(backups.slice(at, at + ROWS_PER_STATEMENT)))
      .run();
    written += meta.changes;
  }
  return written;
}

/** Notes what a verification found. Whether there (still) was such a backup. */
export async function recordVerification(
  db: D1Database,
  backupId: string,
  { verified_at, damage }: Verification,
): Promise<boolean> {
  const { meta } = await db
    .prepare('UPDATE backups SET verified_at = ?2, damage = ?3 WHERE backup_id = ?1')
    .bind(backupId, verified_at, jsonText(damage))
    .run();
  return meta.changes > 0;
}

function json(backups: readonly Backup[]): string {
  return JSON.stringify(backups.map(rowOf));
}

/** The backup of that id; null where there is none, or where it has expired. */
export async function getBackup(db: D1Database, backupId: string, now = Date.now()): Promise<Backup | null> {
  const row = await db
    .prepare(`SELECT ${BACKUP_COLUMNS} FROM backups WHERE backup_id = ?1 AND (expires_at IS NULL OR expires_at > ?2)`)
    .bind(backupId, new Date(now).toISOString())
    .first<BackupRow>();
  return row && backupOf(row);
}

/** The newest version of a name that has not expired and is not known to be damaged; null where there is none. */
export async function getLatest(db: D1Database, name: string, now = Date.now()): Promise<Backup | null> {
  const row = await db
    .prepare(
      `SELECT ${BACKUP_COLUMNS} FROM backups
       WHERE name = ?1 AND damage IS NULL AND (expires_at IS NULL OR expires_at > ?2)
       ORDER BY backup_id DESC LIMIT 1`,
    )
    .bind(name, new Date(now).toISOString())
    .first<BackupRow>();
  return row && backupOf(row);
}

/** Ids of backups that have expired and still have their rows, the longest expired first. */
export async function listExpired(db: D1Database, now: number, limit: number): Promise<string[]> {
  const { results } = await db
    .prepare('SELECT backup_id FROM backups WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2')
    .bind(new Date(now).toISOString(), limit)
    .all<{ backup_id: string }>();
  return results.map(({ backup_id }) => backup_id);
}

/** Which of these ids have a row, also one that has expired. */
export async function listedAmong(db: D1Database, backupIds: readonly string[]): Promise<Set<string>> {
  const { results } = await db
    .prepare('SELECT backup_id FROM backups WHERE backup_id IN (SELECT value FROM json_each(?1))')
    .bind(JSON.stringify(backupIds))
    .all<{ backup_id: string }>();
  return new Set(results.map(({ backup_id }) => backup_id));
}
