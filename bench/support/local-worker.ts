/** Starts a Worker on the local runtime, on a free port, with state of its own, and stops it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout that this file belongs to. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const WRANGLER = join('node_modules', 'wrangler', 'bin', 'wrangler.js');
const QUIET = { ...process.env, CLOUDFLARE_CF_FETCH_ENABLED: 'false', WRANGLER_SEND_METRICS: 'false', NO_COLOR: '1' };
const START_MS = 60_000;

export interface LocalWorker {
  readonly url: string;
  readonly inspectorPort: number;
  /** The leader of the process group. */
  readonly pid: number;
  stop(): Promise<void>;
}

/**
 * `config`: path from the project's root. `state`: the directory of R2, D1 and the Durable Objects. `v8Flags`: of the
 * whole runtime, simulators and all. `root`: the checkout whose Worker it is, with its packages installed.
 */
export async function startWorker(
  config: string,
  state: string,
  vars: Readonly<Record<string, string>> = {},
  v8Flags = '',
  root = ROOT,
): Promise<LocalWorker> {
  const [port, inspectorPort] = [await freePort(), await freePort()];
  const child = spawn(
    process.execPath,
    [
      ...[join(root, WRANGLER), 'dev', '--config', config, '--ip', '127.0.0.1', '--port', String(port)],
      ...['--inspector-ip', '127.0.0.1', '--inspector-port', String(inspectorPort)],
      ...['--persist-to', state, '--log-level', 'error', '--show-interactive-dev-session=false'],
      ...Object.entries(vars).flatMap(([name, value]) => ['--var', `${name}:${value}`]),
    ],
    // A group of its own: wrangler's runtime is a grandchild, and all of it has to stop.
    { cwd: root, env: { ...QUIET, ...withFlags(v8Flags) }, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  );
  const said: string[] = [];
  child.stdout.on('data', (text) => said.push(String(text)));
  child.stderr.on('data', (text) => said.push(String(text)));
  const { pid } = child;
  if (pid === undefined) throw new Error('wrangler dev did not start');
  // Should the bench end before it has stopped this: a group of its own would live on.
  const lastResort = () => signalGroup(pid, 'SIGKILL');
  process.prependOnceListener('exit', lastResort);
  const url = `http://127.0.0.1:${port}`;
  const stop = async () => {
    await stopGroup(child, pid);
    process.off('exit', lastResort);
  };
  const worker = { url, inspectorPort, pid, stop };
  try {
    await ready(url, child, said);
  } catch (error) {
    await worker.stop();
    throw error;
  }
  return worker;
}

function withFlags(v8Flags: string): Record<string, string> {
  return v8Flags === '' ? {} : { MINIFLARE_WORKERD_V8_FLAGS: v8Flags };
}

/** Runs a wrangler command to its end; throws with its output where it fails. */
export function wrangler(args: readonly string[], root = ROOT): void {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, WRANGLER), ...args], {
    cwd: root,
    env: { ...QUIET, CI: '1' },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`wrangler ${args.join(' ')}: ${stdout}${stderr}`);
}

async function ready(url: string, child: ChildProcess, said: string[]): Promise<void> {
  const deadline = Date.now() + START_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) break;
    const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5_000) }).catch(() => null);
    await answer?.body?.cancel();
    if (answer && answer.status < 500) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`the Worker at ${url} did not become ready: ${said.join('').slice(-4_000)}`);
}

async function stopGroup(child: ChildProcess, pid: number): Promise<void> {
  const gone = child.exitCode === null ? once(child, 'exit') : Promise.resolve();
  signalGroup(pid, 'SIGTERM');
  const late = setTimeout(() => signalGroup(pid, 'SIGKILL'), 5_000);
  await gone;
  clearTimeout(late);
  signalGroup(pid, 'SIGKILL');
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
