/**
 * The vault, and beside it routes that drive what no client can drive: a job's publisher, an export whose pages are
 * counted, reads of the bucket, counted and bare, and rows of a table with less around them than the vault has.
 */
import vault, { ProgressRoom, UploadSession } from '../../src/index.ts';
import { type Env, services } from '../../src/services.ts';
import { countedEnv, forget, takeReads } from './reads.ts';
import { rows } from './rows.ts';

export { ProgressRoom, UploadSession };

export default {
  async fetch(request, env, context) {
    const url = new URL(request.url);
    const number = (name: string) => Number(url.searchParams.get(name));
    const job = url.searchParams.get('job') ?? 'bench';
    if (url.pathname.startsWith('/bench/rows/')) return rows(request, env);
    switch (url.pathname) {
      case '/bench/publish':
        return Response.json(await publish(env, job, number('updates'), number('every_ms')));
      case '/bench/export-pages':
        return Response.json(await pagesAtFirstByte(request, env, context));
      case '/bench/reads':
        return Response.json(takeReads());
      case '/bench/forget':
        forget();
        return Response.json({});
      case '/bench/range':
        return bareRange(env, url.searchParams.get('key') ?? '', number('offset'), number('bytes'));
      default:
        return vault.fetch(request, countedEnv(env), context);
    }
  },
} satisfies ExportedHandler<Env>;

/** R2 and nothing else. */
async function bareRange({ VAULT }: Env, key: string, offset: number, length: number): Promise<Response> {
  const object = await VAULT.get(key, { range: { offset, length } });
  return object ? new Response(object.body) : new Response(null, { status: 404 });
}

/** Tells a job of `updates` steps, one each `every_ms`. Messages carry the time at which they were published. */
async function publish(env: Env, jobId: string, updates: number, everyMs: number) {
  const { jobs } = services(env);
  const backupId = `bench-${crypto.randomUUID()}`;
  await jobs.begin({ job_id: jobId, backup_id: backupId, message: 'begin', total: updates });
  const publisher = jobs.publisher(jobId, backupId);
  const began = Date.now();
  for (let step = 1; step <= updates; step++) {
    await scheduler.wait(Math.max(0, began + step * everyMs - Date.now()));
    publisher.publish({ phase: 'receiving', current: step, total: updates, message: `at ${Date.now()}` });
  }
  await publisher.finish({
    phase: 'done',
    backup_id: backupId,
    current: updates,
    total: updates,
    stored: updates,
    message: `at ${Date.now()}`,
  });
  return { ms: Date.now() - began };
}

/** How many pages of the table had been asked for when the first byte was there, and in all. */
async function pagesAtFirstByte(request: Request, env: Env, context: ExecutionContext) {
  let pages = 0;
  const counting: D1Database = new Proxy(env.CATALOGUE, {
    get(database, name) {
      if (name === 'prepare') {
        return (sql: string) => {
          if (/FROM backups/.test(sql)) pages += 1;
          return database.prepare(sql);
        };
      }
      const value: unknown = Reflect.get(database, name);
      return typeof value === 'function' ? value.bind(database) : value;
    },
  });
  const url = new URL('/export/stream?format=json', request.url);
  const answer = await vault.fetch(
    new Request<unknown, IncomingRequestCfProperties>(url, { headers: request.headers }),
    { ...env, CATALOGUE: counting },
    context,
  );
  if (!answer.body) throw new Error(`the export answered ${answer.status}`);
  const reader = answer.body.getReader();
  await reader.read();
  const first = pages;
  while (!(await reader.read()).done);
  return { first, all: pages };
}
