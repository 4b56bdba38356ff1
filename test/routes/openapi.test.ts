import { env } from 'cloudflare:workers';
import { beforeAll, describe, expect, it } from 'vitest';
import { createApp } from '../../src/http/app.ts';
import { ERROR_CODES } from '../../src/http/problem.ts';
import { tarOf } from '../support/archives.ts';
import { asker } from '../support/resumable-draft.ts';
import { ask, expectProblem, put, sample } from '../support/vault.ts';

interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  schema: Schema;
}
interface Media {
  schema?: Schema;
  example?: unknown;
}
interface Answer {
  description: string;
  content?: Record<string, Media>;
}
interface Operation {
  operationId: string;
  summary: string;
  description: string;
  tags: string[];
  security: Record<string, string[]>[];
  'x-scope'?: string;
  'x-codeSamples': { source: string }[];
  parameters?: Parameter[];
  requestBody?: { content: Record<string, Media> };
  responses: Record<string, Answer>;
}
interface Schema {
  $ref?: string;
  allOf?: Schema[];
  required?: string[];
  properties?: Record<string, unknown>;
}
interface Document {
  openapi: string;
  tags: { name: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema>; securitySchemes: Record<string, unknown> };
}

interface Listed {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

/** With the optional draft, so that the document is the longest there is. */
const draft = asker();

let document: Document;
let operations: Listed[];
let docs: string;

beforeAll(async () => {
  document = await (await draft('/openapi.json', { token: null })).json();
  operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
  docs = await (await draft('/docs', { token: null })).text();
});

/** `/backup/{backup_id}` and `/backup/:backup_id` are one form; a wildcard is a last parameter of several segments. */
function formOf(path: string): string {
  return path.replace(/\{\w+\}|:\w+|\*/g, '{}');
}

function named({ method, path }: { method: string; path: string }): string {
  return `${method} ${formOf(path)}`;
}

/** Everything that has an address. HEAD comes to the handlers of GET, and OPTIONS is answered for every route. */
function routedOperations(): Set<string> {
  const routes = createApp().routes.filter(({ method }) => method !== 'ALL' && method !== 'OPTIONS');
  return new Set(routes.map(named));
}

function* refsIn(value: unknown): Generator<string> {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if (key === '$ref') yield String(inner);
    else yield* refsIn(inner);
  }
}

/** A schema and all that it is made of. */
function schemasOf(ref: string): Schema[] {
  const schema = document.components.schemas[ref.split('/').at(-1) ?? ''] ?? {};
  const parts = schema.allOf ?? [];
  return [schema, ...parts.flatMap((part) => (part.$ref ? schemasOf(part.$ref) : [part]))];
}

/** An address of the operation, which need not exist. */
function addressOf({ path, operation }: Listed): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => (name === 'job_id' ? 'api' : '01JC8Z5V3M9QK2T7W4X6Y8B0CD'));
  const query = (operation.parameters ?? []).filter((one) => one.in === 'query' && one.required);
  return `${filled}?${query.map(({ name }) => `${name}=sample`).join('&')}`.replace(/\?$/, '');
}

describe('the OpenAPI document', () => {
  it('has every operation of the router, and no other', () => {
    const routed = routedOperations();
    const published = new Set(operations.map(named));
    expect([...routed].filter((one) => !published.has(one))).toEqual([]);
    const others = [...published].filter((one) => !routed.has(one));
    const heads = others.filter((one) => one.startsWith('HEAD ') && routed.has(one.replace('HEAD', 'GET')));
    const options = others.filter((one) => one.startsWith('OPTIONS '));
    expect(others.filter((one) => !heads.includes(one) && !options.includes(one))).toEqual([]);
  });

  it('leaves out the draft where it is off', async () => {
    const plain: Document = await (await ask('/openapi.json', { token: null })).json();
    const without = Object.keys(document.paths).filter((path) => !path.startsWith('/uploads/'));
    expect(Object.keys(plain.paths)).toEqual(without);
    expect(without.length).toBeLessThan(Object.keys(document.paths).length);
  });

  it('describes every operation: id, tag, summary, description, scope, example and answers', () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(ids.filter((id, place) => ids.indexOf(id) !== place)).toEqual([]);
    const tags = document.tags.map(({ name }) => name);
    for (const one of operations) {
      const { operation } = one;
      const which = named(one);
      expect(operation.operationId, which).toMatch(/^[a-z][A-Za-z]+$/);
      const published = ['operationId', 'summary', 'description', 'tags', 'security', 'x-scope', 'x-codeSamples'];
      const others = Object.keys(operation).filter((key) => !published.includes(key));
      for (const key of others) expect(['parameters', 'requestBody', 'responses'], which).toContain(key);
      expect(
        operation.tags.filter((tag) => tags.includes(tag)),
        which,
      ).toHaveLength(1);
      expect(operation.summary, which).toMatch(/^[A-Z].*[^.]$/);
      expect(operation.description, which).toMatch(/^\S.*[.)`]$/s);
      expect(operation['x-codeSamples'][0]?.source, which).toMatch(/^(curl|websocat) /);
      const schemes = operation.security.flatMap((scheme) => Object.keys(scheme));
      for (const scheme of schemes) expect(document.components.securitySchemes, which).toHaveProperty(scheme);
      if (schemes.length > 0) expect(['read', 'write', 'admin'], which).toContain(operation['x-scope']);
      const statuses = Object.keys(operation.responses);
      expect(
        statuses.some((status) => status < '400'),
        which,
      ).toBe(true);
      if (schemes.length > 0) expect(statuses, which).toEqual(expect.arrayContaining(['401', '403']));
    }
  });

  it('has an example for every JSON body and answer, and a description for every answer', () => {
    for (const one of operations) {
      const { requestBody, responses } = one.operation;
      for (const [status, { description, content = {} }] of Object.entries(responses)) {
        expect(description, `${named(one)} ${status}`).not.toBe('');
        for (const [type, media] of Object.entries(content)) {
          if (type.includes('json')) expect(media.example, `${named(one)} ${status} ${type}`).toBeDefined();
        }
      }
      for (const [type, media] of Object.entries(requestBody?.content ?? {})) {
        if (type.includes('json')) expect(media.example, `${named(one)} ${type}`).toBeDefined();
      }
    }
  });

  it('has a parameter for every part of a path, and refers to nothing that is not there', () => {
    for (const one of operations) {
      const inPath = [...one.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const described = (one.operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
      expect(described.map(({ name }) => name).sort(), named(one)).toEqual(inPath.sort());
    }
    for (const ref of refsIn(document)) {
      const name = /^#\/components\/schemas\/(\w+)$/.exec(ref)?.[1] ?? ref;
      expect(document.components.schemas, ref).toHaveProperty(name);
    }
  });

  it('names the fields and statuses that each operation really answers with', async () => {
    const receipt = await put('api.tar', tarOf([{ path: 'dir', type: 'directory' }]));
    for (const { method, path, operation } of operations.filter((one) => !one.path.startsWith('/uploads/'))) {
      const real = path
        .replace('{backup_id}', receipt.backup_id)
        .replace('{job_id}', 'api')
        .replace('{name}', 'api.tar')
        .replace('{path}', 'dir')
        .replace('{id}', 'none');
      if (method === 'DELETE') continue;
      const body =
        method === 'PUT'
          ? sample(5)
          : method === 'POST'
            ? '{"filename":"a.tar","name":"n","scopes":["read"]}'
            : undefined;
      const response = await ask(real, { method, body, headers: { 'content-type': 'application/json' } });
      const declared = operation.responses[String(response.status)];
      expect(declared, `${method} ${path} answered ${response.status}`).toBeDefined();
      const type = response.headers.get('content-type')?.split(';')[0] ?? '';
      const ref = declared?.content?.[type]?.schema?.$ref;
      if (!ref || method === 'HEAD') {
        await response.body?.cancel();
        continue;
      }
      const schemas = schemasOf(ref);
      const answer: Record<string, unknown> = await response.json();
      const required = schemas.flatMap((schema) => schema.required ?? []);
      const known = schemas.flatMap((schema) => Object.keys(schema.properties ?? {}));
      for (const name of required) expect(answer, `${method} ${path}`).toHaveProperty(name);
      for (const name of Object.keys(answer)) expect(known, `${method} ${path}`).toContain(name);
    }
  });
});

describe('/docs', () => {
  /** From the operation's anchor to the next section. */
  const sectionOf = (id: string) => docs.split(`id="${id}"`)[1]?.split('<section')[0] ?? '';

  it('shows every operation with its address, scope, parameters, body, answers and example', () => {
    for (const { method, path, operation } of operations) {
      const section = sectionOf(operation.operationId);
      const shown = [
        `>${method.toLowerCase()}</span>${path}<`,
        operation['x-scope'] ?? 'Open without a credential',
        ...(operation.parameters ?? []).map(({ name }) => `<code>${name}</code>`),
        ...Object.keys(operation.requestBody?.content ?? {}),
        ...Object.keys(operation.responses).map((status) => `<code>${status}</code>`),
        '<pre><code>',
      ];
      for (const text of shown) expect(section, `${operation.operationId}: ${text}`).toContain(text);
    }
  });

  it('shows every schema with its fields', () => {
    for (const [name, { properties = {} }] of Object.entries(document.components.schemas)) {
      for (const field of Object.keys(properties)) expect(sectionOf(`schema-${name}`), name).toContain(`>${field}<`);
    }
  });

  it('has one anchor for each error code, with its status and what to do', () => {
    for (const code of ERROR_CODES) {
      expect(docs.split(`id="${code}"`), code).toHaveLength(2);
      expect(docs.split(`id="${code}"`)[1], code).toMatch(/^[^§]*?<p>\d{3} \w[^<]+<\/p><p class="quiet">[A-Z`<]/);
    }
  });

  it('has no link that leads nowhere, and no anchor twice', () => {
    const ids = [...docs.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(ids.filter((id, place) => ids.indexOf(id) !== place)).toEqual([]);
    for (const [, target] of docs.matchAll(/ href="#([^"]+)"/g)) expect(ids).toContain(target);
  });

  it('needs no script', () => {
    expect(docs).not.toMatch(/<script|<img|<link| style=| on\w+=/);
  });
});

describe('every operation', () => {
  it('answers OPTIONS without a credential, and names its method in Allow', async () => {
    // POST to an upload stands in for its other methods, and is 405 by itself.
    const own = operations.filter(({ operation }) => operation.operationId !== 'overrideUploadMethod');
    for (const one of own) {
      const response = await draft(addressOf(one), { method: 'OPTIONS', token: null });
      expect(response.status, named(one)).toBe(204);
      expect(response.headers.get('allow')?.split(', '), named(one)).toContain(one.method);
    }
  });

  it('is 401 without a credential and 403 without its scope, unless it is open', async () => {
    const tokens = new Map<string, string>();
    for (const scope of ['read', 'write']) {
      const body = JSON.stringify({ name: scope, scopes: [scope] });
      const headers = { 'content-type': 'application/json' };
      const made = await ask('/tokens', { method: 'POST', body, headers });
      tokens.set(scope, (await made.json<{ token: string }>()).token);
    }
    for (const one of operations) {
      const { method, operation } = one;
      const scope = operation['x-scope'];
      if (!scope || method === 'OPTIONS') continue;
      const required = (operation.parameters ?? []).filter(
        (parameter) => parameter.in === 'header' && parameter.required,
      );
      const headers = Object.fromEntries(
        required.map(({ name }) => [name, name === 'Tus-Resumable' ? '1.0.0' : 'PATCH']),
      );
      const sent = { method, headers };
      const anonymous = await draft(addressOf(one), { ...sent, token: null });
      expect(anonymous.status, named(one)).toBe(401);
      expect(anonymous.headers.get('www-authenticate'), named(one)).toContain('Bearer');
      await anonymous.body?.cancel();
      const lacking = await draft(addressOf(one), {
        ...sent,
        token: tokens.get(scope === 'read' ? 'write' : 'read') ?? '',
      });
      expect(lacking.status, named(one)).toBe(403);
      await lacking.body?.cancel();
    }
  });

  it('answers with X-Request-Id and nosniff, and 405 with Allow to a method that it does not take', async () => {
    for (const one of operations) {
      const { method } = one;
      const answers = [
        await draft(addressOf(one), { method, token: null }),
        await draft(addressOf(one), { method: 'PROPFIND', token: env.ADMIN_TOKEN }),
      ];
      for (const response of answers) {
        expect(response.headers.get('x-request-id'), named(one)).toMatch(/^[0-9A-Z]{26}$/);
        expect(response.headers.get('x-content-type-options'), named(one)).toBe('nosniff');
      }
      const [open, wrong] = answers;
      await open?.body?.cancel();
      if (wrong) await expectProblem(wrong, 405, 'method-not-allowed');
      expect(wrong?.headers.get('allow')?.split(', '), named(one)).toContain(method);
    }
  });
});
