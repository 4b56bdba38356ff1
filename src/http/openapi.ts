import type { RouteConfig, z } from '@hono/zod-openapi';
import type { ErrorCode } from '../shared/errors.ts';
import { ADVICE } from './advice.ts';
import type { App, Scope } from './app-env.ts';
import { needs, needsOrLink, UPLOAD_KEY } from './auth.ts';
import { curlOf } from './curl-sample.ts';
import { codesIn, type Document, type Operation, operationsOf } from './document.ts';
import { readJson } from './json-body.ts';
import { statusOf, titleOf } from './problem.ts';
import { ProblemSchema } from './response-schemas.ts';
import { withoutRepeats } from './validation.ts';

/** A JSON answer of a route. */
export function json<S extends z.ZodType>(schema: S, description: string, example: z.input<S>) {
  return { description, content: { 'application/json': { schema, example } } };
}

/** A JSON body of a route. */
export function jsonBody<S extends z.ZodType>(schema: S, example: z.input<S>) {
  return { content: { 'application/json': { schema, example } } };
}

/** A body of bytes. */
export function binary(description: string) {
  const schema = { type: 'string', format: 'binary' } as const;
  return { description, content: { 'application/octet-stream': { schema } } };
}

/** A header of an answer. */
export function header(description: string, example: string) {
  return { description, schema: { type: 'string' as const }, example };
}

/** The errors that a route may answer, by status. Those of its credential are added to the document by themselves. */
export function problems(...codes: ErrorCode[]) {
  return Object.fromEntries(
    [...Map.groupBy(new Set(codes), statusOf)].map(([status, same]) => [status, problem(status, same)]),
  );
}

function problem(status: number, codes: readonly ErrorCode[]) {
  const [code = 'internal-error'] = codes;
  const example = {
    type: `/docs#${code}`,
    title: titleOf(code),
    status,
    detail: ADVICE[code],
    code,
    request_id: '01JC8Z5V3M9QK2T7W4X6Y8B0CD',
  };
  return {
    description: codes.map(titleOf).join('; '),
    'x-codes': codes,
    content: { 'application/problem+json': { schema: ProblemSchema, example } },
  };
}

/** What any way of uploading a file may answer. */
export const UPLOAD_CODES = [
  'invalid-name',
  'invalid-file-type',
  'invalid-recipient',
  'level-unsupported',
  'level-too-slow',
  'partial-upload',
  'empty-upload',
  'upload-stalled',
  'job-running',
  'file-too-large',
  'unsupported-encoding',
  'malformed-zstd',
  'malformed-gzip',
  'invalid-upload-header',
  'checksum-unsupported',
  'checksum-mismatch',
  'too-many-transfers',
  'broken-archive',
  'upload-interrupted',
  'stored-data-corrupt',
  'storage-failed',
  'job-unavailable',
  'busy',
] as const satisfies ErrorCode[];

/** The parts of a route that takes tokens: the check of the scope, and how the document describes it. */
export function forToken(scope: Scope) {
  return { middleware: [needs(scope), withoutRepeats], ...describedAccess(scope, 'bearer') };
}

/** The parts of a route that takes tokens, and a JSON body. */
export function forTokenAndJson(scope: Scope) {
  return { middleware: [needs(scope), readJson], ...describedAccess(scope, 'bearer') };
}

/** The parts of a route that takes tokens and signed URLs. */
export function forTokenOrLink(scope: Scope) {
  return { middleware: [needsOrLink(scope), withoutRepeats], ...describedAccess(scope, 'bearer', 'link') };
}

/** The parts of a route that is open without a credential. */
export const OPEN: { security: [] } = { security: [] };

type SecurityScheme = 'bearer' | 'link' | 'upload';

/** Roles beside a scheme that is not OAuth's are allowed since OpenAPI 3.1 (section 4.8.30). */
export function describedAccess(scope: Scope, ...schemes: SecurityScheme[]) {
  return {
    security: schemes.map((scheme) => ({ [scheme]: scheme === 'bearer' ? [scope] : [] })),
    'x-scope': scope,
  };
}

type Responses = RouteConfig['responses'];

/** Answers of a HEAD request. */
export function withoutBody(responses: Responses): Responses {
  return Object.fromEntries(
    Object.entries(responses).map(([status, response]) => {
      if ('$ref' in response) return [status, response];
      const { content: _, ...head } = { content: undefined, ...response };
      return [status, head];
    }),
  );
}

/** Describes HEAD beside GET: the router answers it by the same handler. */
export function describeHead(app: App, get: RouteConfig): void {
  // The registry publishes every property that it is given.
  const { middleware: _, ...described } = get;
  app.openAPIRegistry.registerPath({
    ...described,
    method: 'head',
    operationId: `${get.operationId}Head`,
    summary: `${get.summary}: headers only`,
    description: 'The status and headers of GET, without a body.',
    responses: withoutBody(get.responses),
  });
}

export const VERSION = '0.1.0';

export type Tag = 'Uploads' | 'Downloads' | 'Archives' | 'Databases' | 'Jobs' | 'Links' | 'Tokens' | 'Service';

const TAGS: Readonly<Record<Tag, string>> = {
  Uploads: 'Send files: as a form, as the raw body, or resumable in chunks (tus).',
  Downloads: 'Backups: list, receipts, bytes, verification and deletion.',
  Archives: 'The members of tar backups.',
  Databases: 'Rows of D1 databases as JSON, in and out.',
  Jobs: 'The progress of uploads, verifications and imports.',
  Links: 'Signed URLs that work without a token.',
  Tokens: 'Credentials with scopes. `read`: list and download. `write`: upload. `admin`: everything.',
  Service: 'The vault itself.',
};

const INFO = {
  openapi: '3.1.0',
  info: {
    title: 'Coldstream',
    version: VERSION,
    description:
      'A backup vault on the edge: streams go into and out of R2 through zstd. Sizes are bytes, times are ISO 8601 in ' +
      'UTC, checksums are SHA-256 in lower-case hex.',
    license: { name: 'MIT', identifier: 'MIT' },
  },
  servers: [{ url: '/', description: 'This vault' }],
  tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
};

const SECURITY_SCHEMES = {
  bearer: {
    type: 'http',
    scheme: 'bearer',
    description:
      'A token of `POST /tokens`, or the secret `ADMIN_TOKEN`. Each operation names the scope it needs. ' +
      'It may also be the password of HTTP Basic, with any user name: `curl -u :TOKEN`.',
  },
  link: {
    type: 'apiKey',
    in: 'query',
    name: 'signature',
    description: 'A signed URL, used exactly as the vault returned it. It replaces the token.',
  },
  upload: {
    type: 'apiKey',
    in: 'query',
    name: UPLOAD_KEY,
    description:
      'The secret of one resumable upload, as `Coldstream-Upload-Secret` and `Location` return it. ' +
      'It may be sent as a Bearer token too.',
  },
} as const;

export function describeSecurity(app: App): void {
  for (const [name, scheme] of Object.entries(SECURITY_SCHEMES)) {
    app.openAPIRegistry.registerComponent('securitySchemes', name, scheme);
  }
}

/** Paths of the optional protocol, which are 404 unless `RESUMABLE_DRAFT=1`. */
const DRAFT_PATHS = '/uploads/';

/** The published document, made from the routes' own schemas. */
export function openApiDocument(app: App, { draft }: { readonly draft: boolean }): Document {
  const document = app.getOpenAPI31Document(INFO);
  const paths = Object.entries(document.paths ?? {}).filter(([path]) => draft || !path.startsWith(DRAFT_PATHS));
  for (const [path, item] of paths) {
    for (const { method, operation } of operationsOf(item)) {
      addProblems(method, operation, [...credentialCodes(method, operation), ...inputCodes(operation)]);
      operation['x-codeSamples'] = [{ lang: 'Shell', label: 'curl', source: curlOf(method, path, operation) }];
    }
  }
  return { ...document, paths: Object.fromEntries(paths) };
}

/** The errors that every operation with the same credentials has. */
function credentialCodes(method: string, { security = [] }: Operation): ErrorCode[] {
  if (security.length === 0) return ['internal-error'];
  const forLinks: ErrorCode[] = security.some((scheme) => 'link' in scheme) ? ['bad-signature', 'link-expired'] : [];
  const forBasic: ErrorCode[] = method === 'get' || method === 'head' ? [] : ['cross-site'];
  return ['unauthorized', 'forbidden', ...forBasic, ...forLinks, 'too-many-attempts', 'internal-error'];
}

/** The errors that every operation with the same kind of input has. Pages take any parameter: mail programs add theirs. */
function inputCodes({ parameters = [], requestBody, responses = {} }: Operation): ErrorCode[] {
  const isPage = '200' in responses && 'content' in responses['200'] && 'text/html' in (responses['200'].content ?? {});
  const json = requestBody && 'content' in requestBody ? requestBody.content['application/json']?.schema : undefined;
  // The JSON array of an import is read as it arrives, so it has no cap.
  const takesJson = json && !('items' in json);
  return [
    ...(isPage ? [] : (['unknown-option', 'option-not-applicable'] as const)),
    ...(parameters.length > 0 ? (['invalid-option'] as const) : []),
    ...(takesJson ? (['invalid-request', 'upload-stalled', 'body-too-large', 'unsupported-media-type'] as const) : []),
  ];
}

function addProblems(method: string, operation: Operation, codes: readonly ErrorCode[]): void {
  for (const [status, added] of Map.groupBy(codes, statusOf)) {
    const { description, content, ...rest } = problem(status, [
      ...new Set([...codesIn(operation.responses?.[status]), ...added]),
    ]);
    const schema = { $ref: '#/components/schemas/Problem' };
    const { example } = content['application/problem+json'];
    const body = method === 'head' ? {} : { content: { 'application/problem+json': { schema, example } } };
    operation.responses = { ...operation.responses, [status]: { description, ...rest, ...body } };
  }
}
