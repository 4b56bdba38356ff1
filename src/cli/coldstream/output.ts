/** Standard output: data and results, nothing else. */
import { once } from 'node:events';
import { systemFailure } from './failures.ts';

/** Waits for a slow reader. */
export async function print(data: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(data)) await once(process.stdout, 'drain');
}

export async function printJson(value: unknown): Promise<void> {
  await print(`${JSON.stringify(value)}\n`);
}

/** What a shell says of a program that SIGPIPE ended. */
const SIGPIPE_EXIT_CODE = 141;

/** A reader that has enough (`| head`) ends the command quietly; a full disk ends it with a sentence. */
export function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(SIGPIPE_EXIT_CODE);
    process.stderr.write(`coldstream: Standard output cannot be written. ${systemFailure(error) ?? error.message}\n`);
    process.exit(1);
  });
}
