import { printable } from './amounts.ts';
import { listed, minute, pagesOf } from './listing.ts';
import { print, printJson } from './output.ts';
import type { Session } from './session.ts';

export interface JobsOptions {
  readonly task?: string;
  readonly phase?: string;
  /** At most so many. */
  readonly limit?: number;
  /** Job whose run is to end. */
  readonly cancel?: string;
}

/** One execution of a job (docs: Run). */
interface Run {
  readonly job_id: string;
  readonly task: string;
  readonly phase: string;
  readonly filename: string | null;
  readonly message: string;
  readonly code: string | null;
  readonly started_at: string;
}

interface RunPage {
  readonly jobs: readonly Run[];
  readonly cursor: string | null;
}

/** Lists the runs of jobs, newest first, or cancels one. */
export async function jobs(session: Session, { task, phase, limit, cancel }: JobsOptions): Promise<void> {
  if (cancel !== undefined) return cancelJob(session, cancel);
  const query = { ...(task !== undefined && { task }), ...(phase !== undefined && { phase }) };
  await listed(session, pagesOf<RunPage>(session, '/jobs', query, limit), (page) => page.jobs, limit, runLine);
}

async function cancelJob(session: Session, job: string): Promise<void> {
  await session.client.request(`/jobs/${encodeURIComponent(job)}/cancel`, { method: 'POST' });
  if (session.json) await printJson({ cancelled: job });
  else if (!session.quiet) await print(`${job}  is being cancelled\n`);
}

function runLine({ started_at, task, phase, job_id, filename, code }: Run): string {
  const what = filename === null ? '' : `  ${printable(filename)}`;
  const why = code === null ? '' : `  (${printable(code)})`;
  return `${minute(started_at)}  ${task.padEnd(8)}  ${phase.padEnd(9)}  ${printable(job_id)}${what}${why}`;
}
