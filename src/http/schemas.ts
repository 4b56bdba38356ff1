import { z } from '@hono/zod-openapi';
import { PHASES, TASKS } from '../progress/messages.ts';
import {
  IMPORT_ERRORS,
  LINK_MAX_TTL_SECONDS,
  LINK_TTL_SECONDS,
  LISTED_ORPHANS,
  MAX_IMPORT_ERRORS,
  MAX_PAGE_ROWS,
  PAGE_ROWS,
} from '../shared/limits.ts';

const ulid = z.string().openapi({ example: '01JC8Z5V3M9QK2T7W4X6Y8B0CD', description: 'A ULID' });
const bytes = z.number().int().nonnegative();
const time = z.string().openapi({ format: 'date-time', example: '2026-11-23T07:30:00.000Z' });
const sha256 = z.string().openapi({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, lower-case hex' });

/** A whole number in a query string or a form field. */
function wholeNumber(min: number, max: number) {
  return z
    .string()
    .regex(/^\d{1,15}$/, 'a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .openapi({ type: 'integer', minimum: min, maximum: max });
}

export const jobId = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,64}$/, '1 to 64 of A-Z a-z 0-9 _ -')
  .openapi({ example: 'nightly' });

const RefusedRowSchema = z
  .object({
    index: bytes.openapi({ description: 'Its place among the rows of the document, counted from 0' }),
    offset: bytes.openapi({ description: 'Of its first byte in the document' }),
    reason: z.string(),
  })
  .openapi('RefusedRow');

export const ProblemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string().openapi({ description: 'A sentence that a person can act on' }),
    code: z.string().openapi({ description: 'A stable word that programs switch on', example: 'file-too-large' }),
    request_id: z.string(),
    offset: bytes
      .optional()
      .openapi({ description: 'Of the first byte that is wrong, or of the value that is too large' }),
    read: bytes.optional().openapi({ description: 'Rows that an import had read when it stopped' }),
    written: bytes.optional().openapi({ description: 'Rows that it had written, which stay' }),
    refused: z.array(RefusedRowSchema).optional(),
    reason: z.string().optional().openapi({ description: 'Of an upload that failed: the code of why' }),
    expected_offset: bytes.optional().openapi({ description: 'Where the upload stands' }),
    provided_offset: bytes.optional(),
    job_id: jobId.optional(),
    dry_run: z.boolean().optional(),
    run_id: z.string().optional().openapi({ description: 'Of job-running: the run that has the job' }),
    task: z.string().optional(),
    backup_id: z.string().nullable().optional(),
    token_id: z.string().nullable().optional(),
    started_at: z.string().optional(),
    idle_since: z.string().nullable().optional(),
    retry_after_seconds: z.number().optional().openapi({ description: 'As Retry-After' }),
  })
  .openapi('Problem', { description: 'Of an import that stopped it also has how far it came' });

export const CompressionSchema = z
  .union([
    z.object({
      codec: z.literal('zstd'),
      level: z.number().int(),
      lowest_level: z.number().int().optional().openapi({
        description:
          'Of some frames, where the time that one request may compute (CPU_LIMIT) did not suffice for `level`',
      }),
      engine: z.enum(['native', 'wasm']),
      frames: z.number().int(),
    }),
    z.object({ codec: z.literal('none') }),
  ])
  .openapi('Compression');

const EncryptionSchema = z
  .object({
    format: z.literal('age'),
    by: z.enum(['vault', 'sender']).openapi({ description: 'sender: the file itself came as age' }),
    recipients: z
      .array(z.string())
      .readonly()
      .openapi({ description: 'Whom the vault encrypted for; of a file that came encrypted nobody can tell' }),
  })
  .openapi('Encryption');

const ArchiveSchema = z
  .object({
    format: z.literal('tar'),
    members: z.number().int().openapi({ description: 'Files, directories, links…; of a name that comes twice, both' }),
    stopped: z.object({ offset: bytes, reason: z.string() }).nullable().openapi({
      description:
        'Where (byte of the decoded archive) and why reading the members ended too early; null: all is listed',
    }),
  })
  .openapi('Archive');

const DamageSchema = z
  .object({
    found_at: time,
    reason: z.string(),
    frame: bytes
      .nullable()
      .openapi({ description: 'The first broken frame, counted from 0; null where it is in none' }),
    offset: bytes.nullable().openapi({
      description: 'Where in the stored object that frame (or what else is broken) begins; null where nobody can tell',
    }),
  })
  .openapi('Damage');

export const BackupSchema = z
  .object({
    backup_id: ulid,
    job_id: jobId,
    filename: z.string(),
    content_type: z.string(),
    file_size: bytes,
    checksum: sha256,
    stored_size: bytes,
    compression: CompressionSchema,
    encryption: EncryptionSchema.nullable().openapi({ description: 'null: not encrypted' }),
    archive: ArchiveSchema.nullable().openapi({ description: 'null: the backup is no archive' }),
    created_at: time,
    verified_at: time
      .nullable()
      .openapi({ description: 'When the last verification found everything whole; null: never, or it found damage' }),
    damage: DamageSchema.nullable().openapi({ description: 'What the last verification found broken first' }),
    download_url: z.string(),
  })
  .openapi('Backup');

export const ReceiptSchema = BackupSchema.extend({ message: z.string() }).openapi('Receipt');

export const BackupPageSchema = z
  .object({ backups: z.array(BackupSchema), cursor: z.string().nullable() })
  .openapi('BackupPage');

const FLAGS = ['true', '1', 'false', '0'] as const;

/** A boolean in a query string or a form field. */
function flag(description: string) {
  return z
    .enum(FLAGS)
    .default('false')
    .transform((word) => word === 'true' || word === '1')
    .openapi({ type: 'string', enum: [...FLAGS], default: 'false', description });
}

export const UploadOptions = z.object({
  job_id: jobId.optional().openapi({ description: 'Name of the job to watch; the backup_id if left out' }),
  level: wholeNumber(1, 22).optional().openapi({ description: '1–3 fast, 4–9 balanced, 10–22 maximum; default 3' }),
  compression: z
    .enum(['auto', 'zstd', 'none'])
    .optional()
    .openapi({ description: 'auto (default) leaves alone what is compressed already' }),
  allow_empty: flag('Accepts an empty file, which otherwise is 400 `empty-upload`'),
  sha256: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, '64 hex digits')
    .transform((text) => text.toLowerCase())
    .optional()
    .openapi({ type: 'string', description: 'The SHA-256 that the content must have' }),
  recipient: z
    .union([z.string(), z.array(z.string())])
    .transform((given) => [given].flat().flatMap((text) => text.split(/[\s,]+/).filter((word) => word !== '')))
    .optional()
    .openapi({
      type: 'array',
      items: { type: 'string' },
      description:
        'age1…, also several: encrypted for them after compression. Default: DEFAULT_RECIPIENTS of the vault',
    }),
});

const pageLimit = wholeNumber(1, MAX_PAGE_ROWS)
  .optional()
  .openapi({ description: `Default ${PAGE_ROWS}` });

export const PageQuery = z.object({
  prefix: z.string().optional().openapi({ description: 'Beginning of the filename' }),
  cursor: z.string().optional(),
  limit: pageLimit,
});

/** Members of an archive. */
export const FileSchema = z
  .object({
    path: z.string().openapi({ description: 'Without slashes at its end. What is not UTF-8 shows as U+FFFD' }),
    type: z.enum(['file', 'directory', 'symlink', 'hardlink', 'character', 'block', 'fifo', 'sparse']),
    size: bytes,
    mode: z.string().openapi({ example: '0644' }),
    uid: z.number().int(),
    gid: z.number().int(),
    mtime: time,
    link_target: z.string().nullable(),
    device: z.object({ major: z.number().int(), minor: z.number().int() }).optional(),
    offset: bytes.openapi({ description: 'Where its bytes begin in the decoded archive' }),
    url: z.string().openapi({ description: 'Of the bytes; exact, whatever the path' }),
  })
  .openapi('File');

export const FileListSchema = z
  .object({
    files: z.array(FileSchema),
    prefixes: z.array(z.string()).optional().openapi({ description: 'With a delimiter: what lies deeper, once each' }),
    cursor: z.string().nullable(),
    stopped: z.object({ offset: bytes, reason: z.string() }).nullable(),
  })
  .openapi('FileList');

const filesPage = {
  cursor: z.string().optional(),
  limit: pageLimit,
};

export const FilesQuery = z.object({
  prefix: z.string().optional().openapi({ description: 'Beginning of the path' }),
  delimiter: z.literal('/').optional().openapi({ description: 'A directory view' }),
  ...filesPage,
});

export const FileQuery = z.object({
  format: z.literal('tar').optional().openapi({ description: 'A directory as a fresh tar' }),
  filename: z.string().optional().openapi({ description: 'Another name for the file' }),
  ...filesPage,
});

export const BackupParam = z.object({ backup_id: ulid });
export const JobParam = z.object({ job_id: jobId });

export const DownloadQuery = z.object({
  format: z.enum(['zst', 'gz']).optional().openapi({ description: 'zst: the stored zstd file; gz: as gzip' }),
  filename: z.string().optional().openapi({ description: 'Another name for the file' }),
});

export const IdentityHeader = z.object({
  'x-age-identity': z
    .string()
    .optional()
    .openapi({ description: 'AGE-SECRET-KEY-1…: opens an encrypted backup for this one request' }),
});

const expiresIn = z
  .number()
  .int()
  .min(1)
  .max(LINK_MAX_TTL_SECONDS)
  .default(LINK_TTL_SECONDS)
  .openapi({ description: 'Seconds' });

export const LinkRequest = z.object({
  expires_in: expiresIn,
  format: z
    .enum(['zst', 'gz', 'tar'])
    .optional()
    .openapi({ description: 'tar: of a directory, or of the whole archive' }),
  filename: z.string().min(1).optional(),
  path: z.string().optional().openapi({ description: 'A member of the archive, as the listing has it' }),
});
export const LinkSchema = z.object({ url: z.string(), expires_at: time }).openapi('Link');

export const UploadLinkRequest = z.object({
  filename: z.string(),
  max_bytes: z.number().int().min(1).optional(),
  expires_in: expiresIn,
  job_id: jobId.optional(),
});
export const UploadLinkSchema = z
  .object({
    url: z.string().openapi({ description: 'PUT the file there, in one request' }),
    tus_url: z
      .string()
      .openapi({ description: 'Or create a tus upload there by POST; one of the two may be used, once' }),
    watch_url: z.string(),
    job_id: jobId,
    expires_at: time,
  })
  .openapi('UploadLink');

export const WatchLinkRequest = z.object({ expires_in: expiresIn });

export const VerifyQuery = z.object({
  job_id: jobId.optional().openapi({ description: 'Name of the job to watch; `verify-{backup_id}` if left out' }),
});

export const VerificationSchema = z
  .object({
    backup_id: ulid,
    job_id: jobId,
    ok: z.boolean().openapi({ description: 'Whether everything is whole' }),
    verified_at: time.nullable().openapi({ description: 'null where something is broken' }),
    damage: DamageSchema.nullable(),
    frames_checked: bytes.openapi({ description: '0 for what is stored as it came: its SHA-256 alone is compared' }),
    broken_frames: bytes,
  })
  .openapi('Verification');

const task = z.enum(TASKS).openapi({ description: 'restore: an import of the rows of a backup' });
const phase = z.enum(PHASES);
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
    current: bytes,
    total: bytes,
    percentage: z.number().min(0).max(100),
    message: z.string(),
    timestamp: time,
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
  .openapi('Job', { description: 'Without a run (and `waiting`) where no run of the job is known' });

export const RunQuery = z.object({
  task: task.optional(),
  phase: phase.exclude(['waiting']).optional().openapi({ description: 'The phase that a run is in, or its end' }),
  cursor: z.string().optional(),
  limit: pageLimit,
});

export const OpenUploadsQuery = z.object({ cursor: z.string().optional(), limit: pageLimit });

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
          code: z.string().nullable().openapi({ description: 'Why it failed; null where it did not' }),
          token_id: tokenId,
          ...runTimes,
        })
        .openapi('Run'),
    ),
    cursor: z.string().nullable(),
  })
  .openapi('RunPage');

export const TokenRequest = z.object({
  name: z.string().min(1).max(100),
  scopes: z.array(z.enum(['read', 'write', 'admin'])).min(1),
  expires_in: z
    .number()
    .int()
    .min(1)
    .max(10 * 365 * 24 * 3600)
    .optional()
    .openapi({ description: 'Seconds; without it the token does not expire' }),
});
export const TokenSchema = z
  .object({
    id: ulid,
    name: z.string(),
    scopes: z.array(z.string()),
    created_at: time,
    expires_at: time.nullable(),
  })
  .openapi('Token');
export const NewTokenSchema = TokenSchema.extend({
  token: z.string().openapi({ description: 'Shown this once' }),
}).openapi('NewToken');
export const TokenListSchema = z.object({ tokens: z.array(TokenSchema) }).openapi('TokenList');

export const ExportQuery = z.object({
  format: z.enum(['json', 'ndjson']).default('json'),
  table: z.string().optional().openapi({
    description:
      "A table of the database, by its exact name; without a database one of the vault's own: backups (default) or jobs",
    example: 'items',
  }),
  database: z
    .string()
    .optional()
    .openapi({
      description:
        'A database bound as DATABASE_NAME, in lower case; a fresh vault has `sample`. Rows are objects of their columns. ' +
        'INTEGER comes with all digits (to 64 bits), REAL always with a point or an exponent (1e999: infinity), ' +
        'a BLOB as {"$base64":"…"}, NULL as null',
      example: 'sample',
    }),
});

export const ImportQuery = z.object({
  // Optional for the parser alone: whoever left them out is told the names that there are.
  database: z
    .string()
    .optional()
    .openapi({
      param: { required: true },
      description: 'A database bound as DATABASE_NAME, in lower case; a fresh vault has `sample`',
      example: 'sample',
    }),
  table: z
    .string()
    .optional()
    .openapi({ param: { required: true }, description: 'Its exact name', example: 'items' }),
  mode: z
    .enum(['insert', 'upsert', 'replace'])
    .default('insert')
    .openapi({
      description:
        'What becomes of a row whose key is there: insert refuses it, upsert writes the columns that it names, replace ' +
        'puts it in the place of the old one',
    }),
  dry_run: flag(
    'Everything is checked and nothing is kept; `written` tells what would be. Rows are checked a batch at a time: ' +
      'two with the same key, or one that refers to another, are noticed where both stand in the same hundred',
  ),
  max_errors: wholeNumber(0, MAX_IMPORT_ERRORS)
    .optional()
    .openapi({ description: `Refused rows that do not stop it; default ${IMPORT_ERRORS}` }),
  format: z
    .enum(['auto', 'json', 'ndjson'])
    .default('auto')
    .openapi({ description: 'One array of objects, or one object a line; auto tells by the first byte' }),
  job_id: jobId.optional().openapi({ description: 'Name of the job to watch; a new one if left out' }),
});

export const ImportSchema = z
  .object({
    job_id: jobId,
    dry_run: z.boolean(),
    read: bytes.openapi({ description: 'Rows of the document' }),
    written: bytes.openapi({ description: 'Rows that are in the table now; of a dry run those that would be' }),
    refused: z.array(RefusedRowSchema).openapi({ description: 'The others, in their order' }),
  })
  .openapi('Import');

export const ReindexQuery = z.object({
  sweep: flag('Whether orphans older than a week are deleted; never those of an upload that is still open'),
});

export const ReindexSchema = z
  .object({
    receipts: z.number().int().openapi({ description: 'Receipts in the bucket, but for those of deleted backups' }),
    indexed: z.number().int().openapi({ description: 'Rows written, new or again' }),
    refused: z
      .array(z.string())
      .openapi({ description: 'Ids whose receipt cannot be read, or whose data is missing or of another size' }),
    deletions_finished: z.number().int().openapi({ description: 'Interrupted deletions that were finished' }),
    orphans: z
      .object({
        data: z.number().int(),
        index: z.number().int(),
        tmp: z.number().int().openapi({ description: 'Leftovers of uploads' }),
        unknown: z.number().int().openapi({ description: 'Keys that the vault does not write; they are never swept' }),
        bytes,
        keys: z.array(z.string()).openapi({ description: `The first ${LISTED_ORPHANS}` }),
        swept: z.number().int().openapi({ description: 'Objects of these that were deleted, with `sweep=true`' }),
      })
      .openapi({ description: 'Objects that no backup and no open upload has, by kind' }),
  })
  .openapi('Reindex');

export const HealthSchema = z.object({ status: z.literal('ok'), version: z.string() }).openapi('Health');

export const OperationMemorySchema = z
  .object({
    budget_bytes: bytes.openapi({ description: 'The most that one of it holds; the codec of a level comes on top' }),
    chunk_bytes: bytes.openapi({ description: 'Read or made at once' }),
    batch: z.number().int().optional().openapi({ description: 'Rows or members that are held together' }),
    level: z.number().int().optional().openapi({ description: 'Of the codec, where nobody asks for another' }),
    parallel_tasks: z.number().int().optional().openapi({ description: 'Calls of the storage at once' }),
  })
  .openapi('OperationMemory');

export const CapabilitiesSchema = z
  .object({
    max_file_size: bytes,
    max_request_bytes: bytes.nullable(),
    allowed_suffixes: z.array(z.string()),
    chunk_sizes: z.object({ frame_bytes: bytes, part_bytes: bytes }),
    codecs: z.array(z.string()),
    formats: z.array(z.string()),
    encryption: z.object({
      format: z.literal('age'),
      by_default: z.boolean().openapi({ description: 'Whether uploads that name no recipient are encrypted too' }),
    }),
    resumable: z.object({
      tus: z.literal('1.0.0'),
      draft: z.boolean().openapi({ description: 'Whether the IETF draft of resumable uploads is on, too' }),
      expires_in: z.number().int().openapi({ description: 'Seconds that an upload in pieces may take' }),
    }),
    engine: z.enum(['native', 'wasm']),
    highest_level: z.number().int(),
    default_level: z.number().int(),
    memory: z.object({
      isolate_transfer_bytes: bytes.openapi({ description: 'What all transfers of one isolate may hold together' }),
      upload_bytes: bytes,
      decode_bytes: bytes.openapi({ description: 'What reading and decoding one frame holds, at most' }),
      decoding_at_once: z.number().int().openapi({ description: 'Frames of one isolate that are decoded at once' }),
      slow_reader_bytes: bytes.openapi({ description: 'What a download holds for a reader that is slow' }),
      stopped_reader_bytes: bytes.openapi({ description: 'What it holds once the reader has stopped' }),
      export_pages_at_once: z.number().int().openapi({ description: 'Pages of rows that one isolate holds at once' }),
      operations: z.record(z.string(), OperationMemorySchema).openapi({
        description: 'Operations with a budget of their own: upload, piece, readback, import, restore',
      }),
    }),
  })
  .openapi('Capabilities');
