import { type ChildProcess, spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatVars, randomSecrets } from './dev-vars.ts';
import { migrateLocally, spawnWrangler } from './wrangler.ts';

export interface LocalVaultOptions {
  /** Directory of R2, D1 and Durable Objects. It is never removed. Default: a new one, removed by stop(). */
  persistTo?: string;
  /** Default 0: a free one. */
  port?: number;
  /** Where the runtime's inspector listens. Default 0: a free one, which nobody is told. */
  inspectorPort?: number;
  /** Variables and secrets beside or instead of the random `ADMIN_TOKEN` and `LINK_SIGNING_KEYS`. */
  vars?: Readonly<Record<string, string>>;
  /** A wrangler configuration other than the project's. */
  config?: string;
  /** Whether that configuration has a CATALOGUE to bring up to date. Default true. */
  migrate?: boolean;
  /** The path that must answer 200 before the vault counts as started. Default `/healthz`. */
  readyPath?: string;
  /** stop() leaves the state directory that was made here. */
  keepState?: boolean;
  /** Default 90,000: a cold machine bundles and starts slowly. */
  startTimeoutMs?: number;
}

export interface LocalVault {
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  readonly url: string;
  /** The `ADMIN_TOKEN` in use. */
  readonly token: string;
  /** Leader of the process group that holds wrangler and the runtime. */
  readonly pid: number;
  readonly stateDir: string;
  /** The end of what wrangler and the Worker printed (1 MiB of it). */
  logs(): string;
  /** Ends all processes and removes what was made. May be called again. */
  stop(): Promise<void>;
  /** kill -9 of all processes at once, as a power cut would do. State stays; stop() still has to be called. */
  crash(): Promise<void>;
}

export class VaultDidNotStart extends Error {
  override readonly name = 'VaultDidNotStart';
}

const LOG_CHARACTERS = 1024 * 1024;
/** How long wrangler may take to end by itself before it is killed. */
const GRACE_MS = 5_000;
const ASK_EVERY_MS = 50;

/**
 * Starts a vault of one's own: free port, random secrets, state in a directory of its own. Reads and writes nothing of
 * what `npm start` uses (`.dev.vars`, `.wrangler/state`). Who starts one, stops it; should the process end before, the
 * runtime is killed and the directories are removed on the way out.
 */
export async function startLocalVault(options: LocalVaultOptions = {}): Promise<LocalVault> {
  const runDir = await mkdtemp(join(tmpdir(), 'coldstream-run-'));
  const stateDir = options.persistTo ?? (await mkdtemp(join(tmpdir(), 'coldstream-state-')));
  const doomed = options.persistTo || options.keepState ? [runDir] : [runDir, stateDir];
  // Nobody can wait in an exit handler, hence the synchronous twin of removeAll.
  const lastResort = () => {
    for (const dir of doomed) rmSync(dir, { recursive: true, force: true });
  };
  process.once('exit', lastResort);
  const removeAll = async () => {
    process.off('exit', lastResort);
    await Promise.all(doomed.map((dir) => rm(dir, { recursive: true, force: true, maxRetries: 5 })));
  };
  try {
    const vars: Record<string, string> = { ...randomSecrets(), ...options.vars };
    const varsFile = join(runDir, 'vars');
    await writeFile(varsFile, formatVars(vars), { mode: 0o600 });
    const env = {
      WRANGLER_LOG_PATH: join(runDir, 'log'),
      WRANGLER_REGISTRY_PATH: join(runDir, 'registry'),
      NO_COLOR: '1',
    };
    const where = ['--persist-to', stateDir, ...(options.config ? ['--config', options.config] : [])];
    if (options.migrate !== false) await migrate(where, env);
    const child = spawnWrangler(
      [
        'dev',
        ...where,
        '--env-file',
        varsFile,
        '--ip',
        '127.0.0.1',
        '--port',
        String(options.port ?? 0),
        '--inspector-port',
        String(options.inspectorPort ?? 0),
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env },
    );
    const group = new ProcessGroup(child);
    try {
      const url = await group.address(options.startTimeoutMs ?? 90_000, options.readyPath ?? '/healthz');
      return {
        url,
        token: vars.ADMIN_TOKEN ?? '',
        pid: group.pid,
        stateDir,
        logs: () => group.log,
        crash: () => group.end('SIGKILL'),
        stop: async () => {
          await group.end('SIGTERM');
          await removeAll();
        },
      };
    } catch (error) {
      await group.end('SIGKILL');
      throw error;
    }
  } catch (error) {
    await removeAll();
    throw error;
  }
}

async function migrate(where: readonly string[], env: Record<string, string>): Promise<void> {
  const { code, output } = await migrateLocally(where, env);
  if (code !== 0) throw new VaultDidNotStart(`the catalogue could not be migrated:\n${output}`);
}

/** wrangler dev and the runtime it starts, as one thing that prints, becomes ready and is ended. */
class ProcessGroup {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #lastResort: () => void;
  #alive = true;
  #gone = false;
  log = '';

  constructor(child: ChildProcess) {
    this.#child = child;
    const keep = (chunk: Buffer) => {
      this.log = (this.log + chunk.toString()).slice(-LOG_CHARACTERS);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    this.#lastResort = () => this.#signal('SIGKILL');
    // Before the directories are removed: a runtime that lives would write them anew.
    process.prependOnceListener('exit', this.#lastResort);
    this.#ended = new Promise((resolve) => {
      const settle = () => {
        this.#alive = false;
        resolve();
      };
      child.once('error', settle);
      child.once('exit', settle);
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Waits until `path` answers 200. Throws {@link VaultDidNotStart} with what was printed. */
  async address(timeoutMs: number, path: string): Promise<string> {
    const deadline = Date.now() + timeoutMs;
    while (this.#alive && Date.now() < deadline) {
      const url = /Ready on (http:\/\/[^\s/]+)/.exec(this.log)?.[1];
      if (url && (await fetch(url + path).then(isOk, () => false))) return url;
      await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
    }
    throw new VaultDidNotStart(`${this.#alive ? 'no answer in time' : 'wrangler dev ended'}:\n${this.log}`);
  }

  /** Ends every process of the group: asked first, unless by SIGKILL; killed after a grace. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.#signal(signal);
    const grace = setTimeout(() => this.#signal('SIGKILL'), GRACE_MS);
    await this.#ended;
    clearTimeout(grace);
    // The leader may go before its children do: what is left of the group goes now.
    this.#signal('SIGKILL');
    this.#gone = true;
    process.off('exit', this.#lastResort);
  }

  #signal(signal: NodeJS.Signals): void {
    // Once all are gone the number may belong to somebody else.
    if (!this.#child.pid || this.#gone) return;
    if (process.platform === 'win32') {
      spawnSync('taskkill', ['/pid', String(this.#child.pid), '/T', '/F'], { stdio: 'ignore' });
      return;
    }
    try {
      process.kill(-this.#child.pid, signal);
    } catch {
      // ESRCH: nobody is left in the group, which is what was wanted.
    }
  }
}

async function isOk(response: Response): Promise<boolean> {
  await response.body?.cancel();
  return response.ok;
}
