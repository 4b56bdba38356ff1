/**
 * `npm start -- [arguments of wrangler dev]`: the vault on this machine, with state that stays.
 *
 * Makes `.dev.vars` where there is none, brings the local catalogue up to date, starts `wrangler dev` with every
 * argument passed on, and says how to reach the vault once it answers.
 */
import { existsSync } from 'node:fs';
import { get as httpGet } from 'node:http';
import { get as httpsGet } from 'node:https';
import { isAbsolute, join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseConfig } from '../shared/config.ts';
import { makeVarsFile, readVarsFile } from './dev-vars.ts';
import { exitCode, migrateLocally, PROJECT_DIR, portIsFree, spawnWrangler } from './wrangler.ts';

/** wrangler dev's own default; the next free one is taken where it is in use. */
const FIRST_PORT = 8787;
const PORTS_TRIED = 100;
const ASK_EVERY_MS = 200;

/** What of wrangler's arguments matters to us too; the rest is only passed on. */
function readArguments(args: string[]) {
  const { values } = parseArgs({
    args,
    strict: false,
    options: {
      port: { type: 'string' },
      ip: { type: 'string' },
      'local-protocol': { type: 'string' },
      'persist-to': { type: 'string' },
      config: { type: 'string', short: 'c' },
      env: { type: 'string', short: 'e' },
      'env-file': { type: 'string', multiple: true },
      var: { type: 'string', multiple: true },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
  const files = Array.isArray(values['env-file']) ? values['env-file'].map(text) : [];
  return {
    port: text(values.port),
    ip: text(values.ip) ?? 'localhost',
    protocol: values['local-protocol'] === 'https' ? 'https' : 'http',
    persistTo: text(values['persist-to']),
    config: text(values.config),
    env: text(values.env),
    envFile: files.at(-1),
    vars: Object.fromEntries([values.var ?? []].flat().map(String).map(variableOf)),
    help: values.help === true,
  };
}

/** `NAME:VALUE`, as `--var` of wrangler has it. */
function variableOf(text: string): [string, string] {
  const colon = text.indexOf(':');
  return colon < 0 ? [text, ''] : [text.slice(0, colon), text.slice(colon + 1)];
}

type Arguments = ReturnType<typeof readArguments>;

/** The file that wrangler will take the secrets from (its order: --env-file, .dev.vars.ENV, .dev.vars). */
function varsFileOf({ envFile, env }: Arguments): string {
  if (envFile) return isAbsolute(envFile) ? envFile : join(PROJECT_DIR, envFile);
  const ofEnvironment = join(PROJECT_DIR, `.dev.vars.${env}`);
  return env && existsSync(ofEnvironment) ? ofEnvironment : join(PROJECT_DIR, '.dev.vars');
}

/** The port asked for, or the first free one; null where the one asked for is taken. */
async function choosePort({ port, ip }: Arguments): Promise<number | null> {
  const host = ip === '*' ? '0.0.0.0' : ip;
  if (port !== undefined && port !== '0') return (await portIsFree(Number(port), host)) ? Number(port) : null;
  for (let candidate = FIRST_PORT; candidate < FIRST_PORT + PORTS_TRIED; candidate++) {
    if (await portIsFree(candidate, host)) return candidate;
  }
  return null;
}

/** The status of an answer; 0 without one. The certificate that wrangler makes for itself has no issuer. */
function statusAt(url: string): Promise<number> {
  return new Promise((resolve) => {
    const settle = (response: { statusCode?: number; resume(): void }) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    };
    const request = url.startsWith('https:')
      ? httpsGet(url, { rejectUnauthorized: false }, settle)
      : httpGet(url, settle);
    request.once('error', () => resolve(0));
  });
}

async function greet(
  address: string,
  token: string | undefined,
  { running, stop }: { running: () => boolean; stop: () => void },
): Promise<void> {
  for (
    let status = await statusAt(`${address}/healthz`);
    status !== 200;
    status = await statusAt(`${address}/healthz`)
  ) {
    if (!running()) return;
    if (status === 500) {
      console.error('The vault does not start: the line with "level":"error" above names the variable it cannot use.');
      return stop();
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
  }
  const insecure = address.startsWith('https:') ? '-k ' : '';
  console.log(`
Coldstream runs at  ${address}
Admin token         ${token ?? '(none is set)'}
Try                 curl ${insecure}-H 'Authorization: Bearer ${token ?? 'TOKEN'}' -T package-lock.json ${address}/backup/upload/
`);
}

/** `--port 9000` or `--port=9000` taken out, so that the one chosen can be put in. */
function withoutPort(args: string[]): string[] {
  return args.filter((arg, i) => arg !== '--port' && args[i - 1] !== '--port' && !arg.startsWith('--port='));
}

/** The shell between npm and us passes no signal on: when npm was told to end, all we see is another parent. */
function stopWithParent(stop: () => void): void {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    stop();
  }, ASK_EVERY_MS);
  watch.unref();
}

/** Why variables cannot be used; null where they can. Those of wrangler.toml are checked by the vault itself. */
function reasonAgainst(vars: Readonly<Record<string, string | undefined>>): string | null {
  try {
    parseConfig(vars);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function start(args: string[]): Promise<number> {
  const asked = readArguments(args);
  if (asked.help) return await exitCode(spawnWrangler(['dev', ...args], { stdio: 'inherit' }));
  const varsFile = varsFileOf(asked);
  if (await makeVarsFile(varsFile)) console.log(`Made ${varsFile} with a new ADMIN_TOKEN and LINK_SIGNING_KEYS.`);
  const vars = { ...(await readVarsFile(varsFile)), ...asked.vars };
  const unusable = reasonAgainst(vars);
  if (unusable !== null) {
    console.error(`The vault does not start. ${unusable}.`);
    return 1;
  }
  const port = await choosePort(asked);
  if (port === null) {
    console.error(
      asked.port ? `Port ${asked.port} is in use or may not be opened; name another by --port.` : 'No free port.',
    );
    return 1;
  }
  const where = [
    ...(asked.persistTo ? ['--persist-to', asked.persistTo] : []),
    ...(asked.config ? ['--config', asked.config] : []),
    ...(asked.env ? ['--env', asked.env] : []),
  ];
  const migrated = await migrateLocally(where);
  if (migrated.code !== 0) {
    console.error(migrated.output);
    return migrated.code;
  }
  const child = spawnWrangler(['dev', '--port', String(port), ...withoutPort(args)], { stdio: 'inherit' });
  const ended = exitCode(child);
  // Ctrl-C reaches wrangler from the terminal; we only wait for it. What is sent to us alone is passed on.
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  stopWithParent(() => child.kill('SIGTERM'));
  const host = asked.ip === '*' || asked.ip === '0.0.0.0' ? 'localhost' : asked.ip;
  void greet(`${asked.protocol}://${host}:${port}`, vars.ADMIN_TOKEN, {
    running: () => child.exitCode === null && child.signalCode === null,
    stop: () => child.kill('SIGTERM'),
  });
  return await ended;
}

process.exitCode = await start(process.argv.slice(2));
