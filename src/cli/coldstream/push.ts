import { readFile, stat } from 'node:fs/promises';
import { text as textOf } from 'node:stream/consumers';
import { showBytes } from './amounts.ts';
import { CommandFailed, failureText, Interrupted, PartialFailure, UsageError } from './failures.ts';
import { Patience } from './patience.ts';
import { PieceSize } from './piece-size.ts';
import { commandItem, type ItemOptions, type PushItem, pushItem, treeItem } from './push-item.ts';
import { type Pushed, pushUpload } from './push-upload.ts';
import { ResumeStore } from './resume-store.ts';
import type { Session } from './session.ts';
import { nameOf, persist, type Receipt } from './vault-client.ts';
import { hasZstd } from './zstd-frames.ts';

export interface PushOptions {
  readonly name?: string;
  readonly job?: string;
  readonly level?: number;
  readonly compression?: string;
  readonly compress?: boolean;
  readonly recipient?: readonly string[];
  readonly sha256?: string;
  readonly wholeArchive?: boolean;
  readonly allowEmpty?: boolean;
  readonly expires?: string;
  readonly exclude?: readonly string[];
  readonly excludeFrom?: string;
  readonly filesFrom?: string;
  readonly oneFileSystem?: boolean;
  readonly fresh?: boolean;
  /** Bytes. */
  readonly chunk?: number;
  readonly parallel: number;
  /** Seconds. */
  readonly retryFor?: number;
}

/** What is on the line besides the options. */
export interface PushOperands {
  readonly paths: readonly string[];
  /** After `--`: a program and its arguments; empty: none. */
  readonly command: readonly string[];
}

const RETRY_FOR_SECONDS = 3600;
/** Unless --retry-for says otherwise, a mistyped address fails soon. */
const FIRST_CONTACT_SECONDS = 5;
const DEFAULT_LEVEL = 3;

/** What of `GET /capabilities` decides how is sent. */
interface Capabilities {
  readonly max_request_bytes: number | null;
  readonly chunk_sizes: { readonly part_bytes: number };
}

/** One thing to push, before anything of it was looked at. */
interface Source {
  readonly label: string;
  item(): Promise<PushItem>;
}

/**
 * Pushes each source by itself, some at once. Results are printed as they happen. Throws the failure of a single source;
 * of several it throws one that lists them, as PartialFailure where others are stored.
 */
export async function push(session: Session, operands: PushOperands, options: PushOptions): Promise<void> {
  checkOptions(operands, options);
  const sources = await sourcesOf(session, operands, options);
  const items = await Promise.all(sources.map((source) => settled(() => source.item())));
  const wrongCall = items.find((item) => !item.ok && item.error instanceof UsageError);
  if (wrongCall && !wrongCall.ok) throw wrongCall.error;
  const upload = items.some(({ ok }) => ok) ? await uploader(session, options, sources.length) : null;
  const failures: Failure[] = [];
  await sideBySide([...items.entries()], Math.min(options.parallel, items.length), async ([index, item]) => {
    const label = sources[index]?.label ?? '';
    const fail = (error: unknown, isStored: boolean) => failures.push({ label, error, isStored });
    if (!item.ok) return fail(item.error, false);
    const pushed = await settled(() => upload?.(item.value) ?? Promise.reject(new Error('no uploader')));
    if (!pushed.ok) return fail(pushed.error, false);
    await show(session, pushed.value.receipt);
    if (pushed.value.flaw) fail(pushed.value.flaw, true);
    return undefined;
  });
  session.view.close();
  throwFailures(failures, items.length);
}

interface Failure {
  readonly label: string;
  readonly error: unknown;
  /** Whether there is a backup all the same. */
  readonly isStored: boolean;
}

function throwFailures(failures: readonly Failure[], count: number): void {
  const [first] = failures;
  if (!first) return;
  if (count === 1) throw first.error;
  const lines = failures.map(({ label, error }) => `${label}: ${failureText(error)}`);
  const missing = failures.filter(({ isStored }) => !isStored).length;
  if (missing > 0) lines.push(`${missing} of ${count} are not in the vault.`);
  const text = lines.join('\n');
  const interrupted = failures.map(({ error }) => error).find((error) => error instanceof Interrupted);
  if (interrupted) throw interrupted.because(text);
  throw missing < count ? new PartialFailure(text) : new CommandFailed(text);
}

function checkOptions({ paths, command }: PushOperands, options: PushOptions): void {
  const sources = paths.length + (command.length > 0 ? 1 : 0) + (options.filesFrom === undefined ? 0 : 1);
  if (sources === 0)
    throw new UsageError('What shall be pushed? Name a file, a directory, - for a pipe, or -- COMMAND.');
  if (command.length > 0 && sources > 1) throw new UsageError('The output of a command is pushed alone.');
  if (options.filesFrom !== undefined && sources > 1) throw new UsageError('--files-from lists all that is pushed.');
  if (paths.length > 1) {
    if (paths.includes('-')) throw new UsageError('A pipe (-) is pushed alone.');
    const single = (['job', 'sha256'] as const).find((option) => options[option] !== undefined);
    if (single) throw new UsageError(`--${single} is for one file; here are ${paths.length}.`);
  }
  if (paths.includes('-') && process.stdin.isTTY) {
    throw new UsageError(
      'Standard input is a terminal. Pipe something in, or let coldstream run it: push --name shop.sql -- pg_dump shop',
    );
  }
  if (!options.compress) return;
  if (options.compression !== undefined) {
    throw new UsageError('--compress compresses here, --compression at the vault: use one of them.');
  }
  if (!hasZstd()) {
    throw new UsageError(
      `--compress needs Node 22.15 or newer; this is ${process.versions.node}. Without it the vault compresses.`,
    );
  }
}

async function sourcesOf(session: Session, { paths, command }: PushOperands, options: PushOptions): Promise<Source[]> {
  const { name } = options;
  const compressLevel = options.compress ? (options.level ?? DEFAULT_LEVEL) : null;
  const itemOptions: ItemOptions = { name, compressLevel, tree: await treeOptions(session, options) };
  const one = (item: () => PushItem): Source[] => [{ label: name ?? '', item: async () => item() }];
  if (command.length > 0) return one(() => commandItem(command, itemOptions));
  if (options.filesFrom !== undefined) {
    const listed = await linesOf(options.filesFrom);
    return one(() => treeItem(listed, itemOptions));
  }
  if (paths.length > 1 && name !== undefined) {
    if (!(await hasDirectory(paths))) {
      throw new UsageError(`--name is for one file or one tar of directories; here are ${paths.length} files.`);
    }
    return one(() => treeItem(paths, itemOptions));
  }
  return paths.map((path) => ({ label: path, item: () => pushItem(path, itemOptions) }));
}

async function treeOptions(session: Session, options: PushOptions): Promise<ItemOptions['tree']> {
  const { exclude = [], excludeFrom, oneFileSystem = false } = options;
  const listed = excludeFrom === undefined ? [] : await linesOf(excludeFrom);
  return {
    excludes: [...exclude, ...listed],
    oneFileSystem,
    onSkipped: (path, why) => session.view.note(`${path}: ${why}; skipped.`),
  };
}

/** A list in a file, or from standard input: a line each, or between NULs as `find -print0` writes them. */
async function linesOf(path: string): Promise<string[]> {
  const text = path === '-' ? await textOf(process.stdin) : await readFile(path, 'utf8');
  return text.split(text.includes('\0') ? '\0' : /\r?\n/).filter((line) => line !== '');
}

async function hasDirectory(paths: readonly string[]): Promise<boolean> {
  const found = await Promise.all(paths.map((path) => stat(path).catch(() => null)));
  return found.some((stats) => stats?.isDirectory());
}

async function uploader(
  session: Session,
  options: PushOptions,
  count: number,
): Promise<(item: PushItem) => Promise<Pushed>> {
  const contact = new Patience(options.retryFor ?? FIRST_CONTACT_SECONDS);
  const { max_request_bytes, chunk_sizes } = await persist(session.signal, contact, () =>
    session.client.json<Capabilities>('/capabilities'),
  );
  const store = new ResumeStore();
  await store.purge();
  const uploads = Math.min(options.parallel, count);
  return (item) =>
    pushUpload({
      session,
      item,
      store,
      metadata: metadataOf(options),
      retryForSeconds: options.retryFor ?? RETRY_FOR_SECONDS,
      fresh: options.fresh ?? false,
      allowEmpty: options.allowEmpty ?? false,
      pieces: () =>
        new PieceSize({
          fixedBytes: options.chunk,
          requestBytes: max_request_bytes,
          partBytes: chunk_sizes.part_bytes,
          uploads,
        }),
    });
}

/** Upload-Metadata beside the name. */
function metadataOf(options: PushOptions): Record<string, string> {
  const { job, level, compression, compress, recipient, sha256, wholeArchive, expires } = options;
  // Frames as the vault has them, which it stores as they come; a level or a compression would make it encode anew.
  const forVault = compress ? { content_encoding: 'zstd' } : { level, compression };
  const given = Object.entries({
    job_id: job,
    recipient: recipient?.join(','),
    sha256,
    require: wholeArchive ? 'whole-archive' : undefined,
    expires_in: expires,
    ...forVault,
  });
  return Object.fromEntries(given.flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)]])));
}

type Settled<Result> = { readonly ok: true; readonly value: Result } | { readonly ok: false; readonly error: unknown };

async function settled<Result>(work: () => Promise<Result>): Promise<Settled<Result>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    return { ok: false, error };
  }
}

/** `work` on all of `items`, `atOnce` at a time. It must not throw. */
async function sideBySide<Item>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<unknown>,
): Promise<void> {
  const waiting = items.values();
  const worker = async () => {
    for (const item of waiting) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

async function show(session: Session, receipt: Receipt): Promise<void> {
  if (session.json) return session.view.result(`${JSON.stringify(receipt)}\n`);
  if (session.quiet) return;
  const name = nameOf(receipt);
  const { backup_id, file_size, stored_size, checksum } = receipt;
  if (!process.stdout.isTTY) {
    return session.view.result(`${backup_id}  ${showBytes(file_size)}, ${showBytes(stored_size)} stored  ${name}\n`);
  }
  await session.view.result(
    [
      name,
      `  id        ${backup_id}`,
      `  size      ${file_size} bytes (${showBytes(file_size)})`,
      `  stored    ${showBytes(stored_size)}, ${storedAs(receipt)}`,
      `  sha256    ${checksum}, the same here and in the vault`,
      '',
    ].join('\n'),
  );
}

/** `zstd 3, encrypted` */
export function storedAs({ compression: { codec, level }, encryption }: Receipt): string {
  const how = codec === 'none' ? 'not compressed' : level === null || level === undefined ? codec : `${codec} ${level}`;
  return `${how}${encryption ? ', encrypted' : ''}`;
}
