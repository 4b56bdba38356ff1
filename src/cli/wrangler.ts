import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const PROJECT_DIR = fileURLToPath(import.meta.resolve('../..'));

/**
 * wrangler's program itself, not its launcher: the launcher is one more process, and one that does not pass signals
 * on. It runs on the Node that runs us (24, from node_modules), whatever else the machine has.
 */
const WRANGLER = join(PROJECT_DIR, 'node_modules/wrangler/wrangler-dist/cli.js');

/** What wrangler would ask or tell the world about, off: this is a local run, and may be one without a network. */
const QUIET = {
  WRANGLER_SEND_METRICS: 'false',
  WRANGLER_SEND_ERROR_REPORTS: 'false',
  WRANGLER_HIDE_BANNER: 'true',
  CLOUDFLARE_CF_FETCH_ENABLED: 'false',
};

/** The custom build says `node`, and means ours: an older one of the machine cannot run TypeScript. */
const PATH = [join(PROJECT_DIR, 'node_modules/.bin'), process.env.PATH].join(delimiter);

export function spawnWrangler(args: readonly string[], options: SpawnOptions): ChildProcess {
  return spawn(process.execPath, ['--no-warnings', WRANGLER, ...args], {
    cwd: PROJECT_DIR,
    ...options,
    env: { ...process.env, PATH, ...QUIET, ...options.env },
  });
}

export interface Finished {
  /** The exit code; 128 + n after signal n is the shell's affair, here a signal is 1. */
  readonly code: number;
  /** All that was said, both streams in order of arrival. */
  readonly output: string;
}

/** Runs wrangler to its end without showing anything. */
export async function runWrangler(args: readonly string[], env: Record<string, string> = {}): Promise<Finished> {
  const child = spawnWrangler(args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  let output = '';
  const keep = (chunk: Buffer) => {
    output += chunk.toString();
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  return { code: await exitCode(child), output };
}

export function exitCode(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
}

/**
 * Brings the local D1 databases up to date, one after the other. `args` name where they are (`--persist-to DIR`,
 * `--config FILE`, `--env NAME`).
 */
export async function migrateLocally(args: readonly string[], env: Record<string, string> = {}): Promise<Finished> {
  let output = '';
  for (const binding of await migratedBindings(args)) {
    const finished = await runWrangler(['d1', 'migrations', 'apply', binding, '--local', ...args], {
      CI: 'true',
      ...env,
    });
    output += finished.output;
    if (finished.code !== 0) return { code: finished.code, output };
  }
  return { code: 0, output };
}

/** The databases of the configuration that have migrations; the catalogue always has. */
async function migratedBindings(args: readonly string[]): Promise<string[]> {
  const given = (option: string) => (args.includes(option) ? args[args.indexOf(option) + 1] : undefined);
  const config = resolve(PROJECT_DIR, given('--config') ?? 'wrangler.toml');
  // wrangler itself says best what is wrong with a file that is not there.
  const text = await readFile(config, 'utf8').catch(() => '');
  const environment = given('--env');
  const heading = environment === undefined ? '[[d1_databases]]' : `[[env.${environment}.d1_databases]]`;
  const bindings = text
    .split(/^(?=\[)/m)
    .filter((section) => section.startsWith(heading) && /^migrations_dir\b/m.test(section))
    .flatMap((section) => /^binding\s*=\s*["'](\w+)["']/m.exec(section)?.[1] ?? []);
  return [...new Set(['CATALOGUE', ...bindings])];
}

/** Whether nobody listens on the port. `host` as wrangler takes it: a name or an address. */
export function portIsFree(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
