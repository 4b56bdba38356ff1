import { routePath } from 'hono/route';
import type { AppContext } from './app-env.ts';

/**
 * One line a request. The route is its pattern and never the address: names, tokens and signatures stand in those.
 * A cause goes with what was refused for a reason of ours.
 */
export function logRequest(c: AppContext, ms: number): void {
  const status = c.res.status;
  const failure: unknown = c.get('failure');
  const cause = failure instanceof Error && failure.cause !== undefined ? String(failure.cause) : undefined;
  const line = {
    level: status >= 500 ? 'error' : 'info',
    event: 'request',
    id: c.get('requestId'),
    method: c.req.raw.method,
    route: routePath(c),
    status,
    bytes_in: numberOf(c.req.header('content-length')),
    bytes_out: numberOf(c.res.headers.get('content-length')),
    ms,
    error: failure instanceof Error && status >= 500 ? `${failure.name}: ${failure.message}` : undefined,
    cause,
  };
  console.log(JSON.stringify(line));
}

function numberOf(header: string | null | undefined): number | null {
  return header ? Number(header) : null;
}
