import { describe, expect, it } from 'vitest';
import { MEMORY } from '../../src/shared/limits.ts';
import { tarOf } from '../support/archives.ts';
import { ask, expectProblem, put, sample } from '../support/vault.ts';

const open = { token: null };

describe('what is open to everybody', () => {
  it.each(['/', '/healthz', '/openapi.json', '/docs', '/capabilities'])('answers %s', async (path) => {
    const response = await ask(path, open);
    expect(response.status).toBe(200);
    expect(response.headers.get('x-request-id')).toMatch(/^[0-9A-Z]{26}$/);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    if (response.headers.get('content-type')?.startsWith('text/html')) {
      expect(response.headers.get('content-security-policy')).toContain("default-src 'none'");
    }
    await response.body?.cancel();
  });

  it('answers OPTIONS on every route', async () => {
    for (const path of [
      '/backup',
      '/backup/upload',
      '/backup/upload/a.tar',
      '/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/files',
      '/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/files/',
      '/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/files/a/b',
      '/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/verify',
      '/tokens',
      '/export/stream',
      '/import/stream',
      '/tus',
      '/tus/01JC8Z5V3M9QK2T7W4X6Y8B0CD',
      '/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/restore',
    ]) {
      const response = await ask(path, { ...open, method: 'OPTIONS' });
      expect(response.status, path).toBe(204);
      expect(response.headers.get('allow')).toContain('OPTIONS');
    }
  });

  it('tells what the vault can do, and what each operation may hold', async () => {
    const told = await (await ask('/capabilities', open)).json<Record<string, unknown>>();
    expect(told).toMatchObject({ codecs: ['zstd', 'none'], encryption: { format: 'age', by_default: false } });
    expect(told.resumable).toEqual({ tus: '1.0.0', draft: false, expires_in: 6 * 24 * 60 * 60 });
    const { upload, import: rows } = MEMORY.operations;
    expect(told.memory).toMatchObject({
      isolate_transfer_bytes: MEMORY.isolateBytes,
      operations: {
        upload: {
          budget_bytes: upload.budgetBytes,
          chunk_bytes: upload.chunkBytes,
          level: upload.level,
          parallel_tasks: upload.parallelTasks,
        },
        import: { budget_bytes: rows.budgetBytes, batch: rows.batch, parallel_tasks: rows.parallelTasks },
      },
    });
    const shown = Object.keys((told.memory as { operations: object }).operations);
    expect(shown).toEqual(Object.keys(MEMORY.operations));
  });

  it('tells strangers nothing and wrong methods what is right', async () => {
    await expectProblem(await ask('/nowhere'), 404, 'not-found');
    const wrong = await ask('/backup', { method: 'DELETE' });
    expect(wrong.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
    await expectProblem(wrong, 405, 'method-not-allowed');
    for (const path of ['files', 'files/', 'files/a', 'files/a/b']) {
      for (const method of ['PUT', 'POST', 'DELETE']) {
        const refused = await ask(`/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/${path}`, { method });
        expect(refused.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
        await expectProblem(refused, 405, 'method-not-allowed');
      }
    }
  });
});

interface Operation {
  responses: Record<string, { content?: Record<string, { schema?: { $ref?: string } }> }>;
  requestBody?: unknown;
}
interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}
interface Schema {
  $ref?: string;
  allOf?: Schema[];
  required?: string[];
  properties?: Record<string, unknown>;
}

/** A schema and all that it is made of. */
function schemasOf(document: Document, ref: string): Schema[] {
  const schema = document.components.schemas[ref.split('/').at(-1) ?? ''] ?? {};
  const parts = schema.allOf ?? [];
  return [schema, ...parts.flatMap((part) => (part.$ref ? schemasOf(document, part.$ref) : [part]))];
}

describe('the OpenAPI document', () => {
  it('names the routes of the contract, and each of them answers as it says', async () => {
    const document: Document = await (await ask('/openapi.json', open)).json();
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining([
        '/backup/upload',
        '/backup/upload/{filename}',
        '/backup/{backup_id}/download',
        '/backup/{backup_id}',
        '/backup',
        '/backup/{backup_id}/files',
        '/backup/{backup_id}/files/{path}',
        '/backup/{backup_id}/verify',
        '/backup/{backup_id}/links',
        '/backup/upload-links',
        '/jobs/{job_id}',
        '/jobs/{job_id}/links',
        '/ws/backup/{job_id}',
        '/export/stream',
        '/tokens',
        '/tokens/{id}',
        '/tus',
        '/tus/{upload_id}',
        '/reindex',
        '/healthz',
        '/capabilities',
      ]),
    );
    const receipt = await put('api.tar', tarOf([{ path: 'dir', type: 'directory' }]));
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        const real = path
          .replace('{backup_id}', receipt.backup_id)
          .replace('{job_id}', 'api')
          .replace('{filename}', 'api.tar')
          .replace('{path}', 'dir')
          .replace('{id}', 'none');
        if (method === 'delete') continue;
        const body =
          method === 'put'
            ? sample(5)
            : method === 'post'
              ? '{"filename":"a.tar","name":"n","scopes":["read"]}'
              : undefined;
        const response = await ask(real, {
          method: method.toUpperCase(),
          body,
          headers: { 'content-type': 'application/json' },
        });
        const declared = operation.responses[String(response.status)];
        expect(declared, `${method} ${path} answered ${response.status}`).toBeDefined();
        const type = response.headers.get('content-type')?.split(';')[0] ?? '';
        const ref = declared?.content?.[type]?.schema?.$ref;
        if (!ref) {
          await response.body?.cancel();
          continue;
        }
        const schemas = schemasOf(document, ref);
        const answer: Record<string, unknown> = await response.json();
        const required = schemas.flatMap((schema) => schema.required ?? []);
        const known = schemas.flatMap((schema) => Object.keys(schema.properties ?? {}));
        for (const name of required) expect(answer, `${method} ${path}`).toHaveProperty(name);
        for (const name of Object.keys(answer)) expect(known, `${method} ${path}`).toContain(name);
      }
    }
  });
});
