import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeAll, describe, expect, it } from 'vitest';
import { createApp } from '../../src/http/app.ts';
import { tarOf } from '../support/archives.ts';
import { countingBucket } from '../support/counting-bucket.ts';
import { ask, put } from '../support/vault.ts';

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const app = createApp();

/** Parameters of paths, and queries that make other answers of a route. */
const PARAMETERS: Record<string, string> = {
  name: 'head.tar',
  path: 'dir/a.html',
  job_id: 'head',
  id: 'none',
  upload_id: 'none',
};
const QUERIES: Readonly<Record<string, readonly string[]>> = {
  '/backup': ['?name=head.tar', '?prefix=head', '?delimiter=/', '?damaged=true'],
  '/latest/{name}': ['?path=dir/a.html', '?format=gz'],
  '/backup/{backup_id}/download': ['?format=gz', '?format=zst', '?filename=x.html'],
  '/export/stream': ['?format=json', '?format=ndjson&table=jobs', '?database=sample&table=items'],
};

let routes: string[];
let addresses: string[];

beforeAll(async () => {
  const { backup_id } = await put('head.tar', tarOf([{ path: 'dir/a.html', content: '<p>' }]), '?job_id=head');
  PARAMETERS.backup_id = backup_id;
  const { paths }: Document = await (await ask('/openapi.json')).json();
  // The addresses of uploads have a HEAD of their own (tus 1.0.0).
  routes = Object.keys(paths).filter((path) => 'get' in (paths[path] ?? {}) && !/^\/(tus|uploads)\//.test(path));
  addresses = routes.flatMap((route) => {
    const address = route.replace(/\{(\w+)\}/g, (_, name: string) => PARAMETERS[name] ?? 'none');
    return [address, ...(QUERIES[route] ?? []).map((query) => address + query)];
  });
  addresses.push(`/backup/${backup_id}/files/dir/`, `/backup/${backup_id}/files/dir/?format=tar`);
  // What a cold isolate reads once, it has read by now.
  for (const address of addresses) await (await ask(address)).body?.cancel();
});

/** The answer, what was read of stored data, and what the database was asked for. */
async function watched(method: string, address: string) {
  const { bucket, reads } = countingBucket(env.VAULT);
  const queries: string[] = [];
  const catalogue = new Proxy(env.CATALOGUE, {
    get(target, name) {
      if (name !== 'prepare') return Reflect.get(target, name).bind(target);
      return (sql: string) => {
        queries.push(sql);
        return target.prepare(sql);
      };
    },
  });
  const bindings = { ...env, VAULT: bucket, CATALOGUE: catalogue };
  const context = createExecutionContext();
  const headers = { authorization: `Bearer ${env.ADMIN_TOKEN}` };
  const response = await app.fetch(new Request(`https://vault.test${address}`, { method, headers }), bindings, context);
  const { status, body } = response;
  const text = body ? await response.text() : null;
  await waitOnExecutionContext(context);
  const data = reads.filter(({ key }) => key.startsWith('data/'));
  const fields = Object.fromEntries(response.headers);
  delete fields['x-request-id'];
  return { status, text, fields, data, pages: queries.filter((sql) => /ORDER BY (backup|job)_id LIMIT/.test(sql)) };
}

describe('HEAD', () => {
  it('answers every GET route with the same status and headers, and reads no content and no page of rows', async () => {
    expect(routes.length).toBeGreaterThan(10);
    for (const address of addresses) {
      const [head, get] = [await watched('HEAD', address), await watched('GET', address)];
      expect({ ...head, ...{ data: [], pages: [] } }, address).toEqual({ ...get, text: null, data: [], pages: [] });
      expect(head.data, address).toEqual([]);
      if (address.startsWith('/export')) expect(head.pages, address).toEqual([]);
    }
  });
});
