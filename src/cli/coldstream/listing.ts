/** Backups of the vault, and the files of one of them. */
import { printable, showBytes } from './amounts.ts';
import { findBackup } from './backup-name.ts';
import { print, printJson } from './output.ts';
import type { Session } from './session.ts';
import { nameOf, type Receipt } from './vault-client.ts';

export interface ListOptions {
  /** At most so many. */
  readonly limit?: number;
}

export interface BackupListOptions extends ListOptions {
  /** All versions of exactly this name, instead of a prefix. */
  readonly name?: string;
  readonly damaged?: boolean;
}

interface Page {
  readonly cursor: string | null;
}

interface BackupPage extends Page {
  readonly backups: readonly Receipt[];
}

/** A member of an archive (docs: File). */
export interface Member {
  readonly path: string;
  readonly type: string;
  readonly size: number;
  readonly mode: string;
  readonly mtime: string;
  readonly link_target: string | null;
}

interface FilePage extends Page {
  readonly files: readonly Member[];
  readonly stopped: { readonly offset: number; readonly reason: string } | null;
}

/** Backups whose names begin with `prefix`, newest first. */
export async function listBackups(session: Session, prefix: string, options: BackupListOptions): Promise<void> {
  const { limit, name, damaged } = options;
  const query = { ...(name === undefined ? { prefix } : { name }), ...(damaged && { damaged: 'true' }) };
  const pages = pagesOf<BackupPage>(session, '/backup', query, limit);
  await listed(session, pages, ({ backups }) => backups, limit, backupLine);
}

/** The files of an archive whose paths begin with `prefix`, by path. */
export async function listFiles(
  session: Session,
  wanted: string,
  prefix: string,
  { limit }: ListOptions,
): Promise<void> {
  const { backup_id } = await findBackup(session.client, wanted);
  let stopped: FilePage['stopped'] = null;
  const pages = pagesOf<FilePage>(session, `/backup/${backup_id}/files`, { prefix }, limit);
  const files = (page: FilePage) => {
    stopped = page.stopped;
    return page.files;
  };
  await listed(session, pages, files, limit, fileLine);
  noteStopped(session, stopped);
}

function noteStopped({ view }: Session, stopped: FilePage['stopped']): void {
  if (!stopped) return;
  view.note(
    `The archive breaks off at byte ${stopped.offset}; later files are not listed: ${printable(stopped.reason)}.`,
  );
}

/** The most rows that the vault puts into one page. */
const PAGE_ROWS = 1000;

/** Page by page; `path` takes `cursor` and `limit` like every list of the vault. */
export async function* pagesOf<P extends Page>(
  { client }: Session,
  path: string,
  query: Readonly<Record<string, string>>,
  limit = PAGE_ROWS,
): AsyncGenerator<P, void, undefined> {
  let cursor: string | null = null;
  do {
    const params = new URLSearchParams({ ...query, limit: String(Math.min(limit, PAGE_ROWS)) });
    if (cursor) params.set('cursor', cursor);
    const page: P = await client.json<P>(`${path}?${params}`);
    yield page;
    cursor = page.cursor;
  } while (cursor);
}

/** Prints rows as lines, or as JSON. */
export async function listed<P, Row>(
  session: Session,
  pages: AsyncIterable<P>,
  rowsOf: (page: P) => readonly Row[],
  limit = Number.POSITIVE_INFINITY,
  line: (row: Row) => string,
): Promise<void> {
  let left = limit;
  for await (const page of pages) {
    const rows = rowsOf(page).slice(0, left);
    left -= rows.length;
    for (const row of rows) await (session.json ? printJson(row) : print(`${line(row)}\n`));
    if (left <= 0) return;
  }
}

function backupLine(receipt: Receipt): string {
  const { backup_id, created_at, file_size, stored_size } = receipt;
  const sizes = `${showBytes(file_size).padStart(9)}  ${showBytes(stored_size).padStart(9)}`;
  return `${backup_id}  ${minute(created_at)}  ${sizes}  ${conditionOf(receipt).padEnd(10)}  ${printable(nameOf(receipt))}`;
}

/** In a word: `damaged`, the day of the last verification, or `-` where there was none. */
function conditionOf({ damage, verified_at }: Receipt): string {
  if (damage) return 'damaged';
  return verified_at ? printable(verified_at).slice(0, 10) : '-';
}

const TYPES: Readonly<Record<string, string>> = {
  directory: 'd',
  symlink: 'l',
  hardlink: 'h',
  character: 'c',
  block: 'b',
  fifo: 'p',
};

function fileLine({ type, mode, size, mtime, path, link_target }: Member): string {
  const target = link_target === null ? '' : ` -> ${printable(link_target)}`;
  return `${TYPES[type] ?? '-'}${mode}  ${String(size).padStart(12)}  ${minute(mtime)}  ${printable(path)}${target}`;
}

/** `2026-11-23 07:30`, in UTC. */
export function minute(time: string): string {
  return printable(time).slice(0, 16).replace('T', ' ');
}
