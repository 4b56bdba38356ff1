/** The command line: what each command takes, and what runs it. Help, man page and completions are made of this. */
import { Command, Option } from 'commander';
import { durationOption, sizeOption, wholeNumber } from './amounts.ts';
import { cat } from './cat.ts';
import { completion, SHELLS } from './completion.ts';
import { info } from './info.ts';
import { jobs } from './jobs.ts';
import { link, uploadLink } from './link.ts';
import { listBackups, listFiles } from './listing.ts';
import { print } from './output.ts';
import { pull } from './pull.ts';
import { push } from './push.ts';
import { restore } from './restore.ts';
import { rm } from './rm.ts';
import { type Session, withRateLimit, withVault } from './session.ts';
import { tokens } from './tokens.ts';
import { verify } from './verify.ts';
import { watch } from './watch.ts';

export interface ProgramContext {
  /** The session of a command that is about to run. */
  open(command: Command): Session;
  /** What follows `--` on the line of `push`. */
  readonly afterDashes: readonly string[];
}

const BACKUP = 'ID, NAME, NAME@2 (second newest) or NAME@2026-11-24 (newest of that day or before)';
const RETRY_FOR = 'give up after this time without progress';

export const EXIT_CODES: readonly (readonly [number, string])[] = [
  [0, 'done'],
  [1, 'failed'],
  [2, 'called wrongly'],
  [3, 'some of it was done and some was not'],
  [4, 'the input ended too early: an empty pipe or a broken archive'],
  [5, 'the command whose output was to be stored failed; nothing was stored'],
  [6, 'the vault has damaged or lost the stored data'],
  [124, 'the time of --timeout is over'],
  [130, 'interrupted by Ctrl-C; 143 by SIGTERM'],
];

export function createProgram({ open, afterDashes }: ProgramContext): Command {
  const program = new Command('coldstream')
    .description('Backups in a Coldstream vault, from a terminal or a script.')
    .version('0.2.0')
    .showHelpAfterError('(coldstream COMMAND --help shows more)')
    .addHelpText(
      'after',
      `\nExit codes:\n${EXIT_CODES.map(([code, words]) => `  ${String(code).padEnd(4)}${words}`).join('\n')}`,
    )
    .exitOverride();

  withRateLimit(withVault(program.command('push')))
    .description('upload files, directories, a pipe, or the output of a command; resumes interrupted uploads')
    .argument('[source...]', 'files, directories (as a tar), or - for a pipe')
    .usage('[options] SOURCE...\n       coldstream push [options] --name NAME -- COMMAND [ARGUMENT...]')
    .option('--name <name>', 'name to store under, such as web1/shop.sql (default: the path as given)')
    .option('--job <id>', 'name to watch the upload by')
    .addOption(new Option('--level <n>', 'compression level, 1–22').argParser(wholeNumber(1, 22)))
    .addOption(new Option('--compression <how>', 'compression at the vault').choices(['auto', 'zstd', 'none']))
    .option('--compress', 'compress with zstd here, before sending; the vault stores NAME')
    .addOption(new Option('--recipient <age1…>', 'encrypt for this age key; may be repeated').argParser(repeated))
    .option('--sha256 <hex>', 'reject the file unless it has this checksum')
    .option('--whole-archive', 'reject a file that is no whole tar archive')
    .option('--allow-empty', 'store an empty pipe too')
    .option('--expires <time>', 'the vault deletes the backup after this time, such as 30d')
    .addOption(
      new Option('--exclude <pattern>', 'leave out of a directory, as in .gitignore; may be repeated').argParser(
        repeated,
      ),
    )
    .option('--exclude-from <file>', 'file of patterns to leave out')
    .option('--files-from <file>', 'file of paths to store as one tar, a line or a NUL each; - for a pipe')
    .option('--one-file-system', 'leave out what is mounted below a directory')
    .option('--fresh', 'start again instead of resuming')
    .addOption(new Option('--chunk <size>', 'size of each request, instead of one that adapts').argParser(sizeOption))
    .addOption(new Option('--parallel <n>', 'files at once').argParser(wholeNumber(1, 16)).default(3))
    .addOption(new Option('--retry-for <time>', `${RETRY_FOR} (default: 1h)`).argParser(durationOption))
    .action((given: string[], options, command: Command) => {
      // With a name and nothing before it, `--` begins a command; else it only ends the options.
      const isCommand = given.length === 0 && options.name !== undefined && options.filesFrom === undefined;
      const paths = isCommand ? given : [...given, ...afterDashes];
      return push(open(command), { paths, command: isCommand ? afterDashes : [] }, options);
    });

  withRateLimit(withVault(program.command('pull')))
    .description('download a backup; resumes interrupted downloads')
    .argument('<backup>', BACKUP)
    .option('-o, --output <file>', 'file, directory, or - for standard output (default: its own name, here)')
    .addOption(new Option('--format <format>', 'the stored zstd file, or gzip').choices(['zst', 'gz']))
    .option('--identity <file>', 'decrypt here with the age identities of this file')
    .option('-f, --force', 'replace a file that exists; its mode is kept')
    .addOption(retryFor())
    .action((backup: string, options, command: Command) => pull(open(command), backup, options));

  withRateLimit(withVault(program.command('restore')))
    .description('restore files of an archive into a directory, or rows into a table')
    .argument('<backup[:path]>', `${BACKUP}; with a path in the archive`)
    .option('--to <dir>', 'directory to restore into')
    .option('--path <path>', 'path in the archive, for names with a colon')
    .option('-f, --force', 'replace files that exist')
    .option('--database <name>', 'database of the rows')
    .option('--table <name>', 'table of the rows')
    .addOption(new Option('--mode <mode>', 'rows whose key exists').choices(['insert', 'upsert', 'replace']))
    .option('--dry-run', 'check the rows and write none')
    .addOption(retryFor())
    .action((backup: string, options, command: Command) => restore(open(command), backup, options));

  withVault(program.command('ls'))
    .description('list backups, newest first: id, time, size, stored size, last verification or damage, name')
    .argument('[prefix]', 'prefix of the names', '')
    .option('--name <name>', 'all versions of exactly this name')
    .option('--damaged', 'only damaged backups')
    .addOption(limit())
    .action((prefix: string, options, command: Command) => listBackups(open(command), prefix, options));

  withVault(program.command('info'))
    .description('show the receipt of a backup')
    .argument('<backup>', BACKUP)
    .action((backup: string, _options, command: Command) => info(open(command), backup));

  withVault(program.command('files'))
    .description('list the files of an archive')
    .argument('<backup>', BACKUP)
    .argument('[prefix]', 'prefix of the paths', '')
    .addOption(limit())
    .action((backup: string, prefix: string, options, command: Command) =>
      listFiles(open(command), backup, prefix, options),
    );

  withRateLimit(withVault(program.command('cat')))
    .description('write one file of an archive to standard output')
    .argument('<backup>', BACKUP)
    .argument('<path>', 'path in the archive, as "files" shows it')
    .addOption(retryFor())
    .action((backup: string, path: string, options, command: Command) => cat(open(command), backup, path, options));

  withVault(program.command('verify'))
    .description('let the vault read backups back and compare every byte')
    .argument('<backup...>', BACKUP)
    .action((backups: string[], _options, command: Command) => verify(open(command), backups));

  withVault(program.command('rm'))
    .description('delete backups for good')
    .argument('<backup...>', BACKUP)
    .action((backups: string[], _options, command: Command) => rm(open(command), backups));

  withVault(program.command('link'))
    .description('make a download link that needs no token')
    .argument('<backup>', BACKUP)
    .addOption(new Option('--expires <time>', 'how long it is valid').argParser(durationOption).default(3600, '1h'))
    .option('--path <path>', 'a file in the archive; with --format tar a directory')
    .addOption(new Option('--format <format>', 'what it serves').choices(['zst', 'gz', 'tar']))
    .option('--name <name>', 'filename for browsers')
    .action((backup: string, options, command: Command) => link(open(command), backup, options));

  withVault(program.command('upload-link'))
    .description('make a link at which somebody without a token stores one file')
    .argument('<name>', 'name to store under')
    .addOption(new Option('--expires <time>', 'how long it is valid').argParser(durationOption).default(3600, '1h'))
    .addOption(new Option('--max-size <size>', 'largest file').argParser(sizeOption))
    .option('--job <id>', 'name to watch the upload by')
    .addOption(new Option('--level <n>', 'compression level, 1–22').argParser(wholeNumber(1, 22)))
    .option('--sha256 <hex>', 'reject the file unless it has this checksum')
    .addOption(new Option('--recipient <age1…>', 'encrypt for this age key; may be repeated').argParser(repeated))
    .action((name: string, options, command: Command) => uploadLink(open(command), name, options));

  withVault(program.command('watch'))
    .description('show a job until it ends, also one that has not started')
    .argument('<job>', 'name of the job, or id of a backup')
    .addOption(new Option('--timeout <time>', 'give up if the job has not ended by then').argParser(durationOption))
    .addOption(retryFor())
    .action((job: string, options, command: Command) => watch(open(command), job, options));

  withVault(program.command('jobs'))
    .description('list the runs of jobs, newest first, or cancel one')
    .addOption(new Option('--task <task>', 'only runs of this kind').choices(['upload', 'verify', 'import', 'restore']))
    .option('--phase <phase>', 'only runs in this phase, such as receiving, done or failed')
    .addOption(limit())
    .option('--cancel <job>', 'cancel the run of this job')
    .action((options, command: Command) => jobs(open(command), options));

  withVault(program.command('tokens'))
    .description('list tokens, create one, or revoke one')
    .option('--create <name>', 'create a token with this name, and print it')
    .addOption(
      new Option('--scope <scope>', 'what the new token may do: read, write, admin; may be repeated').argParser(
        repeated,
      ),
    )
    .addOption(new Option('--expires <time>', 'when the new token expires (default: never)').argParser(durationOption))
    .option('--revoke <id>', 'revoke the token with this id')
    .action((options, command: Command) => tokens(open(command), options));

  program
    .command('completion')
    .description('print the completions for a shell')
    .argument('<shell>', SHELLS.join(', '))
    .action((shell: string) => print(completion(program, shell)));

  return program;
}

/** For options that may be repeated. */
function repeated(value: string, others: readonly string[] = []): readonly string[] {
  return [...others, value];
}

function retryFor(): Option {
  return new Option('--retry-for <time>', RETRY_FOR).argParser(durationOption).default(3600, '1h');
}

function limit(): Option {
  return new Option('--limit <n>', 'at most so many').argParser(wholeNumber(1, Number.MAX_SAFE_INTEGER));
}
