import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

/** The programs that people use, run as they are installed: nothing here knows how the vault works inside. */

export const MIB = 1024 * 1024;

/** The one vault of a test file. */
export interface Vault {
  readonly url: string;
  readonly token: string;
}

export interface Ran {
  /** -1 where a signal ended it. */
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  /** File whose bytes come through a pipe, so that the program cannot know how many there are. */
  readonly stdin?: string;
  readonly cwd?: string;
  readonly env?: Record<string, string>;
}

export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ran>;
}

/** Starts a program; a program that is not installed is an error that says which. */
export function start(program: string, args: readonly string[], options: RunOptions = {}): Running {
  const child = spawn(program, args, { cwd: options.cwd, env: { ...process.env, LC_ALL: 'C.UTF-8', ...options.env } });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => stderr.push(bytes));
  // A program that ends before it has read everything is no failure of ours.
  const fed = options.stdin ? pipeline(createReadStream(options.stdin), child.stdin).catch(() => undefined) : null;
  if (!fed) child.stdin.end();
  const ended = new Promise<Ran>((resolve, reject) => {
    child.on('error', (cause) =>
      reject(new Error(`${program} cannot be run; the e2e tests need it installed`, { cause })),
    );
    child.on('close', (code) => {
      resolve({ code: code ?? -1, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() });
    });
  });
  ended.catch(() => undefined);
  return { child, ended };
}

export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return start(program, args, options).ended;
}

/** Like {@link run}, but any exit code other than 0 is an error that shows what the program said. */
export async function runs(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const ran = await run(program, args, options);
  if (ran.code !== 0)
    throw new Error(`${program} ended with ${ran.code}: ${ran.stderr}\n${ran.stdout.subarray(0, 2000)}`);
  return ran;
}

export interface Answer {
  /** curl's exit code. */
  readonly code: number;
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  readonly stderr: string;
}

const TRAILER = '\n%{http_code} %{content_type}';

/** curl with the body of the answer on its standard output: for uploads and JSON. */
export function startCurl(
  args: readonly string[],
  options: RunOptions = {},
): { child: ChildProcess; answer: Promise<Answer> } {
  const { child, ended } = start('curl', ['-sS', '-w', TRAILER, ...args], options);
  const answer = ended.then(({ code, stdout, stderr }) => {
    const text = stdout.toString();
    const cut = text.lastIndexOf('\n');
    const [status = '0', contentType = ''] = text.slice(cut + 1).split(' ');
    return { code, status: Number(status), contentType, body: text.slice(0, cut), stderr };
  });
  answer.catch(() => undefined);
  return { child, answer };
}

export function curl(args: readonly string[], options: RunOptions = {}): Promise<Answer> {
  return startCurl(args, options).answer;
}

/** curl to a file; gives the last answer's status and headers (names in lower case). */
export async function curlTo(
  file: string,
  args: readonly string[],
): Promise<{ status: number; headers: Map<string, string> }> {
  const { stdout } = await runs('curl', ['-sS', '-D', '-', '-o', file, ...args]);
  return headersOf(stdout.toString());
}

/** The first bytes of a download in `file`; curl's connection breaks behind them, whatever the machine's speed. */
export async function cutAfter({ token }: Vault, bytes: number, url: string, file: string): Promise<void> {
  const env = { TOKEN: token, URL: url, FILE: file };
  const ask = 'curl -s -H "Authorization: Bearer $TOKEN" -H "Accept-Encoding: identity" "$URL"';
  await runs('bash', ['-c', `${ask} | head -c ${bytes} > "$FILE"`], { env });
}

export function headersOf(text: string): { status: number; headers: Map<string, string> } {
  const block = text.trim().split('\r\n\r\n').at(-1) ?? '';
  const [first = '', ...lines] = block.split('\r\n');
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { status: Number(first.split(' ')[1]), headers: new Map(headers) };
}

export function bearer(vault: Vault): string[] {
  return ['-H', `Authorization: Bearer ${vault.token}`];
}

export interface Receipt {
  readonly message: string;
  readonly backup_id: string;
  readonly job_id: string;
  readonly name: string;
  readonly filename: string;
  readonly file_size: number;
  readonly checksum: string;
  readonly stored_size: number;
  readonly compression:
    | { readonly codec: 'none' }
    | { readonly codec: 'zstd'; readonly frames: number; readonly engine: string };
  readonly encryption: { readonly format: 'age'; readonly by: string; readonly recipients: readonly string[] } | null;
  readonly download_url: string;
}

/** Uploads with curl, expects the receipt. `query` such as `?compression=none`. */
export async function put(vault: Vault, file: string, name: string, query = ''): Promise<Receipt> {
  const answer = await curl([
    ...bearer(vault),
    '-T',
    file,
    `${vault.url}/backup/upload/${encodeURIComponent(name)}${query}`,
  ]);
  return receiptIn(answer);
}

export function receiptIn(answer: Answer): Receipt {
  if (answer.code !== 0 || answer.status !== 201) {
    throw new Error(`no receipt: curl ${answer.code}, status ${answer.status}: ${answer.body} ${answer.stderr}`);
  }
  return JSON.parse(answer.body) as Receipt;
}

/** JSON over Node's own fetch. */
export async function api<T>(
  vault: Vault,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: T }> {
  const response = await fetch(`${vault.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${vault.token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: (text === '' ? null : JSON.parse(text)) as T };
}

export interface Job {
  readonly job_id: string;
  readonly phase: string;
  readonly current: number;
  readonly total: number;
  readonly percentage: number;
  readonly stored?: number;
  readonly backup_id?: string;
  readonly code?: string;
  readonly detail?: string;
}

export async function jobOf(vault: Vault, jobId: string): Promise<Job> {
  return (await api<Job>(vault, 'GET', `/jobs/${jobId}`)).body;
}

/** The names of all backups that list. */
export async function listed(vault: Vault): Promise<string[]> {
  const { body } = await api<{ backups: Receipt[] }>(vault, 'GET', '/backup?limit=1000');
  return body.backups.map((backup) => backup.filename);
}

/** Asks again until the answer is as wanted; then gives it. */
export async function eventually<T>(
  withinMs: number,
  ask: () => Promise<T>,
  wanted: (answer: T) => boolean,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  while (true) {
    const answer = await ask();
    if (wanted(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`still ${JSON.stringify(answer)} after ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

export interface Scratch {
  path(name: string): string;
  /** A file of `bytes`, half of it random, half text: what zstd makes about half of. */
  mixed(name: string, bytes: number): Promise<string>;
  /** A file of `bytes` that zstd makes no smaller. */
  random(name: string, bytes: number): Promise<string>;
  remove(): Promise<void>;
}

/** A directory of its own for one test file. */
export async function scratch(): Promise<Scratch> {
  const directory = await mkdtemp(join(tmpdir(), 'coldstream-e2e-'));
  const path = (name: string) => join(directory, name);
  return {
    path,
    mixed: (name, bytes) => fill(path(name), bytes, mixedBlock()),
    random: (name, bytes) => fill(path(name), bytes, randomBytes(8 * MIB + 13)),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** Longer than a frame of the stored form, so that no repetition of it is found by a codec. */
function mixedBlock(): Buffer {
  const lines = Buffer.from(
    '2026-11-23T07:30:00Z INFO backup of /srv/data: volume mounted, snapshot taken, nothing to do\n',
  );
  const text = Buffer.alloc(4 * MIB + 7, lines);
  return Buffer.concat([text, randomBytes(4 * MIB + 11)]);
}

async function fill(file: string, bytes: number, block: Buffer): Promise<string> {
  const handle = await open(file, 'w');
  try {
    for (let at = 0; at < bytes; at += block.length) await handle.write(block, 0, Math.min(block.length, bytes - at));
  } finally {
    await handle.close();
  }
  return file;
}

export async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

/** Whether two files hold the same bytes, in the judgement of cmp. */
export async function same(one: string, other: string): Promise<void> {
  await runs('cmp', [one, other]);
}

/** What the local bucket holds on the disk, finished objects and open parts alike. */
export async function bucketBytes(persistTo: string): Promise<number> {
  const names = await readdir(persistTo, { recursive: true });
  let bytes = 0;
  for (const name of names.filter((entry) => /(^|\/)r2\/.*\/blobs\/[^/]+$/.test(entry))) {
    bytes += await stat(join(persistTo, name)).then(
      ({ size }) => size,
      () => 0,
    );
  }
  return bytes;
}

export function fileSize(file: string): number {
  return statSync(file).size;
}
