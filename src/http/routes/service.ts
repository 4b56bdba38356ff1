import { createRoute } from '@hono/zod-openapi';
import { FRAME_BYTES, MEMORY, PART_BYTES } from '../../shared/limits.ts';
import type { App } from '../app-env.ts';
import { docsPage, frontPage } from '../docs-page.ts';
import { json, openApiDocument, VERSION } from '../openapi.ts';
import { CapabilitiesSchema, HealthSchema } from '../schemas.ts';
import { TUS_VERSION } from '../tus-headers.ts';
import { memoryView } from '../views.ts';

const health = createRoute({
  method: 'get',
  path: '/healthz',
  summary: 'Whether the vault answers',
  tags: ['Service'],
  security: [],
  responses: { 200: json(HealthSchema, 'It does') },
});

const capabilities = createRoute({
  method: 'get',
  path: '/capabilities',
  summary: 'Caps, sizes, codecs and the engine in use',
  tags: ['Service'],
  security: [],
  responses: { 200: json(CapabilitiesSchema, 'What this vault can do') },
});

/** What is open to everybody. */
export function serviceRoutes(app: App): void {
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
        default_level: MEMORY.operations.upload.level,
        memory: memoryView(),
      },
      200,
    );
  });

  app.get('/openapi.json', (c) => c.json(openApiDocument(app)));
  app.get('/docs', () => docsPage(openApiDocument(app)));
  app.get('/', () => frontPage());
}
