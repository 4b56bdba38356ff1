/** What the vault has: its backups, and the files within one of them. */
import { printable, showBytes } from './amounts.ts';
import { print, printJson } from './output.ts';
import type { Session } from './session.ts';
import type { Receipt } from './vault-client.ts';

export interface ListOptions {
  /** At most so many. */
  readonly limit?: number;
}

interface Page {
  readonly cursor: string | null;
}

interface BackupPage extends Page {
  readonly backups: readonly Receipt[];
}

/** A member of an archive (docs: File). */
interface Member {
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
export async function listBackups(session: Session, prefix: string, { limit }: ListOptions): Promise<void> {
  const pages = pagesOf<BackupPage>(session, '/backup', prefix, limit);
  await listed(session, pages, ({ backups }) => backups, limit, backupLine);
}

/** The files of an archive whose paths begin with `prefix`, by path. */
export async function listFiles(session: Session, id: string, prefix: string, { limit }: ListOptions): Promise<void> {
  let stopped: FilePage['stopped'] = null;
  const pages = pagesOf<FilePage>(session, `/backup/${encodeURIComponent(id)}/files`, prefix, limit);
  const files = (page: FilePage) => {
    stopped = page.stopped;
    return page.files;
  };
  await listed(session, pages, files, limit, fileLine);
  tellStopped(session, stopped);
}

function tellStopped({ view }: Session, stopped: FilePage['stopped']): void {
  if (!stopped) return;
  view.note(
    `The archive is broken at byte ${stopped.offset}, and what comes after is not listed: ${printable(stopped.reason)}.`,
  );
}

/** The most that the vault gives in one page. */
const PAGE_ROWS = 1000;

async function* pagesOf<P extends Page>(
  { client }: Session,
  path: string,
  prefix: string,
  limit = PAGE_ROWS,
): AsyncGenerator<P, void, undefined> {
  let cursor: string | null = null;
  do {
    const query = new URLSearchParams({ prefix, limit: String(Math.min(limit, PAGE_ROWS)) });
    if (cursor) query.set('cursor', cursor);
    const page: P = await client.json<P>(`${path}?${query}`);
    yield page;
    cursor = page.cursor;
  } while (cursor);
}

async function listed<P, Row>(
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

function backupLine({ backup_id, created_at, file_size, stored_size, filename }: Receipt): string {
  const sizes = `${showBytes(file_size).padStart(9)}  ${showBytes(stored_size).padStart(9)}`;
  return `${backup_id}  ${minute(created_at)}  ${sizes}  ${printable(filename)}`;
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

/** `2026-11-23 07:30`, of UTC. */
function minute(time: string): string {
  return printable(time).slice(0, 16).replace('T', ' ');
}
