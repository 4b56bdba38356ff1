/**
 * `coldstream`: the vault at a terminal. Data and results go to standard output, everything else to standard error.
 * Exit codes: 0 done, 1 failed, 2 called wrongly, 130 stopped by Ctrl-C (143 by SIGTERM).
 */
import { Command, CommanderError, Option } from 'commander';
import { durationOption, sizeOption, wholeNumber } from './coldstream/amounts.ts';
import { cat } from './coldstream/cat.ts';
import { CommandFailed, interruption, systemFailure } from './coldstream/failures.ts';
import { link } from './coldstream/link.ts';
import { listBackups, listFiles } from './coldstream/listing.ts';
import { endWithReader } from './coldstream/output.ts';
import { pull } from './coldstream/pull.ts';
import { push } from './coldstream/push.ts';
import { openSession, type Session, withVault } from './coldstream/session.ts';
import { watch } from './coldstream/watch.ts';

// What a library calls in an old way (tus-js-client: url.parse), nobody at a terminal can change.
process.noDeprecation = true;

const signal = interruption();
let session: Session | null = null;

/** The session of a command that is about to run. */
function open(command: Command): Session {
  session = openSession(command, signal);
  return session;
}

const RETRY_FOR = 'how long to try again after the last progress';

function retryFor(): Option {
  return new Option('--retry-for <time>', RETRY_FOR).argParser(durationOption).default(3600, '1h');
}

const program = new Command('coldstream')
  .description('A backup vault on the edge, at a terminal.')
  .version('0.1.0')
  .showHelpAfterError('(coldstream COMMAND --help tells more)')
  .exitOverride();

withVault(
  program
    .command('push')
    .description('store files; what was begun and stopped goes on')
    .argument('<file...>', 'files, or - for what comes through a pipe')
    .option('--name <name>', 'what the vault calls it')
    .option('--job <id>', 'a name to watch it by')
    .addOption(new Option('--level <n>', 'of the compression').argParser(wholeNumber(1, 22)))
    .addOption(new Option('--compression <how>', 'what the vault does').choices(['auto', 'zstd', 'none']))
    .option('--compress', 'compress with zstd here, before sending; the vault stores NAME')
    .addOption(
      new Option('--recipient <age1…>', 'the vault encrypts it for this age key; may be repeated').argParser(
        (key: string, others: readonly string[] = []) => [...others, key],
      ),
    )
    .option('--sha256 <hex>', 'refuse it unless it has this checksum')
    .option('--fresh', 'begin anew, whatever was begun before')
    .addOption(new Option('--chunk <size>', 'pieces of one size, instead of what suits the line').argParser(sizeOption))
    .addOption(new Option('--parallel <n>', 'files at once').argParser(wholeNumber(1, 16)).default(3))
    .addOption(new Option('--retry-for <time>', `${RETRY_FOR} (default: 1h)`).argParser(durationOption))
    .action((files: string[], options, command: Command) => push(open(command), files, options)),
);

withVault(
  program
    .command('pull')
    .description('bring a backup here; what was begun and stopped goes on')
    .argument('<id>', 'of the backup')
    .option('-o, --output <file>', 'a file, a directory, or - for standard output (default: its own name, here)')
    .addOption(new Option('--format <format>', 'as the stored zstd file, or as gzip').choices(['zst', 'gz']))
    .option('-f, --force', 'replace a file that is there')
    .addOption(retryFor())
    .action((id: string, options, command: Command) => pull(open(command), id, options)),
);

withVault(
  program
    .command('ls')
    .description('the backups, newest first: id, time, size, stored size, name')
    .argument('[prefix]', 'of the name', '')
    .addOption(limit())
    .action((prefix: string, options, command: Command) => listBackups(open(command), prefix, options)),
);

withVault(
  program
    .command('files')
    .description('the files of an archive')
    .argument('<id>', 'of the backup')
    .argument('[prefix]', 'of the path', '')
    .addOption(limit())
    .action((id: string, prefix: string, options, command: Command) => listFiles(open(command), id, prefix, options)),
);

withVault(
  program
    .command('cat')
    .description('one file of an archive, to standard output')
    .argument('<id>', 'of the backup')
    .argument('<path>', 'as "files" shows it')
    .addOption(retryFor())
    .action((id: string, path: string, options, command: Command) => cat(open(command), id, path, options)),
);

withVault(
  program
    .command('link')
    .description('an address that needs no token')
    .argument('<id>', 'of the backup')
    .addOption(new Option('--expires <time>', 'how long it is good').argParser(durationOption).default(3600, '1h'))
    .option('--path <path>', 'of a file in the archive; with --format tar of a directory')
    .addOption(new Option('--format <format>', 'what it gives').choices(['zst', 'gz', 'tar']))
    .option('--name <name>', 'what a browser saves it as')
    .action((id: string, options, command: Command) => link(open(command), id, options)),
);

withVault(
  program
    .command('watch')
    .description('show a job until it ends, also one that is still to come')
    .argument('<job>', 'its name, or the id of a backup')
    .addOption(retryFor())
    .action((job: string, options, command: Command) => watch(open(command), job, options)),
);

function limit(): Option {
  return new Option('--limit <n>', 'at most so many').argParser(wholeNumber(1, Number.MAX_SAFE_INTEGER));
}

/** Runs what the line says, and gives the exit code. */
async function main(): Promise<number> {
  try {
    await program.parseAsync();
    return 0;
  } catch (error) {
    // Help and usage errors have been printed.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE_EXIT_CODE;
    session?.view.close();
    const isKnown = error instanceof CommandFailed;
    const words = isKnown ? error.message : (systemFailure(error) ?? (error as Error).stack ?? String(error));
    process.stderr.write(`coldstream: ${words}\n`);
    return isKnown ? error.exitCode : 1;
  }
}

const USAGE_EXIT_CODE = 2;

endWithReader();
main().then((code) => {
  // Idle connections would keep the process; what was printed has to be out before it ends.
  process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
});
