import { createRoute } from '@hono/zod-openapi';
import { isSigned } from '../../links/signed-link.ts';
import { VaultError } from '../../shared/errors.ts';
import type { App, AppContext } from '../app-env.ts';
import { needs, needsOrLink } from '../auth.ts';
import { json, problems } from '../openapi.ts';
import { JobParam, JobSchema } from '../schemas.ts';

const getJob = createRoute({
  method: 'get',
  path: '/jobs/{job_id}',
  summary: 'The present state of a job',
  tags: ['Watch'],
  middleware: needs('read'),
  request: { params: JobParam },
  responses: { 200: json(JobSchema, 'The state; an unknown job is waiting'), ...problems(400, 401, 403, 503) },
});

const watchJob = createRoute({
  method: 'get',
  path: '/ws/backup/{job_id}',
  summary: 'Watch a job over a WebSocket',
  description: 'Each message is a Job. The first comes at once; after `done` or `failed` the server closes with 1000.',
  tags: ['Watch'],
  middleware: needsOrLink('read'),
  request: { params: JobParam },
  responses: { 101: { description: 'Switching protocols' }, ...problems(400, 401, 403, 426, 503) },
});

class BadOrigin extends VaultError {
  constructor() {
    super('bad-origin', 'Pages of this origin may not watch jobs. Its operator can add it to ALLOWED_ORIGINS.');
  }
}

class UpgradeRequired extends VaultError {
  constructor() {
    super('upgrade-required', 'This address speaks WebSocket. Over plain HTTP ask GET /jobs/{job_id}.');
  }
}

export function jobRoutes(app: App): void {
  app.openapi(getJob, async (c) => c.json(await c.get('services').jobs.snapshot(c.req.valid('param').job_id), 200));

  app.openapi(watchJob, async (c) => {
    if (c.req.header('upgrade')?.toLowerCase() !== 'websocket') throw new UpgradeRequired();
    checkOrigin(c);
    return c.get('services').jobs.subscribe(c.req.valid('param').job_id);
  });
}

/** A browser sends its page's origin with every WebSocket and its cookies too: the one guard against foreign pages. */
function checkOrigin(c: AppContext): void {
  const origin = c.req.header('origin');
  const url = new URL(c.req.url);
  if (origin === undefined) {
    if (c.req.header('authorization') === undefined && !isSigned(url)) throw new BadOrigin();
    return;
  }
  if (origin !== url.origin && !c.get('services').config.allowedOrigins.includes(origin)) throw new BadOrigin();
}
