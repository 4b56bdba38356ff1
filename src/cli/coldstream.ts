/**
 * `coldstream`: the vault at a terminal. Data and results go to standard output, everything else to standard error.
 * Exit codes: see coldstream/program.ts.
 */
import { CommanderError } from 'commander';
import { CommandFailed, failureText, interruption } from './coldstream/failures.ts';
import { endWithReader } from './coldstream/output.ts';
import { createProgram } from './coldstream/program.ts';
import { openSession, type Session } from './coldstream/session.ts';

// tus-js-client calls url.parse, which a person at a terminal cannot change.
process.noDeprecation = true;

const USAGE_EXIT_CODE = 2;

const signal = interruption();
let session: Session | null = null;

/** Runs the command line; resolves with the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  const { line, afterDashes } = splitAtDashes(argv);
  const program = createProgram({
    open: (command) => {
      session = openSession(command, signal);
      return session;
    },
    afterDashes,
  });
  try {
    await program.parseAsync(line);
    return 0;
  } catch (error) {
    // Help and usage errors have been printed.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE_EXIT_CODE;
    return failed(error);
  }
}

/** commander forgets where `--` was, which decides for `push` whether a command follows. */
function splitAtDashes(argv: readonly string[]): { line: string[]; afterDashes: string[] } {
  const dashes = argv.indexOf('--');
  if (argv[2] !== 'push' || dashes < 0) return { line: [...argv], afterDashes: [] };
  return { line: argv.slice(0, dashes), afterDashes: argv.slice(dashes + 1) };
}

function failed(error: unknown): number {
  session?.view.close();
  process.stderr.write(`coldstream: ${failureText(error)}\n`);
  return error instanceof CommandFailed ? error.exitCode : 1;
}

// An error outside of the command's promise also ends the process with a sentence, not with a stack.
process.on('uncaughtException', (error) => process.exit(failed(error)));
// A terminal that is gone takes no more remarks; the exit code says the rest.
process.stderr.on('error', () => undefined);

endWithReader();
main(process.argv).then((code) => {
  // Idle connections would keep the process; what was printed has to be out before it ends.
  process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
});
