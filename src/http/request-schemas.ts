import { z } from '@hono/zod-openapi';
import {
  BACKUP_MAX_TTL_SECONDS,
  IMPORT_ERRORS,
  LINK_MAX_TTL_SECONDS,
  LINK_TTL_SECONDS,
  MAX_IMPORT_ERRORS,
  MAX_PAGE_ROWS,
  PAGE_ROWS,
} from '../shared/limits.ts';
import {
  DURATION_GRAMMAR,
  FLAGS,
  parseDuration,
  parseFlag,
  parseSize,
  parseTime,
  SIZE_GRAMMAR,
  TIME_GRAMMAR,
} from '../shared/units.ts';
import { jobId, phase, task, ulid } from './schema-parts.ts';
import { body, query, signableQuery } from './validation.ts';

/** A whole number in a query string or a form field. */
function wholeNumber(min: number, max: number) {
  return z
    .string()
    .regex(/^\d{1,15}$/, 'a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .openapi({ type: 'integer', minimum: min, maximum: max });
}

/** The parameter of a list that continues it, and what the page before said. */
const pageCursor = z.string().optional().openapi({ description: 'The `cursor` of the page before' });

/** Seconds, as a number or in words. */
function seconds(most: number) {
  return amount(parseDuration, 1, most, DURATION_GRAMMAR);
}

/** Bytes, as a number or in words. */
function byteCount(least: number) {
  return amount(parseSize, least, Number.MAX_SAFE_INTEGER, SIZE_GRAMMAR);
}

function amount(parse: (text: string) => number | null, least: number, most: number, grammar: string) {
  return z
    .union([z.number().int(), z.string()], { error: grammar })
    .transform((given, context) => {
      const value = parse(String(given));
      if (value !== null && value >= least && value <= most) return Math.floor(value);
      context.addIssue({ code: 'custom', message: `${grammar}; from ${least} to ${most}`, input: given });
      return z.NEVER;
    })
    .openapi({ type: ['integer', 'string'], minimum: least, maximum: most });
}

/** A time, as milliseconds since the epoch. */
function instant() {
  return z
    .string()
    .transform((text, context) => {
      const ms = parseTime(text);
      if (ms !== null) return ms;
      context.addIssue({ code: 'custom', message: TIME_GRAMMAR, input: text });
      return z.NEVER;
    })
    .openapi({ type: 'string', format: 'date-time' });
}

/** A boolean in a query string or a form field. */
function flag(description: string) {
  return z
    .enum(FLAGS)
    .default('false')
    .transform((word) => parseFlag(word) === true)
    .openapi({ type: 'string', enum: [...FLAGS], default: 'false', description });
}

export const UPLOAD_OPTIONS = {
  job_id: jobId
    .optional()
    .openapi({ description: 'The name under which the upload can be watched. Default: the `backup_id`' }),
  level: wholeNumber(1, 22)
    .optional()
    .openapi({ description: 'The compression level: 1–3 are fast, 4–9 balanced, 10–22 small and slow. Default 3' }),
  compression: z
    .enum(['auto', 'zstd', 'none'])
    .optional()
    .openapi({ description: '`auto` does not compress files that are compressed already. Default `auto`' }),
  require: z.enum(['whole-archive']).optional().openapi({
    description: 'whole-archive: a file that is no tar archive, or a truncated or broken one, is 422 `broken-archive`',
  }),
  allow_empty: flag('Accepts an empty file, which is 400 `empty-upload` otherwise'),
  expires_in: seconds(BACKUP_MAX_TTL_SECONDS).optional().openapi({
    description:
      'Seconds after which the backup is deleted, or a duration such as "30d"; they count from `created_at`. Default: never',
  }),
  expires_at: instant().optional().openapi({
    description: 'The time at which the backup is deleted, in place of `expires_in`: `2026-12-31T23:00:00Z` or a day',
    example: '2026-12-31',
  }),
  sha256: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, '64 hex digits')
    .transform((text) => text.toLowerCase())
    .optional()
    .openapi({
      type: 'string',
      description: 'The SHA-256 that the file must have, in hex; else the upload is rejected and nothing is stored',
    }),
  recipient: z
    .union([z.string(), z.array(z.string())])
    .transform((given) => [given].flat().flatMap((text) => text.split(/[\s,]+/).filter((word) => word !== '')))
    .optional()
    .openapi({
      type: 'array',
      items: { type: 'string' },
      description:
        'age public keys (`age1…`), separated by commas or repeated. The vault encrypts the file for ' +
        'them. Default: the variable `DEFAULT_RECIPIENTS`',
    }),
};

/** The options of an upload, from wherever they come. */
export const UploadQuery = query(UPLOAD_OPTIONS);

/** The same for a form, whose filename is no path. */
export const FormUploadQuery = query({
  name: z.string().optional().openapi({
    description: 'The name, a path such as `web1/etc.tar`. Default: the last segment of the filename of the part',
    example: 'web1/etc.tar',
  }),
  ...UPLOAD_OPTIONS,
});

/** The same in a URL that may be signed for one upload. */
export const LinkUploadQuery = signableQuery(UPLOAD_OPTIONS);

export const TusQuery = signableQuery({
  ...UPLOAD_OPTIONS,
  name: z.string().optional().openapi({ description: 'In place of the one in Upload-Metadata' }),
  filename: z.string().optional().openapi({ description: 'The same as `name`' }),
});

/** The names of {@link UPLOAD_OPTIONS}. */
export const UPLOAD_OPTION_NAMES = Object.keys(UPLOAD_OPTIONS);

/** For routes that take no options. */
export const NoQuery = query({});

export const LinkOnlyQuery = signableQuery({});

const uploadKey = z
  .string()
  .optional()
  .openapi({ description: 'The secret of the upload, which begins with `csu_`, in place of a token' });

/** For requests to one resumable upload. */
export const UploadKeyQuery = query({ upload_key: uploadKey });

/** For an append that may be the end of an upload of unknown length. */
export const DraftAppendQuery = query({ upload_key: uploadKey, allow_empty: UPLOAD_OPTIONS.allow_empty });

/** The options of every list. */
const page = {
  cursor: pageCursor,
  limit: wholeNumber(1, MAX_PAGE_ROWS)
    .optional()
    .openapi({ description: `Default ${PAGE_ROWS}` }),
};

export const PageQuery = query(page);

export const BackupsQuery = query({
  name: z.string().optional().openapi({ description: 'Only versions of exactly this name', example: 'web1/etc.tar' }),
  prefix: z.string().optional().openapi({ description: 'Only names that begin with this' }),
  delimiter: z
    .literal('/')
    .optional()
    .openapi({ description: 'Folds deeper names into `prefixes`; the page is then in the order of names' }),
  before: instant().optional().openapi({ description: 'Only uploads that began before this time or day' }),
  after: instant().optional().openapi({ description: 'Only uploads that began at or after this time or day' }),
  damaged: flag('Only backups that a verification found damaged'),
  ...page,
});

export const FilesQuery = query({
  prefix: z.string().optional().openapi({ description: 'Only paths that begin with this' }),
  delimiter: z.literal('/').optional().openapi({ description: 'Folds deeper paths into `prefixes`' }),
  ...page,
});

export const FileQuery = signableQuery({
  format: z.literal('tar').optional().openapi({ description: 'Returns the directory as a new tar' }),
  filename: z.string().optional().openapi({ description: 'The filename in Content-Disposition, instead of its own' }),
  ...page,
});

export const BackupParam = z.object({ backup_id: ulid });

export const JobParam = z.object({ job_id: jobId });

export const DownloadQuery = signableQuery({
  format: z
    .enum(['zst', 'gz'])
    .optional()
    .openapi({ description: '`zst`: the stored zstd file. `gz`: compressed as gzip on the way' }),
  filename: z.string().optional().openapi({ description: 'The filename in Content-Disposition, instead of its own' }),
});

export const NameParam = z.object({
  name: z.string().openapi({
    description: 'The name: a path, whose slashes need no encoding. `%2F` is one too',
    example: 'web1/etc.tar',
  }),
});

const linkedAs = {
  format: z
    .enum(['zst', 'gz', 'tar'])
    .optional()
    .openapi({ description: '`tar`: a directory, or the whole archive, as a new tar' }),
  path: z.string().optional().openapi({ description: 'The path of a member, as the listing returns it' }),
};

export const LatestQuery = signableQuery({
  ...linkedAs,
  filename: z.string().optional().openapi({ description: 'The filename in Content-Disposition, instead of its own' }),
});

export const IdentityHeader = z.object({
  'x-age-identity': z.string().optional().openapi({
    description:
      'An age identity (`AGE-SECRET-KEY-1…`) that decrypts the backup for this request. It is neither stored nor logged',
  }),
});

const expiresIn = seconds(LINK_MAX_TTL_SECONDS)
  .default(LINK_TTL_SECONDS)
  .openapi({ description: `Seconds, or a duration such as "12h"` });

export const LinkRequest = body({
  expires_in: expiresIn,
  format: linkedAs.format,
  filename: z.string().min(1).optional(),
  path: linkedAs.path,
});

export const UploadLinkRequest = body({
  name: z
    .string()
    .optional()
    .openapi({ description: 'The name of the backup, a path. Required', example: 'web1/etc.tar' }),
  filename: z.string().optional().openapi({ description: 'The same as `name`' }),
  max_bytes: byteCount(1).optional(),
  expires_in: expiresIn,
  job_id: jobId.optional(),
  level: z.number().int().min(1).max(22).optional(),
  compression: UPLOAD_OPTIONS.compression,
  require: UPLOAD_OPTIONS.require,
  allow_empty: z.boolean().optional(),
  backup_expires_in: UPLOAD_OPTIONS.expires_in.openapi({
    description: '`expires_in` of the upload: when the backup is deleted',
  }),
  backup_expires_at: UPLOAD_OPTIONS.expires_at.openapi({ description: '`expires_at` of the upload' }),
  sha256: UPLOAD_OPTIONS.sha256,
  recipient: UPLOAD_OPTIONS.recipient,
});

export const WatchLinkRequest = body({ expires_in: expiresIn });

export const VerifyQuery = query({
  job_id: jobId
    .optional()
    .openapi({ description: 'The name under which the verification can be watched. Default: `verify-{backup_id}`' }),
});

export const RunQuery = query({
  task: task.optional(),
  phase: phase.exclude(['waiting']).optional().openapi({ description: 'Only runs in this phase, or that ended so' }),
  ...page,
});

export const TokenRequest = body({
  name: z.string().min(1).max(100),
  scopes: z.array(z.enum(['read', 'write', 'admin'])).min(1),
  expires_in: seconds(10 * 365 * 24 * 3600)
    .optional()
    .openapi({
      description: 'Seconds until the token expires, or a duration such as "90d". Without it the token does not expire',
    }),
});

export const ExportQuery = query({
  format: z
    .enum(['json', 'ndjson'])
    .default('json')
    .openapi({ description: '`json`: one array of objects. `ndjson`: one object a line' }),
  table: z.string().optional().openapi({
    description: 'The exact name of a table. Without `database`, one of the vault: `backups` (default) or `jobs`',
    example: 'items',
  }),
  database: z
    .string()
    .optional()
    .openapi({
      description:
        'The name of a database: the binding `DATABASE_SHOP` is `shop`. A new vault has `sample`. An INTEGER keeps all ' +
        'digits (64 bits), a REAL has a point or an exponent (1e999 is infinity), a BLOB is {"$base64":"…"}, NULL is null',
      example: 'sample',
    }),
});

export const ImportQuery = query({
  // Optional for the parser alone, because the error for a missing one lists the names.
  database: z
    .string()
    .optional()
    .openapi({
      param: { required: true },
      description: 'The name of a database: the binding `DATABASE_SHOP` is `shop`. A new vault has `sample`',
      example: 'sample',
    }),
  table: z
    .string()
    .optional()
    .openapi({ param: { required: true }, description: 'The exact name of the table', example: 'items' }),
  mode: z
    .enum(['insert', 'upsert', 'replace'])
    .default('insert')
    .openapi({
      description:
        'What happens to a row whose primary key exists. `insert` rejects it, `upsert` updates the columns it names, ' +
        '`replace` updates all, with defaults where it names none. A row that conflicts with another row is rejected in ' +
        'every mode, so no import removes a row',
    }),
  dry_run: flag(
    'Checks every row and writes none: the answer is that of the import, and `written` the number of rows that would be ' +
      'written. All rows are held for it, so they may have at most 6 MiB',
  ),
  max_errors: wholeNumber(0, MAX_IMPORT_ERRORS)
    .optional()
    .openapi({ description: `The import stops after more rejected rows than this. Default ${IMPORT_ERRORS}` }),
  require: z.enum(['all']).optional().openapi({
    description: '`all`: an import with rejected rows is 422 `rows-refused`. The other rows are written all the same',
  }),
  format: z.enum(['auto', 'json', 'ndjson']).default('auto').openapi({
    description: '`json`: one array of objects. `ndjson`: one object a line. `auto` decides by the first byte',
  }),
  job_id: jobId
    .optional()
    .openapi({ description: 'The name under which the import can be watched. Default: a new ULID' }),
});

export const ReindexQuery = query({
  sweep: flag('Deletes orphans older than a week, except those of open uploads'),
});
