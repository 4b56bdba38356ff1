import { createRoute, type z } from '@hono/zod-openapi';
import { ulid } from 'ulidx';
import type { Backup } from '../../catalogue/backups.ts';
import { readContent } from '../../delivery/download.ts';
import { withinTime } from '../../shared/abort.ts';
import { VaultError } from '../../shared/errors.ts';
import { DRAIN_MS, HELD_ROWS_BYTES, IMPORT_ERRORS, MIB } from '../../shared/limits.ts';
import { untilAborted } from '../../shared/streams.ts';
import { type ImportOrder, importRows } from '../../transfer/import-rows.ts';
import { plainDocument } from '../../transfer/plain-document.ts';
import type { App, AppContext } from '../app-env.ts';
import { databaseTable } from '../database-table.ts';
import { IMPORTED } from '../examples.ts';
import { forToken, json, problems } from '../openapi.ts';
import { orTellJob } from '../or-tell-job.ts';
import { bodyPieces, contentLength } from '../request-body.ts';
import { BackupParam, IdentityHeader, ImportQuery } from '../request-schemas.ts';
import { ImportSchema } from '../response-schemas.ts';
import { beginTransfer } from '../transfers.ts';
import { refusal } from '../validation.ts';
import { knownBackup } from './backups.ts';
import { identityOf } from './download.ts';

const ROWS = [
  'Each row is an object of columns. Rows are written as they arrive, in their order: of two rows with the same key the',
  'first stays, or the last with `mode=upsert` and `mode=replace`. A row may refer to any other row of the document, before',
  'it or after it. A row that the table rejects is listed in `refused` and does not stop the others, up to `max_errors`;',
  '`require=all` makes an import with rejected rows 422 `rows-refused`. No transaction spans the document: if an import',
  'stops, the rows it has written stay, and the error says how many rows were read and written. To be safe, run it with',
  '`dry_run=true` first, or send the document again with `mode=upsert`.',
  '',
  `Rows that refer to later ones are held until those come, ${HELD_ROWS_BYTES / MIB} MiB at most, and so are all rows of a dry run.`,
  '',
  'Numbers keep all their digits (integers up to 64 bits; 1.0 is a REAL). null is NULL, true and false are 1 and 0, and',
  '{"$base64":"…"} is a BLOB, as `GET /export/stream` writes it.',
  '',
  'The job reports progress in bytes.',
].join('\n');

/** What any import may answer, wherever its rows come from. */
const IMPORT_CODES = [
  'malformed-json',
  'not-found',
  'table-unsupported',
  'table-too-wide',
  'job-running',
  'job-cancelled',
  'item-too-large',
  'too-many-rows',
  'too-many-errors',
  'rows-refused',
  'too-many-transfers',
  'storage-failed',
  'job-unavailable',
  'busy',
] as const;

const importRoute = createRoute({
  method: 'post',
  path: '/import/stream',
  operationId: 'importRows',
  summary: 'Import rows into a table',
  description: ROWS,
  tags: ['Databases'],
  ...forToken('admin'),
  request: {
    query: ImportQuery,
    // Plain schemas, not validators: nothing may read the body but the reader of items.
    body: {
      required: true,
      content: {
        'application/json': {
          schema: { type: 'array', items: { type: 'object' } },
          example: [{ id: 1, name: 'pump', price: 12.5 }],
        },
        'application/x-ndjson': { schema: { type: 'string' }, example: '{"id":1,"name":"pump","price":12.5}\n' },
      },
    },
  },
  responses: {
    200: json(ImportSchema, 'The document was read to its end', IMPORTED),
    ...problems(...IMPORT_CODES, 'upload-stalled', 'unsupported-media-type', 'import-interrupted'),
  },
});

const restoreRoute = createRoute({
  method: 'post',
  path: '/backup/{backup_id}/restore',
  operationId: 'restoreRows',
  summary: 'Restore the rows of a JSON backup into a table',
  description: [
    'Imports a backup that is a JSON document, also inside gzip or zstd (`.ndjson.gz`), without a second upload. An',
    'encrypted backup needs an identity in `X-Age-Identity`, which is neither stored nor logged.',
    '',
    ROWS,
  ].join('\n'),
  tags: ['Databases'],
  ...forToken('admin'),
  request: { params: BackupParam, query: ImportQuery, headers: IdentityHeader },
  responses: {
    200: json(ImportSchema, 'The document was read to its end', IMPORTED),
    ...problems(
      ...IMPORT_CODES,
      'invalid-identity',
      'malformed-zstd',
      'malformed-gzip',
      'wrong-identity',
      'not-a-document',
      'backup-encrypted',
      'stored-data-lost',
      'stored-data-corrupt',
    ),
  },
});

class EncodedBody extends VaultError {
  constructor() {
    super('unsupported-media-type', 'The document is taken in clear: send it without a Content-Encoding.');
  }
}

class NotADocument extends VaultError {
  constructor() {
    super('not-a-document', 'Rows are restored of .json, .ndjson and .jsonl backups, and of these in .gz or .zst.');
  }
}

class BackupEncrypted extends VaultError {
  constructor() {
    super('backup-encrypted', 'This backup is encrypted. Send an identity that opens it in X-Age-Identity.');
  }
}

export function importRoutes(app: App): void {
  app.openapi(
    importRoute,
    async (c) => {
      beginTransfer(c);
      const order = await orTellJob(c, 'import', c.req.query('job_id'), () => {
        checkEncoding(c);
        return orderOf(c, c.req.valid('query'));
      });
      const total = contentLength(c);
      const body = bodyPieces(c);
      const content = (signal: AbortSignal) => untilAborted(body, signal);
      // An empty array is a document; nothing is one only where there may be no lines.
      const needs_value = isJson(c.req.header('content-type'));
      const source = { content, total, exact: total > 0, operation: 'import' as const, needs_value };
      try {
        return c.json(await importing(c, { ...order, ...source }), 200);
      } catch (error) {
        // What still reads holds the body until the next bytes of it: unlock it, so that the rest can be drained.
        await withinTime(body.return(), DRAIN_MS, 'no bytes of the body').catch(() => undefined);
        throw error;
      }
    },
    orTellImport,
  );

  app.openapi(
    restoreRoute,
    async (c) => {
      beginTransfer(c);
      const order = await orTellJob(c, 'restore', c.req.query('job_id'), async () => {
        const backup = await knownBackup(c, c.req.valid('param').backup_id);
        const identity = identityOf(c);
        checkDocument(backup, identity);
        const rooms = c.get('services');
        return {
          ...(await orderOf(c, c.req.valid('query'))),
          backup,
          content: readContent(rooms, backup, identity),
          document: plainDocument(rooms.engine),
          total: backup.file_size,
          exact: false,
          operation: 'restore' as const,
          needs_value: JSON_DOCUMENT.test(documentName(backup)),
        };
      });
      return c.json(await importing(c, order), 200);
    },
    orTellImport,
  );
}

/** A bad option, too, is told to the job that it came with. */
function orTellImport(result: { success: true } | { success: false; error: z.ZodError }, c: AppContext) {
  if (result.success) return undefined;
  const task = c.req.param('backup_id') === undefined ? 'import' : 'restore';
  return orTellJob<never>(c, task, c.req.query('job_id'), () => {
    throw refusal(result.error, 'invalid-option');
  });
}

/** Everything about an import but its source. */
async function orderOf(c: AppContext, query: z.infer<typeof ImportQuery>) {
  const { databases, config } = c.get('services');
  const { database = '', mode, dry_run, format } = query;
  const table = await databaseTable(databases, database, query.table);
  const max_errors = query.max_errors ?? IMPORT_ERRORS;
  const job_id = query.job_id ?? ulid();
  const token_id = c.get('credential')?.token_id ?? null;
  const require_all = query.require === 'all';
  const max_queries = config.maxImportQueries;
  return { job_id, token_id, database, table, mode, dry_run, require_all, format, max_errors, max_queries };
}

/** The client may go away; what has begun is then still brought to its end, if that is near. */
async function importing(c: AppContext, order: ImportOrder): Promise<z.infer<typeof ImportSchema>> {
  const running = importRows(c.get('services'), order);
  c.executionCtx.waitUntil(running.catch(() => undefined));
  const { refused, ...counts } = await running;
  return { ...counts, refused: [...refused] };
}

function checkEncoding(c: AppContext): void {
  const encoding = c.req.header('content-encoding') ?? 'identity';
  if (encoding.trim().toLowerCase() !== 'identity') throw new EncodedBody();
}

const DOCUMENT = /\.(json|ndjson|jsonl)(\.(gz|zst))?$/i;
const JSON_DOCUMENT = /\.json(\.(gz|zst))?$/i;

function checkDocument(backup: Backup, identity: string | null): void {
  if (!DOCUMENT.test(documentName(backup))) throw new NotADocument();
  if (backup.encryption && identity === null) throw new BackupEncrypted();
}

function documentName({ filename, encryption }: Backup): string {
  return encryption?.by === 'sender' ? filename.replace(/\.age$/i, '') : filename;
}

function isJson(contentType: string | undefined): boolean {
  return /^\s*application\/([\w.-]+\+)?json\s*(;|$)/i.test(contentType ?? '');
}
