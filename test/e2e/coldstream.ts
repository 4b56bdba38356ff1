import { type ChildProcess, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import {
  eventually,
  type Ran,
  type Receipt,
  type RunOptions,
  runs,
  type Scratch,
  same,
  scratch,
  sha256Of,
  start,
} from './clients.ts';
import { type LineOptions, type SlowLine, slowLine } from './slow-line.ts';

const projectDir = fileURLToPath(new URL('../..', import.meta.url));
export const COMMAND = join(projectDir, 'dist/coldstream/coldstream.cjs');

/** Of this file's tests, from the first hook on ({@link withVault}). */
export let vault: LocalVault;
export let files: Scratch;
/** Where the command keeps what it may resume. */
export let state: string;

/** The built command, and a vault of its own for the tests of one file. */
export function withVault(): void {
  beforeAll(async () => {
    await runs(process.execPath, [join(projectDir, 'src/cli/build-command.ts')]);
    files = await scratch();
    state = files.path('xdg');
    vault = await startLocalVault({ persistTo: files.path('vault') });
  });
  afterAll(async () => {
    await vault?.stop();
    await files?.remove();
  });
}

/** kill -9 of the vault, and another on its state, at its address and with its token. */
export async function crashAndRestart(): Promise<void> {
  const { port } = new URL(vault.url);
  const crashed = vault;
  await crashed.crash();
  vault = await startLocalVault({
    persistTo: files.path('vault'),
    port: Number(port),
    vars: { ADMIN_TOKEN: crashed.token },
    migrate: false,
  });
  await crashed.stop();
}

/** The command is made for any Node from 20 on: it is tried with the oldest that this machine has. */
export const oldestNode = (process.env.PATH ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'node'))
  .filter((program) => existsSync(program))
  .map((program) => ({ program, major: majorOf(program) }))
  .filter(({ major }) => major >= 20)
  .reduce((one, other) => (other.major < one.major ? other : one), {
    program: process.execPath,
    major: majorOf(process.execPath),
  });

function majorOf(program: string): number {
  return Number(/^v(\d+)/.exec(spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout)?.[1] ?? 0);
}

export interface Called extends RunOptions {
  /** Default: the vault itself. */
  readonly line?: SlowLine;
  readonly token?: string;
  readonly node?: string;
}

export function startCommand(args: readonly string[], { line, token, node, env, ...options }: Called = {}) {
  return start(node ?? oldestNode.program, [COMMAND, ...args], {
    ...options,
    env: {
      COLDSTREAM_URL: line?.url ?? vault.url,
      COLDSTREAM_TOKEN: token ?? vault.token,
      XDG_STATE_HOME: state,
      ...env,
    },
  });
}

export function coldstream(args: readonly string[], options: Called = {}): Promise<Ran> {
  return startCommand(args, options).ended;
}

/** What it printed; any exit code other than 0 is an error with what it said. */
export async function succeeds(
  args: readonly string[],
  options: Called = {},
): Promise<{ stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await coldstream(args, options);
  expect(code, stderr).toBe(0);
  return { stdout: stdout.toString(), stderr };
}

export async function pushed(args: readonly string[], options: Called = {}): Promise<Receipt> {
  return JSON.parse((await succeeds(['push', '--json', ...args], options)).stdout) as Receipt;
}

/** The backup is what `file` holds, in the judgement of the vault and of cmp. */
export async function checkStored(receipt: Receipt, file: string): Promise<void> {
  expect(receipt.checksum).toBe(await sha256Of(file));
  const back = files.path(`back-${receipt.backup_id}`);
  await succeeds(['pull', receipt.backup_id, '-o', back, '-q']);
  await same(file, back);
}

/** Uploads that another run could go on with. */
export function kept(): string[] {
  const folder = join(state, 'coldstream');
  return existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
}

export async function overLine<T>(options: LineOptions, use: (line: SlowLine) => Promise<T>): Promise<T> {
  const line = await slowLine(vault.url, options);
  try {
    return await use(line);
  } finally {
    await line.close();
  }
}

export async function sentOver(line: SlowLine, bytes: number): Promise<void> {
  await eventually(
    20_000,
    async () => line.sent(),
    (sent) => sent > bytes,
  );
}

export async function killed(child: ChildProcess, ended: Promise<Ran>): Promise<void> {
  child.kill('SIGKILL');
  await ended;
}
