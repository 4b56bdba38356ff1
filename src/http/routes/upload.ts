import { createRoute } from '@hono/zod-openapi';
import { parseContentEncoding } from '../../codec/content-encoding.ts';
import { formFilename } from '../../ingest/backup-name.ts';
import { type UploadOrder, upload } from '../../ingest/upload.ts';
import { openForm } from '../../ingest/upload-form.ts';
import { VaultError } from '../../shared/errors.ts';
import type { App, AppContext } from '../app-env.ts';
import { needsOrLink } from '../auth.ts';
import { checkIsNoForm, checkIsWhole, checkNotEncoded } from '../body-headers.ts';
import { RECEIPT } from '../examples.ts';
import { decodeName } from '../name-path.ts';
import { forToken, forTokenOrLink, header, json, problems, UPLOAD_CODES } from '../openapi.ts';
import { orTellJob } from '../or-tell-job.ts';
import { checkedBody, contentLength } from '../request-body.ts';
import { FormUploadQuery, LinkUploadQuery, NameParam, UploadQuery } from '../request-schemas.ts';
import { ReceiptSchema } from '../response-schemas.ts';
import { beginTransfer } from '../transfers.ts';
import { orderOf, uploadOptionsOf, withLink } from '../upload-order.ts';
import { checkOptions, checkQuery, joinOptions, queryText } from '../validation.ts';
import { backupView } from '../views.ts';

const STORED = {
  ...json(ReceiptSchema, 'The receipt', RECEIPT),
  headers: { Location: header('The address of the backup', RECEIPT.download_url.replace('/download', '')) },
};

const postUpload = createRoute({
  method: 'post',
  path: '/backup/upload',
  operationId: 'uploadForm',
  summary: 'Upload a file as a form',
  description:
    'One file part named `file`, whose filename is the name of the backup unless the option `name` is given. Options go ' +
    'into the query, or into form fields before the file.',
  tags: ['Uploads'],
  ...forToken('write'),
  request: {
    query: FormUploadQuery,
    // A plain schema, not a validator: nothing may read the body but the form parser.
    body: {
      required: true,
      content: {
        'multipart/form-data': {
          schema: { type: 'object', required: ['file'], properties: { file: { type: 'string', format: 'binary' } } },
        },
      },
    },
  },
  responses: { 201: STORED, ...problems(...UPLOAD_CODES, 'no-file', 'malformed-multipart') },
});

const putUpload = createRoute({
  method: 'put',
  path: '/backup/upload/{name}',
  operationId: 'uploadFile',
  summary: 'Upload a file as the raw body',
  description:
    'The rest of the path is the name: a path of up to 16 segments. Uploading a name again makes a new version. ' +
    'With or without Content-Length. A signed upload link is such a URL, for one upload. `Content-Encoding: zstd`, `gzip`, or ' +
    'one over the other says that the body is an encoding of the file: it is decoded, and the receipt is that of the file. ' +
    '`Content-MD5`, `Content-Digest` and `Repr-Digest` are compared with the bytes as sent.',
  tags: ['Uploads'],
  ...forTokenOrLink('write'),
  request: {
    params: NameParam,
    query: LinkUploadQuery,
    body: { required: true, content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } },
  },
  responses: { 201: STORED, ...problems(...UPLOAD_CODES, 'form-not-accepted', 'link-used') },
});

class NoName extends VaultError {
  constructor() {
    super(
      'invalid-name',
      'The URL has no name. Add a slash, to which curl appends the name of the file, or a name: /backup/upload/site.tar.',
    );
  }
}

export function uploadRoutes(app: App): void {
  app.openapi(postUpload, async (c) => {
    beginTransfer(c);
    const body = await orTellJob(c, 'upload', c.req.query('job_id'), () => {
      const { headers } = c.req.raw;
      checkIsWhole(headers);
      checkNotEncoded(headers, 'A form is sent as it is; send an encoded file by PUT to /backup/upload/{name}.');
      return checkedBody(c);
    });
    try {
      return await storeForm(c, body);
    } catch (error) {
      // The parts of a form hold the body until they are left: unlock it, so that the rest can be drained.
      await body.pieces.return();
      throw error;
    }
  });

  const raw = async (c: AppContext) => {
    beginTransfer(c);
    const name = new URL(c.req.url).pathname.slice('/backup/upload/'.length);
    if (name === '') throw new NoName();
    const { order, body } = await orTellJob(c, 'upload', c.req.query('job_id'), () => {
      const { headers } = c.req.raw;
      checkQuery(c, LinkUploadQuery);
      checkIsWhole(headers);
      checkIsNoForm(headers.get('content-type'));
      const options = uploadOptionsOf(queryText(c));
      const codings = parseContentEncoding(headers.get('content-encoding'));
      const body = checkedBody(c);
      return { body, order: orderOf(c, decodeName(name), options, c.req.header('content-type'), codings) };
    });
    const total = contentLength(c);
    const ending = async () => {
      body.checkDigests();
      return order.sha256;
    };
    return store(c, { ...order, total, exact: total > 0, content: body.pieces, ending });
  };
  app.openapi(putUpload, raw);
  app.put('/backup/upload/*', needsOrLink('write'), raw);
}

async function storeForm(c: AppContext, body: ReturnType<typeof checkedBody>) {
  const form = await orTellJob(c, 'upload', c.req.query('job_id'), () =>
    openForm(body.pieces, c.req.header('content-type') ?? '', contentLength(c)),
  );
  const order = await orTellJob(c, 'upload', c.req.query('job_id') ?? form.fields.job_id, () => {
    const { name, ...options } = joinOptions(queryText(c), form.fields);
    checkOptions({ name, ...options }, FormUploadQuery);
    return orderOf(c, name ?? formFilename(form.file.filename), options, form.file.contentType, []);
  });
  return store(c, {
    ...order,
    total: form.file.expectedBytes,
    exact: false,
    content: form.file.content,
    ending: async () => {
      const late = await form.ending();
      body.checkDigests();
      return joinOptions({ sha256: order.sha256 }, { sha256: checkOptions(late, UploadQuery).sha256 }).sha256;
    },
  });
}

async function store(c: AppContext, order: UploadOrder) {
  const running = withLink(c, order.backup_id, () => upload(c.get('services'), order));
  // The client may go away; what has begun is then still brought to its end, or taken back.
  c.executionCtx.waitUntil(running.catch(() => undefined));
  const backup = await running;
  const receipt = { message: 'Upload successful', ...backupView(backup) };
  return c.json(receipt, 201, { location: `/backup/${backup.backup_id}` });
}
