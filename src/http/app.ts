import { OpenAPIHono } from '@hono/zod-openapi';
import { cors } from 'hono/cors';
import { getPath } from 'hono/utils/url';
import { ulid } from 'ulidx';
import { type Env, type Services, services } from '../services.ts';
import { drain } from '../shared/drain.ts';
import { VaultError } from '../shared/errors.ts';
import type { App, AppContext, AppEnv } from './app-env.ts';
import { afterAttempt, challengesTo } from './auth.ts';
import { logRequest } from './log.ts';
import { describeSecurity } from './openapi.ts';
import { isNavigation, problemPage } from './pages.ts';
import { NothingHere, problemHeaders, problemOf } from './problem.ts';
import { backupRoutes } from './routes/backups.ts';
import { downloadRoutes } from './routes/download.ts';
import { exportRoutes } from './routes/export.ts';
import { fileRoutes } from './routes/files.ts';
import { importRoutes } from './routes/import.ts';
import { jobRoutes } from './routes/jobs.ts';
import { latestRoutes } from './routes/latest.ts';
import { linkRoutes } from './routes/links.ts';
import { resumableDraftRoutes, withDraftHeaders } from './routes/resumable-draft.ts';
import { serviceRoutes } from './routes/service.ts';
import { tokenRoutes } from './routes/tokens.ts';
import { tusRoutes, withTusHeaders } from './routes/tus.ts';
import { uploadRoutes } from './routes/upload.ts';
import { verifyRoutes } from './routes/verify.ts';
import { endTransfer } from './transfers.ts';
import { refusal } from './validation.ts';

const EXPOSED = [
  ...['X-Request-Id', 'ETag', 'Content-Range', 'Content-Disposition', 'Repr-Digest', 'Location'],
  ...['Tus-Resumable', 'Tus-Version', 'Tus-Extension', 'Tus-Max-Size', 'Tus-Checksum-Algorithm'],
  ...['Upload-Offset', 'Upload-Length', 'Upload-Defer-Length', 'Upload-Metadata', 'Upload-Expires'],
  ...['Upload-Complete', 'Upload-Limit', 'Upload-Draft-Interop-Version', 'Accept-Patch'],
  ...['Coldstream-Backup-Id', 'Coldstream-Job-Id', 'Coldstream-Phase', 'Coldstream-Upload-Secret', 'Coldstream-Damage'],
];

const ASKED = [
  ...['Authorization', 'Content-Type', 'Range', 'If-Range', 'If-Match', 'If-None-Match', 'X-Age-Identity'],
  ...['Tus-Resumable', 'Upload-Offset', 'Upload-Length', 'Upload-Defer-Length', 'Upload-Metadata', 'Upload-Checksum'],
  ...['Upload-Complete', 'Upload-Draft-Interop-Version', 'Content-Digest', 'Repr-Digest'],
  ...['X-HTTP-Method-Override', 'X-Request-Id', 'X-Requested-With'],
];

/** Pages of configured origins may read answers (Fetch standard); same-origin pages need no leave. */
const CROSS_ORIGIN = cors({
  origin: (origin, c: AppContext) => (c.get('services').config.allowedOrigins.includes(origin) ? origin : null),
  allowMethods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
  allowHeaders: ASKED,
  exposeHeaders: EXPOSED,
  maxAge: 600,
});

/** Where a slash at the end means something: the name to upload to, and directories of an archive. */
const SLASH_COUNTS = /^\/backup\/(?:upload|[^/]+\/files)\//;

/**
 * The path that routes are matched with. A slash at its end is forgiven: tus clients are often given `/tus/`. The router
 * knows paths of several segments at the end of a route only, so those of names under `/latest/` are made one.
 */
function pathOf(request: Request): string {
  const path = getPath(request);
  if (path === '/' || !path.endsWith('/')) return withNameAsSegment(path, request.method);
  const counts = path === '/backup/upload/' ? request.method !== 'POST' : SLASH_COUNTS.test(path);
  return counts ? path : withNameAsSegment(path.slice(0, -1), request.method);
}

/** A name may end in a segment `links` too: what such an address is depends on the method. */
function withNameAsSegment(path: string, method: string): string {
  const [, name = '', links = ''] = /^\/latest\/(.+?)(\/links)?$/s.exec(path) ?? [];
  if (name === '') return path;
  const whole = method === 'GET' || method === 'HEAD' ? `${name}${links}` : name;
  return `/latest/${whole.replaceAll('/', '%2F')}${whole === name ? links : ''}`;
}

/** The whole HTTP interface. Order matters in one place only: `/backup/upload…` stands before `/backup/{backup_id}`. */
export function createApp(): App {
  const app: App = new OpenAPIHono<AppEnv>({
    getPath: pathOf,
    defaultHook: (result) => {
      if (!result.success) throw refusal(result.error, result.target === 'json' ? 'invalid-request' : 'invalid-option');
    },
  });
  app.use(async (c, next) => {
    const began = Date.now();
    c.set('requestId', ulid());
    await next();
    endTransfer(c);
    finish(c);
    logRequest(c, Date.now() - began);
  });
  app.onError(refuse);
  app.use(async (c, next) => {
    c.set('services', servicesOf(c.env));
    await next();
  });
  app.use('/tus/*', withTusHeaders);
  app.use('/uploads/*', withDraftHeaders);
  app.use((c, next) => (c.req.header('origin') === undefined ? next() : CROSS_ORIGIN(c, next)));
  describeSecurity(app);
  for (const routes of [
    uploadRoutes,
    tusRoutes,
    resumableDraftRoutes,
    linkRoutes,
    latestRoutes,
    downloadRoutes,
    fileRoutes,
    backupRoutes,
    jobRoutes,
    exportRoutes,
    importRoutes,
    tokenRoutes,
    verifyRoutes,
  ]) {
    routes(app);
  }
  serviceRoutes(app);
  app.notFound((c) => {
    const allowed = methodsOf(app, c.req.path);
    if (allowed.length === 0) throw new NothingHere();
    if (c.req.method === 'OPTIONS') return c.body(null, 204, { allow: allowed.join(', ') });
    c.header('allow', allowed.join(', '));
    throw new VaultError('method-not-allowed', `This address takes ${allowed.join(', ')}.`);
  });
  return app;
}

class UnusableConfiguration extends VaultError {
  constructor(cause: unknown) {
    const detail = 'The vault cannot use its configuration. Its operator finds the variable and the reason in its log.';
    super('internal-error', detail, { cause });
  }
}

/** A variable that cannot be used stops every request: a vault that ignored it would not be the one that was meant. */
function servicesOf(env: Env): Services {
  try {
    return services(env);
  } catch (cause) {
    throw cause instanceof VaultError ? cause : new UnusableConfiguration(cause);
  }
}

/**
 * Every failure ends here. A client with a valid credential may still send: the rest of its body is read and dropped,
 * since an answer in the middle of a body gets lost. The body of a stranger is left untouched, which holds nothing and
 * lets the answer through as well; a part of it must not be read (docs/decisions/0022-refusals-and-deadlines.md).
 */
async function refuse(thrown: Error, c: AppContext): Promise<Response> {
  const error = await afterAttempt(c, thrown);
  c.set('failure', error);
  const problem = problemOf(error, c.get('requestId'));
  // Headers that the route had set before (Allow, Content-Range) belong to the answer.
  const headers = new Headers(c.res.headers);
  for (const [name, value] of Object.entries(problemHeaders(problem))) headers.set(name, value);
  for (const challenge of problem.status === 401 ? challengesTo(c) : []) headers.append('www-authenticate', challenge);
  const shown = isNavigation(c.req.raw.headers) ? await problemPage(problem) : null;
  for (const [name, value] of shown?.headers ?? []) headers.set(name, value);
  if (c.req.raw.body) {
    if (c.get('holder') !== undefined && problem.code !== 'upload-stalled') await drain(c.req.raw.body);
    headers.set('connection', 'close');
  }
  return new Response(shown?.body ?? JSON.stringify(problem), { status: problem.status, headers });
}

function finish(c: AppContext): void {
  // A response that came from a binding has immutable headers.
  c.res = new Response(c.res.body, c.res);
  c.res.headers.set('x-request-id', c.get('requestId'));
  c.res.headers.set('x-content-type-options', 'nosniff');
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];

/** The methods that an address takes; empty where it is none of ours. */
function methodsOf(app: App, path: string): string[] {
  const taken = METHODS.filter((method) => {
    const [handlers] = app.router.match(method === 'HEAD' ? 'GET' : method, path);
    return handlers.some(([[, route]]) => route.method !== 'ALL');
  });
  return taken.length > 0 ? [...taken, 'OPTIONS'] : [];
}
