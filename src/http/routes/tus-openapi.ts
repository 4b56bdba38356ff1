import { z } from '@hono/zod-openapi';
import type { App } from '../app-env.ts';
import { json, problems } from '../openapi.ts';
import { ReceiptSchema } from '../schemas.ts';
import { TUS_EXTENSIONS, TUS_MEDIA_TYPE, TUS_VERSION } from '../tus-headers.ts';

const bytes = z.number().int().nonnegative();
const version = z.literal(TUS_VERSION);
const params = z.object({ upload_id: z.string().openapi({ description: 'A ULID: the one of the backup to be' }) });
const checksum = z.string().openapi({
  description:
    'sha1 or sha256, a blank, and the checksum of the body in base64; the body then counts as a whole or not at all',
});

const creation = z.object({
  'Tus-Resumable': version,
  'Upload-Length': bytes.optional().openapi({ description: 'This, or Upload-Defer-Length' }),
  'Upload-Defer-Length': z.literal(1).optional().openapi({ description: 'The length comes with a later PATCH' }),
  'Upload-Metadata': z.string().openapi({
    description:
      'Pairs of a key and a value in base64, with commas: filename; and filetype, job_id, level, compression, sha256, ' +
      'recipient, as PUT /backup/upload/{filename} has them. Others are given back',
  }),
  'Upload-Checksum': checksum.optional(),
});

const piece = z.object({
  'Tus-Resumable': version,
  'Upload-Offset': bytes.openapi({ description: 'Where the vault stands: HEAD tells it' }),
  'Upload-Length': bytes.optional().openapi({ description: 'Once, where it was deferred' }),
  'Upload-Checksum': checksum.optional(),
});

export const UploadStatusSchema = z
  .object({
    upload_id: z.string(),
    backup_id: z.string(),
    job_id: z.string(),
    filename: z.string(),
    offset: bytes.openapi({ description: 'Bytes that are durable' }),
    length: bytes.nullable().openapi({ description: 'null: not known yet' }),
    phase: z.enum(['receiving', 'storing', 'verifying', 'done', 'failed']),
    expires_at: z.string().openapi({ format: 'date-time' }),
    receipt: ReceiptSchema.nullable().openapi({ description: 'Once the phase is done, unless the backup was deleted' }),
  })
  .openapi('UploadStatus');

const binary = { type: 'string', format: 'binary' } as const;
const body = { content: { [TUS_MEDIA_TYPE]: { schema: binary } } };
const tags = ['Resumable'];

/** A header of an answer, as OpenAPI has them. */
function header(description: string) {
  return { description, schema: { type: 'string' as const } };
}

const offset = { 'Upload-Offset': header('Bytes that are durable') };
const names = {
  'Coldstream-Backup-Id': header('What the backup is called, now and later'),
  'Coldstream-Job-Id': header('The job to watch'),
  'Coldstream-Phase': header('receiving, storing, verifying or done'),
  'Upload-Expires': header('HTTP date, as long as the upload may go on'),
};

/** What the published document says of tus; its routes check their headers themselves, in the words of the protocol. */
export function describeTus(app: App): void {
  const registry = app.openAPIRegistry;
  registry.registerPath({
    method: 'options',
    path: '/tus',
    summary: 'What this server knows of tus',
    tags,
    security: [],
    responses: {
      204: {
        description: 'See the headers',
        headers: {
          'Tus-Version': header(TUS_VERSION),
          'Tus-Extension': header(TUS_EXTENSIONS),
          'Tus-Max-Size': header('Bytes of the largest upload'),
          'Tus-Checksum-Algorithm': header('sha1,sha256'),
        },
      },
    },
  });
  registry.registerPath({
    method: 'post',
    path: '/tus',
    summary: 'Create a resumable upload (tus 1.0.0)',
    description: 'With a token, or at the `tus_url` of an upload link. May carry the first piece.',
    tags,
    request: { headers: creation, body },
    responses: {
      201: {
        description: 'Created',
        headers: {
          Location: header('Relative. Of an upload that a link created, it is its own credential'),
          'Coldstream-Upload-Secret': header('Goes on with the upload as a Bearer token; shown once'),
          ...offset,
          ...names,
        },
      },
      ...problems(400, 401, 403, 409, 412, 413, 415, 422, 460, 502, 503),
    },
  });
  registry.registerPath({
    method: 'head',
    path: '/tus/{upload_id}',
    summary: 'Where an upload stands',
    tags,
    request: { params, headers: z.object({ 'Tus-Resumable': version }) },
    responses: {
      200: {
        description: 'See the headers',
        headers: { ...offset, 'Upload-Length': header('Bytes of all'), ...names },
      },
      401: { description: 'No valid credential' },
      404: { description: 'There is none' },
      410: { description: 'It was terminated, expired, or failed' },
      412: { description: 'Another version of tus' },
    },
  });
  registry.registerPath({
    method: 'patch',
    path: '/tus/{upload_id}',
    summary: 'Send the next piece',
    description:
      'What came of a piece that is cut off counts, unless it has a checksum. Of two at once the newer goes on. The answer ' +
      'to the last piece of a small upload comes with its end; of a large one as soon as all of it is durable.',
    tags,
    request: { params, headers: piece, body: { required: true, ...body } },
    responses: {
      204: { description: 'Durable', headers: { ...offset, ...names } },
      ...problems(400, 401, 403, 404, 409, 410, 412, 413, 415, 422, 460, 502, 503),
    },
  });
  registry.registerPath({
    method: 'delete',
    path: '/tus/{upload_id}',
    summary: 'Terminate an upload',
    description: 'Nothing of it is kept. Of a finished one only the upload goes: the backup stays.',
    tags,
    request: { params, headers: z.object({ 'Tus-Resumable': version }) },
    responses: { 204: { description: 'It is gone' }, ...problems(401, 403, 404, 410, 412) },
  });
  registry.registerPath({
    method: 'get',
    path: '/tus/{upload_id}',
    summary: 'An upload and its receipt',
    description: 'For who may write and not read: the same credentials as PATCH. Not of tus.',
    tags,
    request: { params },
    responses: { 200: json(UploadStatusSchema, 'Where it stands'), ...problems(401, 403, 404, 410) },
  });
}
