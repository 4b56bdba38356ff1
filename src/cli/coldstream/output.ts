/** Standard output: data and results, nothing else. */
import { once } from 'node:events';

/** Waits for a slow reader. */
export async function print(data: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(data)) await once(process.stdout, 'drain');
}

export async function printJson(value: unknown): Promise<void> {
  await print(`${JSON.stringify(value)}\n`);
}

/** What a shell says of a program that SIGPIPE ended. */
const SIGPIPE_EXIT_CODE = 141;

/** A reader that has enough (`| head`) is no failure to tell of. */
export function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(SIGPIPE_EXIT_CODE);
    throw error;
  });
}
