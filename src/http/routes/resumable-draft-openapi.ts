import { z } from '@hono/zod-openapi';
import type { App } from '../app-env.ts';
import { DRAFT_INTEROP_VERSION, PARTIAL_UPLOAD } from '../draft-headers.ts';
import { RECEIPT, UPLOAD_STATUS } from '../examples.ts';
import { describedAccess, header, json, OPEN, problems, UPLOAD_CODES, withoutBody } from '../openapi.ts';
import { DraftAppendQuery, UploadKeyQuery, UploadQuery } from '../request-schemas.ts';
import { ReceiptSchema } from '../response-schemas.ts';
import { APPEND_CODES, GONE_CODES, UploadStatusSchema } from './tus-openapi.ts';

/** Creation names a file and the other requests an upload, at addresses of one form: OpenAPI has one path for both. */
const path = '/uploads/{target}';
const name = z.object({
  target: z.string().openapi({ description: 'The name: a path of up to 16 segments', example: RECEIPT.name }),
});
const upload = z.object({
  target: z.string().openapi({ description: 'The id of the upload', example: UPLOAD_STATUS.upload_id }),
});

const complete = z.enum(['?1', '?0']).openapi({
  description: '`?1` if the content ends with this request, else `?0`',
  example: '?0',
});
const length = z.string().optional().openapi({ description: 'The length of the whole content', example: '268435456' });

const binary = { schema: { type: 'string', format: 'binary' } } as const;
const tags = ['Uploads'];
const resuming = describedAccess('write', 'bearer', 'upload');
const limits = { 'Upload-Limit': header('Sizes, and seconds until the upload expires', 'max-size=10737418240') };
const state = {
  'Upload-Offset': header('Bytes that are durable', '67108864'),
  'Upload-Complete': header('`?1` once the content is complete', '?0'),
  ...limits,
};

/** Describes the IETF draft; its routes read the headers themselves, as Structured Fields. */
export function describeDraft(app: App): void {
  const registry = app.openAPIRegistry;
  registry.registerPath({
    method: 'options',
    path,
    operationId: 'discoverDraft',
    summary: 'Get the limits of resumable uploads (IETF draft)',
    description: `draft-ietf-httpbis-resumable-upload, interop version ${DRAFT_INTEROP_VERSION}.`,
    tags,
    ...OPEN,
    request: { params: name },
    responses: {
      204: {
        description: 'See the headers',
        headers: { ...limits, 'Accept-Patch': header('The type of PATCH', PARTIAL_UPLOAD) },
      },
    },
  });
  registry.registerPath({
    method: 'post',
    path,
    operationId: 'createDraftUpload',
    summary: 'Create a resumable upload (IETF draft)',
    description:
      'The body is the content, or its beginning. Without interim responses, the answer alone names the upload.',
    tags,
    ...describedAccess('write', 'bearer'),
    request: {
      params: name,
      query: UploadQuery,
      headers: z.object({ 'Upload-Complete': complete, 'Upload-Length': length }),
      body: { content: { 'application/octet-stream': binary } },
    },
    responses: {
      201: {
        ...json(ReceiptSchema, 'The upload exists; if the content was complete, the body is the receipt', RECEIPT),
        headers: { Location: header('The upload, or the backup', `/uploads/${RECEIPT.backup_id}`), ...state },
      },
      202: json(UploadStatusSchema, 'The content is complete and still being verified', UPLOAD_STATUS),
      ...problems(...UPLOAD_CODES, 'invalid-upload-header'),
    },
  });
  registry.registerPath({
    method: 'head',
    path,
    operationId: 'getDraftUploadOffset',
    summary: 'Get the offset of an upload (IETF draft)',
    description: 'Ends a request that still appends, so that the offset holds for the next one.',
    tags,
    ...resuming,
    request: { params: upload, query: UploadKeyQuery },
    responses: {
      204: { description: 'See the headers', headers: state },
      ...withoutBody(problems(...GONE_CODES)),
    },
  });
  registry.registerPath({
    method: 'get',
    path,
    operationId: 'getDraftUpload',
    summary: 'Get an upload and its receipt (IETF draft)',
    description: 'Accepts the credentials of PATCH, so write-only tokens too.',
    tags,
    ...resuming,
    request: { params: upload, query: UploadKeyQuery },
    responses: {
      200: { ...json(UploadStatusSchema, 'The upload', UPLOAD_STATUS), headers: state },
      ...problems(...GONE_CODES),
    },
  });
  registry.registerPath({
    method: 'patch',
    path,
    operationId: 'appendToDraftUpload',
    summary: 'Append content (IETF draft)',
    description: 'An interrupted PATCH keeps the bytes received, unless it carried Content-Digest.',
    tags,
    ...resuming,
    request: {
      params: upload,
      query: DraftAppendQuery,
      headers: z.object({
        'Upload-Offset': z
          .string()
          .openapi({ description: 'The offset of the upload, as HEAD returns it', example: '67108864' }),
        'Upload-Complete': complete,
        'Upload-Length': length,
      }),
      body: { required: true, content: { [PARTIAL_UPLOAD]: binary } },
    },
    responses: {
      201: { ...json(ReceiptSchema, 'The backup exists', RECEIPT), headers: state },
      202: json(UploadStatusSchema, 'The content is complete and still being verified', UPLOAD_STATUS),
      204: { description: 'The content is durable', headers: state },
      ...problems(...APPEND_CODES),
    },
  });
  registry.registerPath({
    method: 'delete',
    path,
    operationId: 'terminateDraftUpload',
    summary: 'Delete an upload (IETF draft)',
    description: 'Deletes the stored content. The backup of a finished upload stays.',
    tags,
    ...resuming,
    request: { params: upload, query: UploadKeyQuery },
    responses: { 204: { description: 'The upload is deleted' }, ...problems(...GONE_CODES) },
  });
}
