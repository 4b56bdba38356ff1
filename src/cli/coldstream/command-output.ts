import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { printable } from './amounts.ts';
import { SourceCommandFailed, systemFailure } from './failures.ts';

/**
 * What a program writes to its standard output; its standard error and input are those of this command. Throws
 * SourceCommandFailed before the end where the program fails, so that what it wrote never becomes a backup.
 *
 * @param words the program and its arguments
 */
export async function* commandOutput(words: readonly string[]): AsyncGenerator<Buffer, void, undefined> {
  const [program = '', ...args] = words;
  const child = spawn(program, args, { stdio: ['inherit', 'pipe', 'inherit'] });
  const kill = () => void child.kill();
  process.once('exit', kill);
  const ended = once(child, 'close').then(
    ([code, signal]) => (code === 0 ? null : `failed with ${signal ?? `exit code ${code}`}`),
    (error: unknown) => `cannot be run: ${systemFailure(error) ?? String(error)}`.replace(/\.$/, ''),
  );
  try {
    for await (const chunk of child.stdout) yield chunk as Buffer;
    const failure = await ended;
    if (failure === null) return;
    throw new SourceCommandFailed(`${printable(words.join(' '))} ${failure}, so nothing was stored.`);
  } finally {
    process.off('exit', kill);
    kill();
  }
}
