import { refuseRun } from '../progress/publisher.ts';
import { VaultError } from '../shared/errors.ts';
import type { AppContext } from './app-env.ts';
import { jobId } from './schema-parts.ts';

/** Prepares a run; where that is refused, the job that the client named for it fails, and says why. */
export async function orTellJob<T>(
  c: AppContext,
  task: 'upload' | 'import' | 'restore',
  named: string | undefined,
  prepare: () => T | Promise<T>,
): Promise<T> {
  try {
    return await prepare();
  } catch (error) {
    const job = jobId.safeParse(named);
    if (job.success && error instanceof VaultError) {
      await refuseRun(c.get('services').jobs, task, job.data, error).catch(() => undefined);
    }
    throw error;
  }
}
