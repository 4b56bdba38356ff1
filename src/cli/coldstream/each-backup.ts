import { CommandFailed, failureText, Interrupted, PartialFailure } from './failures.ts';
import type { Session } from './session.ts';

/**
 * Does `work` for each argument by itself, one after the other. Throws the failure of a single one; of several it throws
 * one that lists them, as PartialFailure where others went well.
 */
export async function eachBackup(
  session: Session,
  wanted: readonly string[],
  work: (one: string) => Promise<void>,
): Promise<void> {
  const failures: string[] = [];
  for (const one of wanted) {
    try {
      await work(one);
    } catch (error) {
      if (wanted.length === 1 || error instanceof Interrupted) throw error;
      failures.push(`${one}: ${failureText(error)}`);
    }
  }
  session.view.close();
  if (failures.length === 0) return;
  const text = [...failures, `${failures.length} of ${wanted.length} failed.`].join('\n');
  throw failures.length < wanted.length ? new PartialFailure(text) : new CommandFailed(text);
}
