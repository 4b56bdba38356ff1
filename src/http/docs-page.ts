import { html, raw } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import type { openApiDocument } from './openapi.ts';

/**
 * The pages that need no script: the front page, and the OpenAPI document drawn on the server. A viewer such as Swagger
 * UI would be 1.5 MB of script that wants inline styles; this page keeps a policy that allows neither.
 */
type Html = HtmlEscapedString | Promise<HtmlEscapedString>;
type Document = ReturnType<typeof openApiDocument>;
type PathItem = NonNullable<Document['paths']>[string];
type Operation = NonNullable<PathItem['get']>;

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #0a7ea4; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
a { color: var(--accent); } code, pre { font: 0.9em ui-monospace, monospace; }
pre { background: var(--soft); padding: 0.8rem; border-radius: 6px; overflow-x: auto; }
section { border-top: 1px solid var(--line); padding: 0.6rem 0 1rem; }
h3 { font: 600 1.05rem ui-monospace, monospace; margin: 0.6rem 0; overflow-wrap: anywhere; }
h3 b { color: var(--accent); text-transform: uppercase; margin-right: 0.6rem; }
ul { list-style: none; padding: 0; margin: 0.4rem 0; display: flex; flex-wrap: wrap; gap: 0 1.4rem; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: 0.15rem 1rem 0.15rem 0; }
`;

let policy: Promise<string> | undefined;

/** The policy allows our one style by its digest, and nothing else. */
async function contentSecurityPolicy(): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(STYLE));
  const hash = btoa(String.fromCharCode(...new Uint8Array(digest)));
  return `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
}

async function page(title: string, body: Html): Promise<Response> {
  policy ??= contentSecurityPolicy();
  const text = await html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title}</title>
        ${raw(`<style>${STYLE}</style>`)}
      </head>
      <body>
        ${body}
      </body>
    </html>`;
  return new Response(String(text), {
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': await policy,
      'strict-transport-security': 'max-age=31536000',
      'referrer-policy': 'no-referrer',
      'x-frame-options': 'DENY',
      'cross-origin-opener-policy': 'same-origin',
    },
  });
}

export function frontPage(): Promise<Response> {
  return page(
    'Coldstream',
    html`<h1>Coldstream</h1>
      <p>A backup vault on the edge: streams go into and out of R2 through zstd.</p>
      <p>The interface: <a href="/docs">documentation</a>, <a href="/openapi.json">OpenAPI document</a>,
        <a href="/capabilities">what this vault can do</a>, <a href="/healthz">whether it is well</a>.</p>
      <pre>curl -T site.tar -H "Authorization: Bearer $TOKEN" https://this-host/backup/upload/</pre>`,
  );
}

export function docsPage(document: Document): Promise<Response> {
  const operations = Object.entries(document.paths ?? {}).flatMap(([path, item]) => operationsOf(path, item));
  const tags = [...new Set(operations.map(({ operation }) => operation.tags?.[0] ?? 'Other'))];
  return page(
    'Coldstream: interface',
    html`<h1>Coldstream ${document.info.version}</h1>
      <p>${document.info.description} The same as <a href="/openapi.json">OpenAPI</a>. Errors are
        <code>application/problem+json</code>: switch on <code>code</code>, read <code>detail</code>.</p>
      ${tags.map(
        (tag) =>
          html`<h2>${tag}</h2>
            ${operations.filter(({ operation }) => (operation.tags?.[0] ?? 'Other') === tag).map(operationSection)}`,
      )}`,
  );
}

interface Listed {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

function operationsOf(path: string, item: PathItem): Listed[] {
  const listed = { get: item.get, post: item.post, put: item.put, delete: item.delete };
  return Object.entries(listed).flatMap(([method, operation]) => (operation ? [{ method, path, operation }] : []));
}

function operationSection({ method, path, operation }: Listed): Html {
  const parameters = operation.parameters?.filter((parameter) => 'name' in parameter) ?? [];
  return html`<section>
    <h3><b>${method}</b>${path}</h3>
    <p>${operation.summary}. ${operation.description ?? ''}</p>
    ${
      parameters.length === 0
        ? ''
        : html`<table>
      ${parameters.map(
        (parameter) => html`<tr>
        <th><code>${parameter.name}</code></th>
        <td>${parameter.in}${parameter.required ? ', required' : ''}</td>
        <td>${describe(parameter.schema)}</td>
      </tr>`,
      )}
    </table>`
    }
    <ul>${Object.entries(operation.responses ?? {}).map(([status, response]) => answerItem(status, response))}</ul>
  </section>`;
}

function answerItem(status: string, response: object): Html {
  return html`<li><code>${status}</code> ${'description' in response ? String(response.description) : ''}</li>`;
}

/** A schema in a line: what it may be, and what it means. */
function describe(schema: unknown): string {
  if (typeof schema !== 'object' || schema === null) return '';
  const known: {
    description?: unknown;
    enum?: unknown;
    type?: unknown;
    minimum?: unknown;
    maximum?: unknown;
    default?: unknown;
  } = schema;
  const range = known.minimum === undefined ? '' : ` ${known.minimum} to ${known.maximum}`;
  const kind = Array.isArray(known.enum) ? known.enum.join(' | ') : `${known.type ?? ''}${range}`;
  const fallback = known.default === undefined ? '' : `, default ${known.default}`;
  return [kind + fallback, known.description].filter(Boolean).join('. ');
}
