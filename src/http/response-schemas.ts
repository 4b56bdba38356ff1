import { z } from '@hono/zod-openapi';
import { LISTED_ORPHANS } from '../shared/limits.ts';
import { bytes, jobId, phase, sha256, task, time, ulid } from './schema-parts.ts';

const nextCursor = z.string().nullable().openapi({ description: 'Continues the list; null: this is the last page' });

const RefusedRowSchema = z
  .object({
    index: bytes.openapi({ description: 'The index of the row in the document, from 0' }),
    offset: bytes.openapi({ description: 'The offset of its first byte in the document' }),
    reason: z.string().openapi({ description: 'The error of the database' }),
  })
  .openapi('RefusedRow', { description: 'A row of an import that the table rejected' });

const DamageSchema = z
  .object({
    found_at: time.openapi({ description: 'When the verification found it' }),
    reason: z.string().openapi({ description: 'What the verification found' }),
    frame: bytes
      .nullable()
      .openapi({ description: 'The first broken frame, from 0; null if the damage is outside the frames' }),
    offset: bytes.nullable().openapi({
      description: 'The offset of the damage in the stored object; null if it is unknown',
    }),
  })
  .openapi('Damage');

export const ProblemSchema = z
  .object({
    type: z.string().openapi({ description: 'The address of the code in this documentation' }),
    title: z.string().openapi({ description: 'The meaning of the code' }),
    status: z.number().int().openapi({ description: 'The HTTP status' }),
    detail: z.string().openapi({ description: 'What is wrong, and what to do' }),
    code: z.string().openapi({ description: 'A stable word that programs switch on', example: 'file-too-large' }),
    request_id: z.string().openapi({ description: 'The value of X-Request-Id. The log of the vault has it too' }),
    offset: bytes
      .optional()
      .openapi({ description: 'The offset of the first wrong byte, or of the value that is too large' }),
    read: bytes.optional().openapi({ description: 'Rows that the import read before it stopped' }),
    written: bytes.optional().openapi({ description: 'Rows that it wrote; they stay in the table' }),
    refused: z.array(RefusedRowSchema).optional().openapi({ description: 'Rows that the table rejected' }),
    reason: z.string().optional().openapi({ description: 'The code of the error that ended the upload' }),
    expected_offset: bytes.optional().openapi({ description: 'The offset of the upload' }),
    provided_offset: bytes.optional().openapi({ description: 'The offset in the request' }),
    job_id: jobId.optional(),
    dry_run: z.boolean().optional(),
    run_id: z.string().optional().openapi({ description: 'With `job-running`: the run that holds the job' }),
    task: z.string().optional(),
    backup_id: z.string().nullable().optional(),
    token_id: z.string().nullable().optional(),
    started_at: z.string().optional(),
    idle_since: z.string().nullable().optional(),
    ok: z.boolean().optional().openapi({ description: 'false: a verification found damage; its other fields follow' }),
    verified_at: z.string().nullable().optional(),
    damage: DamageSchema.nullable().optional(),
    frames_checked: bytes.optional(),
    broken_frames: bytes.optional(),
    retry_after_seconds: z.number().optional().openapi({ description: 'The same as the header Retry-After' }),
  })
  .openapi('Problem', { description: 'An error (RFC 9457). The fields after `request_id` depend on the code' });

export const CompressionSchema = z
  .union([
    z.object({
      codec: z.literal('zstd'),
      level: z
        .number()
        .int()
        .nullable()
        .openapi({ description: 'The compression level; null for the engine `client`' }),
      lowest_level: z.number().int().optional().openapi({
        description:
          'The level of the fastest frames, if the CPU time of a request (CPU_LIMIT) was too short for `level`',
      }),
      engine: z.enum(['native', 'wasm', 'client']).openapi({
        description:
          'The zstd library that compressed it; `client`: frames of the sender (Content-Encoding: zstd), stored as they came',
      }),
      frames: z.number().int().openapi({ description: 'zstd frames, each of at most 4 MiB of content' }),
    }),
    z.object({ codec: z.literal('none') }),
  ])
  .openapi('Compression');

const EncryptionSchema = z
  .object({
    format: z.literal('age'),
    by: z.enum(['vault', 'sender']).openapi({ description: '`sender`: the file was an age file when it was uploaded' }),
    recipients: z.array(z.string()).readonly().openapi({
      description:
        'The age recipients, if the vault encrypted the file; else empty, because an age file does not name them',
    }),
  })
  .openapi('Encryption');

const ArchiveSchema = z
  .object({
    format: z.literal('tar'),
    members: z.number().int().openapi({
      description: 'Entries of the archive: files, directories, links and others. A repeated path counts twice',
    }),
    stopped: z.object({ offset: bytes, reason: z.string() }).nullable().openapi({
      description:
        'The offset in the decoded archive at which it is broken, and why. Later members are not listed. null: it is whole',
    }),
  })
  .openapi('Archive');

export const BackupSchema = z
  .object({
    backup_id: ulid,
    job_id: jobId,
    name: z.string().openapi({ description: 'A path. Backups of one name are its versions' }),
    filename: z.string().openapi({ description: 'The last segment of the name' }),
    content_type: z.string().openapi({ description: 'The Content-Type of downloads' }),
    file_size: bytes.openapi({ description: 'Bytes of the uploaded file' }),
    checksum: sha256.openapi({ description: 'SHA-256 of the uploaded file, in lower-case hex' }),
    stored_size: bytes.openapi({ description: 'Bytes of the stored object' }),
    compression: CompressionSchema,
    encryption: EncryptionSchema.nullable().openapi({ description: 'null: not encrypted' }),
    archive: ArchiveSchema.nullable().openapi({ description: 'null: the backup is not an archive' }),
    created_at: time.openapi({ description: 'When the backup was stored' }),
    created_by: z.string().nullable().openapi({
      description: 'The id of the token that uploaded it: `admin` is ADMIN_TOKEN; null where a signed link did',
    }),
    expires_at: time.nullable().openapi({ description: 'When the backup is deleted; null: never' }),
    verified_at: time.nullable().openapi({
      description: 'When the last verification found no damage; null: it was never verified, or it is damaged',
    }),
    damage: DamageSchema.nullable().openapi({ description: 'The first damage that the last verification found' }),
    download_url: z.string().openapi({ description: 'The path of the download' }),
  })
  .openapi('Backup');

export const ReceiptSchema = BackupSchema.extend({ message: z.string() }).openapi('Receipt');

export const BackupPageSchema = z
  .object({
    backups: z.array(BackupSchema),
    prefixes: z.array(z.string()).openapi({
      description: 'With a delimiter: what names have in common up to it, once each; else empty',
    }),
    cursor: nextCursor,
  })
  .openapi('BackupPage');

/** Members of an archive. */
export const FileSchema = z
  .object({
    path: z
      .string()
      .openapi({ description: 'Without a slash at the end. Bytes that are not UTF-8 are shown as U+FFFD' }),
    type: z
      .enum(['file', 'directory', 'symlink', 'hardlink', 'character', 'block', 'fifo', 'sparse'])
      .openapi({ description: 'The type in the archive' }),
    size: bytes.openapi({ description: 'Bytes of the member' }),
    mode: z.string().openapi({ example: '0644', description: 'Permissions in octal' }),
    uid: z.number().int().openapi({ description: 'Numeric id of the owner' }),
    gid: z.number().int().openapi({ description: 'Numeric id of the group' }),
    mtime: time.openapi({ description: 'When the member was last modified' }),
    link_target: z.string().nullable().openapi({ description: 'The target of a link; null for others' }),
    device: z.object({ major: z.number().int(), minor: z.number().int() }).optional(),
    offset: bytes.openapi({ description: 'The offset of its bytes in the decoded archive' }),
    url: z.string().openapi({ description: 'The path of the download, exact for any member' }),
  })
  .openapi('File');

export const FileListSchema = z
  .object({
    files: z.array(FileSchema).openapi({ description: 'Members, by the bytes of their path' }),
    prefixes: z
      .array(z.string())
      .optional()
      .openapi({ description: 'With a delimiter: the directories below the prefix, once each' }),
    cursor: nextCursor,
    stopped: z
      .object({ offset: bytes, reason: z.string() })
      .nullable()
      .openapi({ description: 'Where the archive is broken, and why; null: it is whole' }),
  })
  .openapi('FileList');

export const LinkSchema = z
  .object({
    url: z.string().openapi({ description: 'Works without a token; use it unchanged' }),
    expires_at: time.openapi({ description: 'When the URL expires' }),
  })
  .openapi('Link');

export const UploadLinkSchema = z
  .object({
    url: z.string().openapi({ description: 'Send the file there by PUT, in one request' }),
    tus_url: z
      .string()
      .openapi({ description: 'Or create a tus upload there by POST. One of the two URLs works, once' }),
    watch_url: z.string().openapi({ description: 'The WebSocket of the job' }),
    job_id: jobId,
    expires_at: time.openapi({ description: 'When the URLs expire' }),
  })
  .openapi('UploadLink');

export const VerificationSchema = z
  .object({
    backup_id: ulid,
    job_id: jobId,
    ok: z.boolean().openapi({ description: 'true: no damage was found. Damage is answered with 422' }),
    verified_at: time.nullable().openapi({ description: 'null if damage was found' }),
    damage: DamageSchema.nullable(),
    frames_checked: bytes.openapi({
      description: '0 if the backup is stored uncompressed: then only its SHA-256 is compared',
    }),
    broken_frames: bytes.openapi({ description: 'Frames that are damaged' }),
  })
  .openapi('Verification');

const runTimes = {
  started_at: time,
  ended_at: time.nullable().openapi({ description: 'null while it runs' }),
  expires_at: time.nullable().openapi({ description: 'When a resumable upload expires; null for other runs' }),
};

const tokenId = z
  .string()
  .nullable()
  .openapi({ description: 'Of the token that began it: `admin` is ADMIN_TOKEN; null where a signed link did' });

export const JobSchema = z
  .object({
    job_id: jobId,
    task: task.optional(),
    phase,
    current: bytes.openapi({ description: 'Bytes done in this phase' }),
    total: bytes.openapi({ description: 'Bytes of this phase; 0 if unknown' }),
    percentage: z.number().min(0).max(100).openapi({ description: 'Two decimals; 0 if `total` is unknown' }),
    message: z.string().openapi({ description: 'A sentence for people' }),
    timestamp: time.openapi({ description: 'When this state was reached' }),
    stored: bytes.optional().openapi({ description: 'Bytes that the storage has taken' }),
    run_id: ulid.optional(),
    backup_id: ulid.nullable().optional().openapi({
      description: 'The backup that the run makes or works on; of a resumable upload also its upload id',
    }),
    token_id: tokenId.optional(),
    started_at: runTimes.started_at.optional(),
    ended_at: runTimes.ended_at.optional(),
    idle_since: time
      .nullable()
      .optional()
      .openapi({ description: 'Since when a resumable upload has had no open request; null while it has one' }),
    expires_at: runTimes.expires_at.optional(),
    code: z.string().optional().openapi({ description: 'With `failed`' }),
    detail: z.string().optional().openapi({ description: 'With `failed`' }),
  })
  .openapi('Job', { description: 'The state of a job. An unknown job is `waiting` and has no run' });

export const RunPageSchema = z
  .object({
    jobs: z.array(
      z
        .object({
          run_id: ulid,
          job_id: jobId,
          task: z.string(),
          phase: z.string(),
          backup_id: ulid.nullable(),
          filename: z.string().nullable(),
          message: z.string(),
          code: z.string().nullable().openapi({ description: 'The code of the error; null if the run has not failed' }),
          token_id: tokenId,
          ...runTimes,
        })
        .openapi('Run'),
    ),
    cursor: nextCursor,
  })
  .openapi('RunPage');

export const TokenSchema = z
  .object({
    id: ulid,
    name: z.string().openapi({ description: 'A name for people' }),
    scopes: z.array(z.string()).openapi({ description: 'What the token may do' }),
    created_at: time.openapi({ description: 'When the token was created' }),
    expires_at: time.nullable().openapi({ description: 'When it expires; null: never' }),
  })
  .openapi('Token');

export const NewTokenSchema = TokenSchema.extend({
  token: z.string().openapi({ description: 'The token itself. The vault returns it only here' }),
}).openapi('NewToken');

export const TokenListSchema = z.object({ tokens: z.array(TokenSchema), cursor: nextCursor }).openapi('TokenList');

export const ImportSchema = z
  .object({
    job_id: jobId,
    dry_run: z.boolean().openapi({ description: 'true: nothing was written' }),
    read: bytes.openapi({ description: 'Rows in the document' }),
    written: bytes.openapi({ description: 'Rows written to the table; in a dry run, rows that would be' }),
    refused: z.array(RefusedRowSchema).openapi({ description: 'The rejected rows, in the order of the document' }),
  })
  .openapi('Import');

export const ReindexSchema = z
  .object({
    receipts: z.number().int().openapi({ description: 'Receipts in the bucket, without those of deleted backups' }),
    indexed: z.number().int().openapi({ description: 'Rows written' }),
    refused: z.array(z.string()).openapi({
      description: 'The ids of backups whose receipt cannot be read, or whose data is missing or has another size',
    }),
    deletions_finished: z.number().int().openapi({ description: 'Interrupted deletions that it finished' }),
    orphans: z
      .object({
        data: z.number().int(),
        receipt: z.number().int().openapi({ description: 'Of uploads that failed' }),
        index: z.number().int(),
        tmp: z.number().int().openapi({ description: 'Temporary objects of uploads' }),
        unknown: z
          .number()
          .int()
          .openapi({ description: 'Keys that the vault does not write. They are never deleted' }),
        bytes,
        keys: z.array(z.string()).openapi({ description: `The first ${LISTED_ORPHANS} keys` }),
        swept: z.number().int().openapi({ description: 'Orphans that were deleted, with `sweep=true`' }),
      })
      .openapi({ description: 'Objects that belong to no backup and no open upload, by kind' }),
  })
  .openapi('Reindex');

export const HealthSchema = z.object({ status: z.literal('ok'), version: z.string() }).openapi('Health');

export const CapabilitiesSchema = z
  .object({
    max_file_size: bytes.openapi({ description: 'Bytes of the largest file' }),
    max_request_bytes: bytes.nullable().openapi({
      description: 'Bytes of the largest request body; larger files must be uploaded in chunks. null: unknown',
    }),
    allowed_suffixes: z.array(z.string()).openapi({ description: 'Suffixes of filenames that uploads may have' }),
    chunk_sizes: z.object({
      frame_bytes: bytes.openapi({ description: 'Content of one zstd frame' }),
      part_bytes: bytes.openapi({ description: 'The smallest part of a multipart upload to R2' }),
    }),
    codecs: z.array(z.string()).openapi({ description: 'How backups are stored' }),
    formats: z.array(z.string()).openapi({ description: 'Values of `format` of a download' }),
    encryption: z.object({
      format: z.literal('age'),
      by_default: z.boolean().openapi({ description: 'true: uploads without `recipient` are encrypted too' }),
    }),
    resumable: z.object({
      tus: z.literal('1.0.0'),
      draft: z.boolean().openapi({ description: 'true: the IETF draft of resumable uploads is on' }),
      expires_in: z.number().int().openapi({ description: 'Seconds within which a resumable upload must end' }),
    }),
    engine: z.enum(['native', 'wasm']).openapi({ description: 'The zstd library in use' }),
    highest_level: z.number().int().openapi({ description: 'The highest compression level of uploads' }),
    default_level: z.number().int().openapi({ description: 'The level of uploads without `level`' }),
    limits: z.object({
      json_body_bytes: bytes.openapi({ description: 'Bytes of the largest JSON body' }),
      cpu_seconds: z.number().openapi({ description: 'CPU time of one request (CPU_LIMIT)' }),
      upload_idle_seconds: z.number().openapi({ description: 'A sender that moves no byte for so long is stalled' }),
      download_idle_seconds: z.number().openapi({ description: 'A reader that takes no byte for so long is dropped' }),
      min_rate: bytes.openapi({ description: 'Bytes a second over a minute; a slower client counts as stalled' }),
    }),
    memory: z.object({
      engine_bytes: bytes.openapi({
        description: 'The most that the zstd library holds for all transfers of one isolate',
      }),
      unfinished_bytes: bytes.openapi({
        description: 'Bytes of unfinished uploads that one isolate holds; above it the most idle upload is put aside',
      }),
      parts_at_once: z.number().int().openapi({ description: 'Parts that one isolate sends to R2 at once' }),
      parts_at_once_per_upload: z.number().int().openapi({ description: 'Parts that one upload sends at once' }),
      decoder_window_bytes: bytes.openapi({ description: 'Bytes for decoding uploaded archives, for their index' }),
      import_batch_bytes: bytes.openapi({ description: 'Bytes of rows that all imports of one isolate write at once' }),
      decode_bytes: bytes.openapi({ description: 'The most that reading and decoding one frame holds' }),
      decoding_at_once: z.number().int().openapi({ description: 'Frames that one isolate decodes at once' }),
      slow_readers_bytes: bytes.openapi({
        description: 'Decoded bytes that all slow readers keep together; each has an equal part',
      }),
      slow_reader_bytes: bytes.openapi({ description: 'The most that a download holds for a slow reader' }),
      stopped_reader_bytes: bytes.openapi({
        description: 'The most that a download holds once its reader has stopped',
      }),
      export_pages_at_once: z.number().int().openapi({ description: 'Pages of rows that one isolate holds at once' }),
      longest_wait_seconds: z
        .number()
        .openapi({ description: 'A request that waits longer is rejected with 503 busy' }),
    }),
  })
  .openapi('Capabilities');
