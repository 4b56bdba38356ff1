import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { sizeOption } from './amounts.ts';
import { UsageError } from './failures.ts';
import { RateLimit } from './rate-limit.ts';
import { applySettings } from './settings.ts';
import { type TransferView, transferView } from './transfer-view.ts';
import { causeOf, VaultClient } from './vault-client.ts';

/** What every command gets. */
export interface Session {
  readonly client: VaultClient;
  readonly view: TransferView;
  /** Of bytes sent or received, over all transfers. */
  readonly limit: RateLimit;
  /** Standard output is for programs: one JSON object a line. */
  readonly json: boolean;
  readonly quiet: boolean;
  /** Aborted with Interrupted. */
  readonly signal: AbortSignal;
}

interface VaultOptions {
  readonly url?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  /** Bytes a second. */
  readonly limitRate?: number;
}

/** Adds what every command takes. */
export function withVault(command: Command): Command {
  return command
    .addOption(new Option('--url <url>', 'the address of the vault').env('COLDSTREAM_URL'))
    .addOption(new Option('--token-file <file>', 'a file that holds the token').env('COLDSTREAM_TOKEN_FILE'))
    .addOption(
      new Option('--token <token>', 'the token itself; better in the environment, since others see arguments (ps)').env(
        'COLDSTREAM_TOKEN',
      ),
    )
    .addOption(
      new Option('--config <file>', 'config file (default: ~/.config/coldstream/config.toml)').env('COLDSTREAM_CONFIG'),
    )
    .addOption(new Option('--profile <name>', 'profile of the config file').env('COLDSTREAM_PROFILE'))
    .option('--json', 'print results as JSON, one object a line')
    .option('-q, --quiet', 'print nothing on success, unless the result is data');
}

/** Adds what commands that move bytes take. */
export function withRateLimit(command: Command): Command {
  return command.addOption(
    new Option('--limit-rate <size>', 'most bytes a second, such as 5MiB').argParser(rateOption),
  );
}

/** The vault counts a transfer that is slower than 1 KiB/s as stalled. */
const LEAST_RATE = 4096;

function rateOption(text: string): number {
  const rate = sizeOption(text);
  if (rate < LEAST_RATE)
    throw new InvalidArgumentError('It is at least 4KiB, because a slower transfer counts as stalled.');
  return rate;
}

export function openSession(command: Command, signal: AbortSignal): Session {
  applySettings(command);
  const options = command.opts<VaultOptions>();
  const quiet = options.quiet ?? false;
  const view = transferView({ quiet });
  const client = new VaultClient(originOf(options.url), tokenOf(command, options), signal);
  if (isInTheClear(client.origin)) {
    view.note(`The token goes to ${client.origin} unencrypted: use https.`);
  }
  const limit = new RateLimit(options.limitRate ?? null, signal);
  return { client, view, limit, json: options.json ?? false, quiet, signal };
}

/** `vault.example.org` is https; a vault is all there is at its address. */
function originOf(text = ''): string {
  if (text === '') throw new UsageError('Which vault? Set COLDSTREAM_URL or --url, or url in the config file.');
  try {
    const { origin, protocol, pathname } = new URL(text.includes('://') ? text : `https://${text}`);
    if (/^https?:$/.test(protocol) && pathname === '/') return origin;
  } catch {
    // Reported below.
  }
  throw new UsageError(`"${text}" is no address of a vault, such as https://vault.example.org`);
}

function isInTheClear(origin: string): boolean {
  const { protocol, hostname } = new URL(origin);
  return protocol === 'http:' && !/^(localhost|127\..*|\[::1\]|.*\.localhost)$/.test(hostname);
}

function tokenOf(command: Command, options: VaultOptions): string {
  const token = givenToken(command, options);
  if (token === '')
    throw new UsageError('No token. Set COLDSTREAM_TOKEN or --token-file, or token-file in the config file.');
  // It becomes a header; and a message about that header would show it.
  if (!/^[\x21-\x7e]+$/.test(token)) throw new UsageError('The token has characters that no token has.');
  return token;
}

/** The nearer source wins: the line, then the environment, then the config file. Of one source the token itself. */
const NEARNESS = ['config', 'env', 'cli'];

function givenToken(command: Command, { token = '', tokenFile = '' }: VaultOptions): string {
  const nearness = (option: string) => NEARNESS.indexOf(command.getOptionValueSource(option) ?? '');
  if (tokenFile === '' || (token !== '' && nearness('token') >= nearness('tokenFile'))) return token.trim();
  try {
    return readFileSync(tokenFile, 'utf8').trim();
  } catch (error) {
    throw new UsageError(`The token cannot be read: ${causeOf(error)}.`);
  }
}
