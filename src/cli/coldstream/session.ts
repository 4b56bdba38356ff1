import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { UsageError } from './failures.ts';
import { type TransferView, transferView } from './transfer-view.ts';
import { causeOf, VaultClient } from './vault-client.ts';

/** What every command gets. */
export interface Session {
  readonly client: VaultClient;
  readonly view: TransferView;
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
    .option('--json', 'results as JSON, one object a line')
    .option('-q, --quiet', 'no progress and no remarks');
}

export function openSession(command: Command, signal: AbortSignal): Session {
  const options = command.opts<VaultOptions>();
  const quiet = options.quiet ?? false;
  const view = transferView({ quiet });
  const client = new VaultClient(originOf(options.url), tokenOf(command, options), signal);
  if (isInTheClear(client.origin)) {
    view.note(`The token goes to ${client.origin} unencrypted: use https.`);
  }
  return { client, view, json: options.json ?? false, quiet, signal };
}

/** `vault.example.org` is https; a vault is all there is at its address. */
function originOf(text = ''): string {
  if (text === '') throw new UsageError('Which vault? Set COLDSTREAM_URL, or say --url.');
  try {
    const { origin, protocol, pathname } = new URL(text.includes('://') ? text : `https://${text}`);
    if (/^https?:$/.test(protocol) && pathname === '/') return origin;
  } catch {
    // Told below, like any other address that is none.
  }
  throw new UsageError(`"${text}" is no address of a vault; one looks like https://vault.example.org`);
}

function isInTheClear(origin: string): boolean {
  const { protocol, hostname } = new URL(origin);
  return protocol === 'http:' && !/^(localhost|127\..*|\[::1\]|.*\.localhost)$/.test(hostname);
}

function tokenOf(command: Command, options: VaultOptions): string {
  const token = givenToken(command, options);
  if (token === '') throw new UsageError('No token. Set COLDSTREAM_TOKEN, or say --token-file.');
  // It becomes a header; and a message about that header would show it.
  if (!/^[\x21-\x7e]+$/.test(token)) throw new UsageError('The token has characters that no token has.');
  return token;
}

/** What was said on the line goes before the environment. */
function givenToken(command: Command, { token = '', tokenFile = '' }: VaultOptions): string {
  const onTheLine = (option: string) => command.getOptionValueSource(option) === 'cli';
  if (tokenFile === '' || onTheLine('token') || (token !== '' && !onTheLine('tokenFile'))) return token.trim();
  try {
    return readFileSync(tokenFile, 'utf8').trim();
  } catch (error) {
    throw new UsageError(`The token cannot be read: ${causeOf(error)}.`);
  }
}
