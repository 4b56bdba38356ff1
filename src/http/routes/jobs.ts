import { createRoute } from '@hono/zod-openapi';
import { isSigned } from '../../links/signed-link.ts';
import { VaultError } from '../../shared/errors.ts';
import type { App, AppContext } from '../app-env.ts';
import { JOB } from '../examples.ts';
import { forToken, forTokenOrLink, json, problems } from '../openapi.ts';
import { JobParam, JobSchema } from '../schemas.ts';

const getJob = createRoute({
  method: 'get',
  path: '/jobs/{job_id}',
  operationId: 'getJob',
  summary: 'Get the state of a job',
  description: 'A job that has not started yet is `waiting`.',
  tags: ['Jobs'],
  ...forToken('read'),
  request: { params: JobParam },
  responses: { 200: json(JobSchema, 'The state', JOB), ...problems(400, 401, 403, 503) },
});

const watchJob = createRoute({
  method: 'get',
  path: '/ws/backup/{job_id}',
  operationId: 'watchJob',
  summary: 'Watch a job over a WebSocket',
  description:
    'Each message is a Job as JSON. The first is the present state and comes at once. After `done` or `failed` the ' +
    'server closes with 1000. `ping` is answered `pong`.',
  tags: ['Jobs'],
  ...forTokenOrLink('read'),
  request: { params: JobParam },
  responses: { 101: { description: 'The connection is a WebSocket now' }, ...problems(400, 401, 403, 426, 503) },
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
