/**
 * The OpenAPI document drawn on the server. A viewer such as Swagger UI would be 1.5 MB of script that wants inline
 * styles; this page needs no script. Anchors: `operationId`, `schema-NAME`, and the code of each error.
 */
import { html } from 'hono/html';
import { ADVICE } from './advice.ts';
import { codesIn, type Document, type Operation, operationsOf } from './document.ts';
import { type Html, page } from './pages.ts';
import { ERROR_CODES, statusOf, titleOf } from './problem.ts';
import { fieldsOf, kindOf, type Schema, type SchemaField } from './schema-text.ts';

interface Listed {
  readonly id: string;
  readonly tag: string;
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

export function docsPage(document: Document): Promise<Response> {
  const operations = Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    operationsOf(item).map(({ method, operation }) => {
      const { operationId = `${method} ${path}`, tags = [] } = operation;
      return { id: operationId, tag: tags[0] ?? 'Service', method, path, operation };
    }),
  );
  const tags = (document.tags ?? []).map(({ name, description = '' }) => {
    return { name, description, operations: operations.filter(({ tag }) => tag === name) };
  });
  const schemas = Object.entries(document.components?.schemas ?? {});
  return page(
    'Coldstream: interface',
    html`<h1>Coldstream ${document.info.version}</h1>
    <div class="columns">
      <nav aria-label="Contents">
        <div>
          <ul>
            <li><a href="#basics">Basics</a></li>
            <li><a href="#schemas">Schemas</a></li>
            <li><a href="#errors">Errors</a></li>
          </ul>
          ${tags.map(
            (tag) => html`<b><a href="#${tag.name}">${tag.name}</a></b>
              <ul>${tag.operations.map(({ id, operation }) => html`<li><a href="#${id}">${operation.summary}</a></li>`)}</ul>`,
          )}
        </div>
      </nav>
      <main>
        ${basics(document)}
        ${tags.map(
          (tag) => html`<section>
            <h2 id="${tag.name}">${tag.name}</h2>
            ${prose(tag.description)} ${tag.operations.map(operationSection)}
          </section>`,
        )}
        <section>
          <h2 id="schemas">Schemas</h2>
          ${schemas.map(([name, schema]) => schemaSection(name, schema))}
        </section>
        ${errorsSection()}
      </main>
    </div>`,
  );
}

function basics({ info, components }: Document): Html {
  const schemes = Object.entries(components?.securitySchemes ?? {});
  return html`<section>
    <h2 id="basics">Basics</h2>
    ${prose(info.description ?? '')}
    <p>This page shows the <a href="/openapi.json">OpenAPI document</a>. In the examples, <code>$V</code> is the address
      of the vault and <code>$TOKEN</code> a token.</p>
    <h4>Credentials</h4>
    <table>
      ${schemes.map(([name, scheme]) => row(name, prose('description' in scheme ? (scheme.description ?? '') : '')))}
    </table>
    <h4>Errors</h4>
    <p>An error is <code>application/problem+json</code> (RFC 9457). Programs switch on <code>code</code>; people read
      <code>detail</code>; <code>type</code> leads to the code on this page. A browser that opens an address gets the
      error as a page. Every response carries <code>X-Request-Id</code>.</p>
    <h4>Methods</h4>
    <p>Every address answers <code>OPTIONS</code> with its methods in <code>Allow</code>, without a credential. Where
      there is GET, there is HEAD. Another method is 405.</p>
  </section>`;
}

function operationSection({ id, method, path, operation }: Listed): Html {
  const scope: unknown = operation['x-scope'];
  const samples = (operation['x-codeSamples'] ?? []) as readonly { readonly source: string }[];
  return html`<section id="${id}">
    <h3>${operation.summary}</h3>
    <p class="address"><span class="method">${method}</span>${path}</p>
    <p class="quiet">${typeof scope === 'string' ? html`Needs the scope <code>${scope}</code>${credentials(operation)}.` : 'Open without a credential.'}
      <a href="#${id}">#${id}</a></p>
    ${prose(operation.description ?? '')} ${parameterTable(operation)} ${bodyPart(operation)}
    <h4>Example</h4>
    ${samples.map(({ source }) => html`<pre><code>${source}</code></pre>`)}
    <h4>Answers</h4>
    <table>
      ${Object.entries(operation.responses ?? {}).map(([status, response]) => row(status, answer(response as Answer)))}
    </table>
  </section>`;
}

/** What an operation takes beside a token. */
function credentials({ security = [] }: Operation): string {
  const others = security.flatMap((scheme) => Object.keys(scheme)).filter((name) => name !== 'bearer');
  return others.map((name) => `, or the credential “${name}”`).join('');
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly description?: string;
  readonly schema?: Schema;
}

function parameterTable({ parameters = [] }: Operation): Html | string {
  const named = parameters.filter((parameter) => 'name' in parameter) as Parameter[];
  if (named.length === 0) return '';
  return html`<h4>Parameters</h4>
    <table>
      ${named.map(({ name, in: where, required = false, description, schema = {} }) =>
        row(name, fieldText({ name, required, schema, description: description ?? schema.description ?? '' }, where)),
      )}
    </table>`;
}

interface Content {
  readonly schema?: Schema;
  readonly example?: unknown;
}

interface Answer {
  readonly description?: string;
  readonly headers?: Readonly<Record<string, { readonly description?: string }>>;
  readonly content?: Readonly<Record<string, Content>>;
}

function bodyPart({ requestBody }: Operation): Html | string {
  if (!requestBody || !('content' in requestBody)) return '';
  const contents = Object.entries(requestBody.content as Readonly<Record<string, Content>>);
  return html`<h4>Body${requestBody.required ? '' : ' (optional)'}</h4>
    ${contents.map(
      ([type, { schema = {}, example }]) => html`<p><code>${type}</code> ${kind(schema)}</p>
        ${fieldTable(fieldsOf(schema))} ${exampleOf(example)}`,
    )}`;
}

function answer(response: Answer): Html {
  const { description = '', headers = {}, content = {} } = response;
  const known = codesIn(response);
  if (known.length > 0) return codes(known);
  return html`${prose(description)}
    ${Object.entries(headers).map(([name, header]) => html`<p><code>${name}</code> ${inline(header.description ?? '')}</p>`)}
    ${Object.entries(content).map(
      ([type, { schema = {}, example }]) =>
        html`<p class="quiet"><code>${type}</code> ${kind(schema)}</p>${exampleOf(example)}`,
    )}`;
}

/** The codes of an error's status, each a link to what to do. */
function codes(all: readonly string[]): Html {
  return html`<p>${all.map((code) => html`<a href="#${code}"><code>${code}</code></a> `)}</p>`;
}

function exampleOf(example: unknown): Html | string {
  if (example === undefined) return '';
  const text = typeof example === 'string' ? example : JSON.stringify(example, null, 2);
  return html`<details><summary>Example</summary><pre><code>${text}</code></pre></details>`;
}

function schemaSection(name: string, schema: Schema): Html {
  return html`<section id="schema-${name}">
    <h3>${name}</h3>
    ${prose(schema.description ?? '')} ${fieldTable(fieldsOf(schema))}
  </section>`;
}

function fieldTable(fields: readonly SchemaField[]): Html | string {
  if (fields.length === 0) return '';
  return html`<table>${fields.map((field) => row(field.name, fieldText(field)))}</table>`;
}

function fieldText({ required, schema, description }: SchemaField, where?: string): Html {
  const facts = [where, required ? 'required' : undefined].filter((fact) => fact !== undefined).join(', ');
  return html`<p class="quiet">${kind(schema)}${facts === '' ? '' : `; ${facts}`}</p>
    ${prose(description)}`;
}

/** What a value may be, with links to the schemas that it is made of. */
function kind(schema: Schema): Html {
  return html`${kindOf(schema).map(({ text, ref }) => (ref ? html`<a href="#schema-${ref}">${ref}</a>` : text))}`;
}

function row(name: string, text: Html | string): Html {
  return html`<tr><th><code>${name}</code></th><td>${text}</td></tr>`;
}

function errorsSection(): Html {
  return html`<section>
    <h2 id="errors">Errors</h2>
    <table>
      ${ERROR_CODES.map(
        (code) => html`<tr id="${code}">
          <th><code>${code}</code></th>
          <td><p>${statusOf(code)} ${titleOf(code)}</p><p class="quiet">${inline(ADVICE[code])}</p></td>
        </tr>`,
      )}
    </table>
  </section>`;
}

/** Paragraphs, with `code` as code. */
function prose(text: string): Html {
  const paragraphs = text.split('\n\n').filter((paragraph) => paragraph.trim() !== '');
  return html`${paragraphs.map((paragraph) => html`<p>${inline(paragraph)}</p>`)}`;
}

function inline(text: string): Html {
  return html`${text.split('`').map((part, place) => (place % 2 === 1 ? html`<code>${part}</code>` : part))}`;
}
