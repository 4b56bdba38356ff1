import { randomBytes } from 'node:crypto';
import { type LocalWorker, ROOT, startWorker, wrangler } from './local-worker.ts';

export interface BenchVault extends LocalWorker {
  readonly token: string;
}

/** What of a receipt the bench uses. */
export interface Receipt {
  readonly backup_id: string;
  readonly stored_size: number;
  readonly file_size: number;
  readonly checksum: string;
  readonly archive: { readonly members: number; readonly stopped: { readonly reason: string } | null } | null;
}

export const VAULT = 'wrangler.toml';
/** The vault with `bench/workers/instrumented.ts` around it. */
export const INSTRUMENTED_VAULT = 'bench/workers/instrumented.wrangler.toml';
const CATALOGUE = 'coldstream-catalogue';
/** The database that import and export have to try. */
export const SAMPLE = 'coldstream-sample';

export async function startVault(
  config: string,
  state: string,
  vars: Readonly<Record<string, string>> = {},
  v8Flags = '',
  root = ROOT,
): Promise<BenchVault> {
  const token = randomBytes(24).toString('hex');
  migrate(config, state, root);
  const secrets = { ADMIN_TOKEN: token, LINK_SIGNING_KEYS: `bench:${randomBytes(32).toString('base64url')}` };
  const worker = await startWorker(config, state, { ...secrets, ...vars }, v8Flags, root);
  return { ...worker, token };
}

export function migrate(config: string, state: string, root = ROOT): void {
  for (const database of [CATALOGUE, SAMPLE]) {
    wrangler(['d1', 'migrations', 'apply', database, '--local', '--config', config, '--persist-to', state], root);
  }
}

/** Runs SQL on a database whose vault is not running. */
export function runSql(config: string, state: string, sql: string, database = CATALOGUE): void {
  wrangler([
    'd1',
    'execute',
    database,
    '--local',
    '--yes',
    '--config',
    config,
    '--persist-to',
    state,
    '--command',
    sql,
  ]);
}

export function uploadUrl(vault: BenchVault, options: Readonly<Record<string, string>> = {}): string {
  return `${vault.url}/backup/upload/mixed.tar?${new URLSearchParams(options)}`;
}

export async function removeBackup(vault: BenchVault, id: string): Promise<void> {
  const answer = await fetch(`${vault.url}/backup/${id}`, { method: 'DELETE', headers: bearer(vault) });
  if (answer.status !== 204) throw new Error(`DELETE /backup/${id} answered ${answer.status}`);
}

/** A URL that opens a job's WebSocket without a header. */
export async function watchUrl(vault: BenchVault, job: string): Promise<string> {
  const answer = await fetch(`${vault.url}/jobs/${job}/links`, {
    method: 'POST',
    headers: { ...bearer(vault), 'content-type': 'application/json' },
    body: '{}',
  });
  const { url } = (await answer.json()) as { url: string };
  return url.replace(/^http/, 'ws');
}

export function bearer(vault: BenchVault): Record<string, string> {
  return { authorization: `Bearer ${vault.token}` };
}
