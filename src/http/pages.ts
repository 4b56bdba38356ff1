import { html, raw } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import type { Problem } from './problem.ts';

/** The pages that need no script: their policy allows one style by its digest, and nothing else. */
export type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

const STYLE = `
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --accent: #07688a; --quiet: #5c6670; }
@media (prefers-color-scheme: dark) { :root { --accent: #5cc3e6; --quiet: #a3adb6; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 44rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
body:has(nav) { max-width: 76rem; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 2px; }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
code, pre { font: 0.875em/1.5 ui-monospace, monospace; }
code { background: var(--soft); padding: 0.1em 0.3em; border-radius: 4px; overflow-wrap: anywhere; }
pre { background: var(--soft); padding: 0.8rem; border-radius: 6px; overflow-x: auto; margin: 0.6rem 0; }
pre code { background: none; padding: 0; overflow-wrap: normal; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 0.8rem; }
h2 { font-size: 1.35rem; margin: 2.5rem 0 0.4rem; padding-bottom: 0.3rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
h4 { font-size: 0.8rem; letter-spacing: 0.04em; text-transform: uppercase; color: var(--quiet); margin: 1.1rem 0 0.2rem; }
p { margin: 0.5rem 0; } small, .quiet { color: var(--quiet); font-size: 0.875rem; }
section section { padding: 1.6rem 0 1.2rem; border-bottom: 1px solid var(--line); }
:target { scroll-margin-top: 1rem; } tr:target { background: var(--soft); }
.address { font: 600 1rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; margin: 0.2rem 0 0.4rem; }
.method { color: var(--accent); text-transform: uppercase; margin-right: 0.6em; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.9rem 0.4rem 0; border-top: 1px solid var(--line); }
th { font-weight: 600; width: 30%; } td p { margin: 0; }
details { margin: 0.6rem 0; } summary { cursor: pointer; color: var(--accent); }
dl { margin: 1rem 0; } dt { color: var(--quiet); font-size: 0.875rem; } dd { margin: 0 0 0.6rem; overflow-wrap: anywhere; }
nav ul { list-style: none; margin: 0 0 0.8rem; padding: 0; } nav li { margin: 0.2rem 0; line-height: 1.35; }
nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
nav b { display: block; margin-top: 0.8rem; }
@media (max-width: 60rem) {
  nav > div { columns: 15rem; } nav b { break-after: avoid; } nav ul { break-inside: avoid; }
}
@media (min-width: 60rem) {
  .columns { display: grid; grid-template-columns: 17rem minmax(0, 1fr); gap: 3rem; }
  nav { position: sticky; top: 0; max-height: 100vh; overflow-y: auto; padding: 1rem 0; font-size: 0.9rem; align-self: start; }
}
@media (max-width: 38rem) {
  th, td { display: block; width: auto; padding: 0.3rem 0; } td { border-top: 0; padding-top: 0; }
}
`;

let policy: Promise<string> | undefined;

async function contentSecurityPolicy(): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(STYLE));
  const hash = btoa(String.fromCharCode(...new Uint8Array(digest)));
  return `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
}

/** Headers of every page of the vault. */
async function pageHeaders(): Promise<Record<string, string>> {
  policy ??= contentSecurityPolicy();
  return {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': await policy,
    'strict-transport-security': 'max-age=31536000',
    'referrer-policy': 'no-referrer',
    'x-frame-options': 'DENY',
    'cross-origin-opener-policy': 'same-origin',
  };
}

export async function page(title: string, body: Html): Promise<Response> {
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
  return new Response(String(text), { headers: await pageHeaders() });
}

export function frontPage(): Promise<Response> {
  return page(
    'Coldstream',
    html`<h1>Coldstream</h1>
      <p>A backup vault on the edge: streams go into and out of R2 through zstd.</p>
      <p>The interface: <a href="/docs">documentation</a>, <a href="/openapi.json">OpenAPI document</a>,
        <a href="/capabilities">limits and features</a>, <a href="/healthz">health</a>.</p>
      <pre><code>curl -T site.tar -H "Authorization: Bearer $TOKEN" https://this-host/backup/upload/</code></pre>`,
  );
}

/** Whether a person opens the address in a browser (Fetch Metadata): programs keep application/problem+json. */
export function isNavigation(headers: Headers): boolean {
  return headers.get('sec-fetch-mode') === 'navigate' && (headers.get('accept') ?? '').includes('text/html');
}

/** The page of an error: the same facts as its problem+json. */
export function problemPage({ status, title, detail, code, request_id }: Problem): Promise<Response> {
  return page(
    `${status} ${title}`,
    html`<h1>${title}</h1>
      <p>${detail}</p>
      <dl>
        <dt>Status</dt>
        <dd>${status}</dd>
        <dt>Code</dt>
        <dd><a href="/docs#${code}"><code>${code}</code></a></dd>
        <dt>Request</dt>
        <dd><code>${request_id}</code></dd>
      </dl>`,
  );
}
