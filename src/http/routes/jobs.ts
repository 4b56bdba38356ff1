import { createRoute } from '@hono/zod-openapi';
import { listRuns } from '../../catalogue/jobs.ts';
import { isSigned } from '../../links/signed-link.ts';
import { isEnd, type Phase, type Task } from '../../progress/messages.ts';
import { VaultError } from '../../shared/errors.ts';
import { PAGE_ROWS } from '../../shared/limits.ts';
import type { App, AppContext, Scope } from '../app-env.ts';
import { checkScope } from '../auth.ts';
import { JOB, RUN } from '../examples.ts';
import { forToken, forTokenOrLink, json, problems } from '../openapi.ts';
import { JobParam, LinkOnlyQuery, NoQuery, RunQuery } from '../request-schemas.ts';
import { JobSchema, RunPageSchema } from '../response-schemas.ts';

const getJob = createRoute({
  method: 'get',
  path: '/jobs/{job_id}',
  operationId: 'getJob',
  summary: 'Get the state of a job',
  description: 'A job that has not started yet is `waiting`.',
  tags: ['Jobs'],
  ...forToken('read'),
  request: { params: JobParam, query: NoQuery },
  responses: { 200: json(JobSchema, 'The state', JOB), ...problems('job-unavailable') },
});

const listJobs = createRoute({
  method: 'get',
  path: '/jobs',
  operationId: 'listJobs',
  summary: 'List runs of jobs',
  description:
    'One row for each run, from its start until a week after its end. `phase` and `message` are those of the last ' +
    'change of phase. `GET /jobs/{job_id}` returns the progress.',
  tags: ['Jobs'],
  ...forToken('read'),
  request: { query: RunQuery },
  responses: {
    200: json(RunPageSchema, 'A page of runs', { jobs: [RUN], cursor: null }),
    ...problems('invalid-cursor'),
  },
});

const cancelJob = createRoute({
  method: 'post',
  path: '/jobs/{job_id}/cancel',
  operationId: 'cancelJob',
  summary: 'Cancel the run of a job',
  description:
    'Needs the scope that starts the run: `write` for an upload, `admin` for others. The run ends as `cancelled` within ' +
    'seconds; until then the job shows its present phase. A cancelled upload keeps nothing, and its sender gets 410 ' +
    '`upload-cancelled` now or at its next request. The request of an import, a restore or a verification gets 409 ' +
    '`job-cancelled`; rows that are written stay. A run that is about to end may still end as `done`. Cancelling again ' +
    'is 202; a job that has ended otherwise is 409 `job-ended`, an unknown job 404.',
  tags: ['Jobs'],
  ...forToken('write'),
  request: { params: JobParam, query: NoQuery },
  responses: {
    202: json(JobSchema, 'The state of the job', JOB),
    ...problems('not-found', 'job-ended', 'job-unavailable'),
  },
});

/** Which scope starts a run of a task, and may therefore cancel it. */
const STARTS = { upload: 'write', verify: 'admin', import: 'admin', restore: 'admin' } as const satisfies Record<
  Task,
  Scope
>;

const watchJob = createRoute({
  method: 'get',
  path: '/ws/backup/{job_id}',
  operationId: 'watchJob',
  summary: 'Watch a job over a WebSocket',
  description:
    'Each message is a Job as JSON. The first is the present state and comes at once. After `done`, `failed` or ' +
    '`cancelled` the server closes with 1000. `ping` is answered `pong`.',
  tags: ['Jobs'],
  ...forTokenOrLink('read'),
  request: { params: JobParam, query: LinkOnlyQuery },
  responses: {
    101: { description: 'The connection is a WebSocket now' },
    ...problems('bad-origin', 'upgrade-required', 'too-many-transfers', 'job-unavailable'),
  },
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

class NoSuchJob extends VaultError {
  constructor(jobId: string) {
    super('not-found', `No run of the job "${jobId}" is known. List those there are: GET /jobs.`);
  }
}

class JobEnded extends VaultError {
  constructor(jobId: string, phase: Phase) {
    super('job-ended', `The job "${jobId}" has ended already (${phase}): there is nothing to cancel.`);
  }
}

export function jobRoutes(app: App): void {
  app.openapi(listJobs, async (c) => {
    const { limit, ...query } = c.req.valid('query');
    const { rows, cursor } = await listRuns(c.get('services').catalogue, { ...query, limit: limit ?? PAGE_ROWS });
    return c.json({ jobs: rows, cursor }, 200);
  });

  app.openapi(cancelJob, async (c) => {
    const { job_id } = c.req.valid('param');
    await cancel(c, job_id);
    return c.json(await c.get('services').jobs.snapshot(job_id), 202);
  });

  app.openapi(getJob, async (c) => c.json(await c.get('services').jobs.snapshot(c.req.valid('param').job_id), 200));

  app.openapi(watchJob, async (c) => {
    if (c.req.header('upgrade')?.toLowerCase() !== 'websocket') throw new UpgradeRequired();
    checkOrigin(c);
    const { jobs, config } = c.get('services');
    return jobs.subscribe(c.req.valid('param').job_id, c.get('holder') ?? '', config.maxSockets);
  });
}

async function cancel(c: AppContext, jobId: string): Promise<void> {
  const { jobs, uploads } = c.get('services');
  const { run_id, task, phase, expires_at } = await jobs.snapshot(jobId);
  if (run_id === undefined || task === undefined) throw new NoSuchJob(jobId);
  const credential = c.get('credential');
  if (credential) checkScope(credential, STARTS[task]);
  if (phase === 'cancelled') return;
  if (isEnd(phase)) throw new JobEnded(jobId, phase);
  if (!expires_at) {
    if ((await jobs.cancel(jobId, run_id)).kind === 'not-running') throw await jobEnded(c, jobId);
  } else if ((await uploads.cancel(run_id)) === 'done') throw new JobEnded(jobId, 'done');
}

async function jobEnded(c: AppContext, jobId: string): Promise<JobEnded> {
  return new JobEnded(jobId, (await c.get('services').jobs.snapshot(jobId)).phase);
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
