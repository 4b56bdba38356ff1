import type { Command } from 'commander';
import { EXIT_CODES } from './program.ts';

const FILES: readonly (readonly [string, string])[] = [
  [
    '~/.config/coldstream/config.toml',
    'Values for options, by their long names, such as url = "https://vault.example.org" or limit-rate = "5MiB". ' +
      'Those below [profiles.NAME] apply with --profile NAME. The line and the environment win.',
  ],
  ['~/.local/state/coldstream', 'Unfinished uploads, with their secrets (mode 0600).'],
];

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['COLDSTREAM_URL', 'Address of the vault, as --url.'],
  ['COLDSTREAM_TOKEN, COLDSTREAM_TOKEN_FILE', 'The token, or a file that holds it.'],
  ['COLDSTREAM_CONFIG, COLDSTREAM_PROFILE', 'The config file, and its profile.'],
  ['HTTPS_PROXY, HTTP_PROXY, NO_PROXY', 'Proxy, and hosts that are reached without it.'],
  ['NODE_EXTRA_CA_CERTS', 'File of the CA of a vault whose certificate is your own.'],
];

/** coldstream(1) as roff, from the definition of the command line. */
export function manPage(program: Command): string {
  const lines = [
    `.TH COLDSTREAM 1 "" "coldstream ${program.version()}"`,
    '.SH NAME',
    `coldstream \\- ${escaped(program.description())}`,
    '.SH SYNOPSIS',
    '.B coldstream',
    '.I COMMAND',
    '[options]',
    '.SH COMMANDS',
    ...program.commands.flatMap(commandSection),
    '.SH EXIT STATUS',
    ...EXIT_CODES.flatMap(([code, words]) => tagged(String(code), words)),
    '.SH ENVIRONMENT',
    ...ENVIRONMENT.flatMap(([name, words]) => tagged(name, words)),
    '.SH FILES',
    ...FILES.flatMap(([name, words]) => tagged(name, words)),
  ];
  return `${lines.join('\n')}\n`;
}

function commandSection(command: Command): string[] {
  const usage = command
    .usage()
    .split('\n')
    .map((line) => line.trim().replace(/^coldstream \S+ /, ''));
  return [
    `.SS ${escaped(command.name())}`,
    ...usage.flatMap((line) => [`.B coldstream ${escaped(command.name())}`, escaped(line), '.br']),
    '.PP',
    `${escaped(capitalized(command.description()))}.`,
    ...command.registeredArguments
      .filter(({ description }) => description !== '')
      .flatMap((argument) => tagged(argument.name(), argument.description)),
    ...command.options.flatMap(({ flags, description }) => tagged(flags, description)),
  ];
}

function tagged(term: string, words: string): string[] {
  return ['.TP', `.B ${escaped(term)}`, escaped(words)];
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Backslashes, dashes that are to be copied, and dots and quotes that would begin a request. */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/, '\\&$1');
}
