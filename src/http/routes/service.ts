import { createRoute } from '@hono/zod-openapi';
import { DEFAULT_LEVEL, FRAME_BYTES, JSON_BODY_BYTES, PART_BYTES } from '../../shared/limits.ts';
import type { App, AppContext } from '../app-env.ts';
import { docsPage } from '../docs-page.ts';
import type { Document } from '../document.ts';
import { CAPABILITIES, HEALTH } from '../examples.ts';
import { json, OPEN, openApiDocument, VERSION } from '../openapi.ts';
import { frontPage } from '../pages.ts';
import { NoQuery } from '../request-schemas.ts';
import { CapabilitiesSchema, HealthSchema } from '../response-schemas.ts';
import { TUS_VERSION } from '../tus-headers.ts';
import { checkQuery } from '../validation.ts';
import { memoryView } from '../views.ts';

const health = createRoute({
  method: 'get',
  path: '/healthz',
  operationId: 'getHealth',
  summary: 'Check that the vault answers',
  description: 'For load balancers and monitors. Reads neither storage nor databases.',
  tags: ['Service'],
  ...OPEN,
  request: { query: NoQuery },
  responses: { 200: json(HealthSchema, 'The vault answers', HEALTH) },
});

const capabilities = createRoute({
  method: 'get',
  path: '/capabilities',
  operationId: 'getCapabilities',
  summary: 'Get the limits and features of the vault',
  description: 'Limits, codecs, the zstd engine in use, its highest level, and what each operation may hold in memory.',
  tags: ['Service'],
  ...OPEN,
  request: { query: NoQuery },
  responses: { 200: json(CapabilitiesSchema, 'The limits and features', CAPABILITIES) },
});

/** Pages and the document itself, which the registry knows by these words alone. */
function describePages(app: App): void {
  const page = { method: 'get' as const, tags: ['Service'], ...OPEN };
  const html = { 'text/html': { schema: { type: 'string' as const }, example: '<!doctype html>…' } };
  app.openAPIRegistry.registerPath({
    ...page,
    path: '/openapi.json',
    request: { query: NoQuery },
    operationId: 'getOpenApi',
    summary: 'Get this document',
    description: 'OpenAPI 3.1, with every operation of the vault.',
    responses: {
      200: {
        description: 'The document',
        content: { 'application/json': { schema: { type: 'object' }, example: { openapi: '3.1.0' } } },
      },
    },
  });
  app.openAPIRegistry.registerPath({
    ...page,
    path: '/docs',
    operationId: 'getDocs',
    summary: 'Read this document as a page',
    description: 'Every operation, schema and error, with an anchor for each: `/docs#uploadFile`, `/docs#not-found`.',
    responses: { 200: { description: 'The page', content: html } },
  });
  app.openAPIRegistry.registerPath({
    ...page,
    path: '/',
    operationId: 'getFrontPage',
    summary: 'Open the front page',
    description: 'Leads to the documentation.',
    responses: { 200: { description: 'The page', content: html } },
  });
}

/** The routes that are open without a credential. */
export function serviceRoutes(app: App): void {
  describePages(app);
  app.openapi(health, (c) => c.json({ status: 'ok' as const, version: VERSION }, 200));

  app.openapi(capabilities, (c) => {
    const { config, engine } = c.get('services');
    return c.json(
      {
        max_file_size: config.maxFileBytes,
        max_request_bytes: config.maxRequestBytes,
        allowed_suffixes: [...config.allowedSuffixes],
        chunk_sizes: { frame_bytes: FRAME_BYTES, part_bytes: PART_BYTES },
        codecs: ['zstd', 'none'],
        formats: ['zst', 'gz'],
        encryption: { format: 'age' as const, by_default: config.defaultRecipients.length > 0 },
        resumable: { tus: TUS_VERSION, draft: config.resumableDraft, expires_in: config.uploadTtlMs / 1000 },
        engine: engine.name,
        highest_level: engine.highestLevel,
        default_level: DEFAULT_LEVEL,
        limits: {
          json_body_bytes: JSON_BODY_BYTES,
          cpu_seconds: config.cpuLimitMs / 1000,
          upload_idle_seconds: config.uploadIdleMs / 1000,
          download_idle_seconds: config.downloadIdleMs / 1000,
          min_rate: config.minRate,
        },
        memory: memoryView(engine),
      },
      200,
    );
  });

  // Built once for an isolate, because building takes 100 ms of CPU and needs no credential.
  const documents = new Map<boolean, Document>();
  // The optional protocol is documented only where it is on.
  const documentFor = (c: AppContext) => {
    const draft = c.get('services').config.resumableDraft;
    const document = documents.get(draft) ?? openApiDocument(app, { draft });
    documents.set(draft, document);
    return document;
  };
  app.get('/openapi.json', (c) => {
    checkQuery(c, NoQuery);
    return c.json(documentFor(c));
  });
  app.get('/docs', (c) => docsPage(documentFor(c)));
  app.get('/', () => frontPage());
}
