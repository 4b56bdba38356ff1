import { createRoute, z } from '@hono/zod-openapi';
import type { App } from '../app-env.ts';
import { OPEN_UPLOAD, RECEIPT, UPLOAD_STATUS } from '../examples.ts';
import { describedAccess, forToken, header, json, OPEN, problems, UPLOAD_CODES, withoutBody } from '../openapi.ts';
import { PageQuery, TusQuery, UploadKeyQuery } from '../request-schemas.ts';
import { ReceiptSchema } from '../response-schemas.ts';
import { TUS_CHECKSUMS, TUS_EXTENSIONS, TUS_MEDIA_TYPE, TUS_VERSION } from '../tus-headers.ts';

const bytes = z.number().int().nonnegative();
const version = z.literal(TUS_VERSION).openapi({ description: 'The version of tus' });
const params = z.object({
  upload_id: z
    .string()
    .openapi({ description: 'A ULID, which becomes the `backup_id`', example: UPLOAD_STATUS.upload_id }),
});
const checksum = z.string().openapi({
  description:
    '`sha1` or `sha256`, a space, and the checksum of the body in base64. A body with a checksum counts as a whole or ' +
    'not at all',
  example: 'sha256 uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=',
});

const creation = z.object({
  'Tus-Resumable': version,
  'Upload-Length': bytes.optional().openapi({
    description: 'The length of the file. Required unless Upload-Defer-Length is sent',
    example: 268435456,
  }),
  'Upload-Defer-Length': z.literal(1).optional().openapi({ description: 'The length follows in a later PATCH' }),
  'Upload-Metadata': z.string().openapi({
    description:
      'Pairs of a key and a value in base64, separated by commas. `name` or `filename`, which is a path too, is required; ' +
      '`name` counts if both are there. `filetype`, `job_id`, `level`, `compression`, `sha256`, `recipient`, `expires_in`, ' +
      '`expires_at`, `require` and `allow_empty` mean what they mean for PUT /backup/upload; ' +
      '`content_encoding` is its Content-Encoding, of the whole file. HEAD returns the header as it was sent',
    example: 'filename d2ViMS50YXI=',
  }),
  'Upload-Checksum': checksum.optional(),
});

const chunk = z.object({
  'Tus-Resumable': version,
  'Upload-Offset': bytes.openapi({ description: 'The offset of the upload, as HEAD returns it', example: 67108864 }),
  'Upload-Length': bytes.optional().openapi({ description: 'Once, if the creation deferred it', example: 268435456 }),
  'Upload-Checksum': checksum.optional(),
});

export const UploadStatusSchema = z
  .object({
    upload_id: z.string(),
    backup_id: z.string(),
    job_id: z.string(),
    name: z.string(),
    filename: z.string(),
    offset: bytes.openapi({ description: 'Bytes that are durable' }),
    length: bytes.nullable().openapi({ description: 'null: not known yet' }),
    phase: z.enum(['receiving', 'storing', 'verifying', 'done', 'failed']),
    expires_at: z.string().openapi({ format: 'date-time', description: 'When the upload expires, not its backup' }),
    receipt: z.union([ReceiptSchema, z.null()]).openapi({
      description: 'The receipt once the phase is `done`; null again after the backup was deleted',
    }),
  })
  .openapi('UploadStatus');

const OpenUploadsSchema = z
  .object({
    uploads: z.array(
      UploadStatusSchema.omit({ receipt: true })
        .extend({
          started_at: z.string().openapi({ format: 'date-time' }),
          token_id: z
            .string()
            .nullable()
            .openapi({ description: 'The token that created the upload; null for a link' }),
        })
        .openapi('OpenUpload'),
    ),
    cursor: z.string().nullable(),
  })
  .openapi('OpenUploadPage');

/** Not part of the tus protocol. */
export const listUploads = createRoute({
  method: 'get',
  path: '/tus',
  operationId: 'listUploads',
  summary: 'List open uploads',
  description:
    'Resumable uploads that have not ended, newest first: those of the token, or all with the scope `admin`. ' +
    '`DELETE /tus/{upload_id}` and `POST /jobs/{job_id}/cancel` end one. A page may be shorter than `limit`: there are ' +
    'more pages as long as `cursor` is not null.',
  tags: ['Uploads'],
  ...forToken('write'),
  request: { query: PageQuery },
  responses: {
    200: json(OpenUploadsSchema, 'A page of uploads', { uploads: [OPEN_UPLOAD], cursor: null }),
    ...problems('invalid-cursor', 'job-unavailable'),
  },
});

const binary = { type: 'string', format: 'binary' } as const;
const body = { content: { [TUS_MEDIA_TYPE]: { schema: binary } } };
const tags = ['Uploads'];
const versionHeader = { headers: z.object({ 'Tus-Resumable': version }) };

/** Creation takes tokens and upload links; afterwards the upload's own secret serves as well as a token. */
const creating = describedAccess('write', 'bearer', 'link');
const resuming = describedAccess('write', 'bearer', 'upload');

const offset = { 'Upload-Offset': header('Bytes that are durable', '67108864') };
const names = {
  'Coldstream-Backup-Id': header('The id of the backup, now and later', RECEIPT.backup_id),
  'Coldstream-Job-Id': header('The job to watch', RECEIPT.job_id),
  'Coldstream-Phase': header('receiving, storing, verifying or done', 'receiving'),
  'Upload-Expires': header('HTTP date until which the upload can be resumed', 'Sun, 29 Nov 2026 07:30:00 GMT'),
};

/** What an upload that has ended answers, whatever is asked of it. */
export const GONE_CODES = ['not-found', 'upload-failed', 'upload-gone', 'upload-cancelled', 'upload-expired'] as const;

/** What an append may answer in any protocol. */
export const APPEND_CODES = [
  ...GONE_CODES,
  'invalid-upload-header',
  'partial-upload',
  'empty-upload',
  'unsupported-encoding',
  'malformed-zstd',
  'malformed-gzip',
  'checksum-unsupported',
  'chunk-checksum-mismatch',
  'broken-archive',
  'upload-stalled',
  'too-many-transfers',
  'job-superseded',
  'upload-superseded',
  'offset-mismatch',
  'file-too-large',
  'unsupported-media-type',
  'checksum-mismatch',
  'stored-data-corrupt',
  'storage-failed',
  'job-unavailable',
  'busy',
] as const;

/** What the checksum of a chunk adds in tus. */
const CHUNK_CODES = [
  'invalid-upload-header',
  'checksum-unsupported',
  'unsupported-media-type',
  'chunk-checksum-mismatch',
] as const;

/** Describes tus; its routes check their headers themselves, in the words of the protocol. */
export function describeTus(app: App): void {
  const registry = app.openAPIRegistry;
  registry.registerPath({
    method: 'options',
    path: '/tus',
    operationId: 'discoverTus',
    summary: 'Get the tus features of the vault',
    description: 'The version, extensions and limits of tus, in headers.',
    tags,
    ...OPEN,
    responses: {
      204: {
        description: 'See the headers',
        headers: {
          'Tus-Version': header('The version of tus', TUS_VERSION),
          'Tus-Extension': header('The extensions, separated by commas', TUS_EXTENSIONS),
          'Tus-Max-Size': header('Bytes of the largest upload', '10737418240'),
          'Tus-Checksum-Algorithm': header('The algorithms of Upload-Checksum', Object.keys(TUS_CHECKSUMS).join(',')),
        },
      },
    },
  });
  registry.registerPath({
    method: 'post',
    path: '/tus',
    operationId: 'createUpload',
    summary: 'Create a resumable upload (tus 1.0.0)',
    description: 'With a token, or at the `tus_url` of an upload link. The body may be the first chunk.',
    tags,
    ...creating,
    request: { query: TusQuery, headers: creation, body },
    responses: {
      201: {
        description: 'The upload exists',
        headers: {
          Location: header(
            'Relative. If a link created the upload, it contains the secret of the upload',
            `/tus/${RECEIPT.backup_id}`,
          ),
          'Coldstream-Upload-Secret': header(
            'Resumes this upload as a Bearer token. Returned once',
            'csu_b3Vyc2VjcmV0b3Vyc2VjcmV0b3Vyc2VjcmV0b3Vyc2U',
          ),
          ...offset,
          ...names,
        },
      },
      ...problems(...UPLOAD_CODES, ...CHUNK_CODES, 'tus-version-unsupported', 'link-used'),
    },
  });
  registry.registerPath({
    method: 'head',
    path: '/tus/{upload_id}',
    operationId: 'getUploadOffset',
    summary: 'Get the offset of an upload',
    description: 'Where to resume: the number of bytes that are durable.',
    tags,
    ...resuming,
    request: { params, query: UploadKeyQuery, ...versionHeader },
    responses: {
      200: {
        description: 'See the headers',
        headers: { ...offset, 'Upload-Length': header('The length of the file', '268435456'), ...names },
      },
      ...withoutBody(problems(...GONE_CODES, 'tus-version-unsupported')),
    },
  });
  registry.registerPath({
    method: 'patch',
    path: '/tus/{upload_id}',
    operationId: 'appendToUpload',
    summary: 'Append a chunk',
    description:
      'An interrupted PATCH keeps the bytes received, unless it carried Upload-Checksum. If two overlap, the newer wins. ' +
      'The answer to the last chunk of a small upload comes once the backup exists, of a large one once the chunk is ' +
      'durable.',
    tags,
    ...resuming,
    request: { params, query: UploadKeyQuery, headers: chunk, body: { required: true, ...body } },
    responses: {
      204: { description: 'The chunk is durable', headers: { ...offset, ...names } },
      ...problems(...APPEND_CODES, ...CHUNK_CODES, 'tus-version-unsupported'),
    },
  });
  registry.registerPath({
    method: 'delete',
    path: '/tus/{upload_id}',
    operationId: 'terminateUpload',
    summary: 'Delete an upload',
    description: 'Deletes the stored chunks. The backup of a finished upload stays.',
    tags,
    ...resuming,
    request: { params, query: UploadKeyQuery, ...versionHeader },
    responses: { 204: { description: 'The upload is deleted' }, ...problems(...GONE_CODES, 'tus-version-unsupported') },
  });
  registry.registerPath({
    method: 'get',
    path: '/tus/{upload_id}',
    operationId: 'getUpload',
    summary: 'Get an upload and its receipt',
    description: 'Accepts the credentials of PATCH, so write-only tokens too. Not part of the tus protocol.',
    tags,
    ...resuming,
    request: { params, query: UploadKeyQuery },
    responses: { 200: json(UploadStatusSchema, 'The upload', UPLOAD_STATUS), ...problems(...GONE_CODES) },
  });
  registry.registerPath({
    method: 'post',
    path: '/tus/{upload_id}',
    operationId: 'overrideUploadMethod',
    summary: 'Send PATCH, HEAD or DELETE as a POST',
    description: 'For clients that can send only GET and POST. The answer is that of the method in the header.',
    tags,
    ...resuming,
    request: {
      params,
      query: UploadKeyQuery,
      headers: z.object({
        'Tus-Resumable': version,
        'X-HTTP-Method-Override': z
          .enum(['PATCH', 'HEAD', 'DELETE'])
          .openapi({ description: 'The method that is meant' }),
        'Upload-Offset': bytes.optional().openapi({ description: 'As for PATCH', example: 67108864 }),
      }),
      body,
    },
    responses: {
      200: { description: 'As for HEAD', headers: { ...offset, ...names } },
      204: { description: 'As for PATCH and DELETE', headers: { ...offset, ...names } },
      ...problems(...APPEND_CODES, ...CHUNK_CODES, 'tus-version-unsupported', 'method-not-allowed'),
    },
  });
}
