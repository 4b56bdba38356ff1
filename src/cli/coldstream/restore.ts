import { basename } from 'node:path';
import { printable } from './amounts.ts';
import { findBackup } from './backup-name.ts';
import { asNamed, encodeMemberPath, isMissing, memberAt, memberOptions, withoutEndSlashes } from './cat.ts';
import { type ExtractOptions, extractTree, type FileFacts, TreeWriter } from './extract-tree.ts';
import { IncompleteInput, PartialFailure, UsageError } from './failures.ts';
import { type Member, pagesOf } from './listing.ts';
import { print, printJson } from './output.ts';
import { type Representation, readRepresentation, representationAt } from './representation.ts';
import type { Session } from './session.ts';
import type { Receipt } from './vault-client.ts';

export interface RestoreOptions {
  /** Directory that the files go below. */
  readonly to?: string;
  /** Of a file or a directory in the archive, instead of `NAME:PATH`. */
  readonly path?: string;
  readonly force?: boolean;
  readonly database?: string;
  readonly table?: string;
  readonly mode?: string;
  readonly dryRun?: boolean;
  /** Seconds. */
  readonly retryFor: number;
}

/** Restores files of an archive into a directory, or the rows of a document into a table. */
export async function restore(session: Session, wanted: string, options: RestoreOptions): Promise<void> {
  const { to, database, table } = options;
  if (database !== undefined || table !== undefined) {
    if (to !== undefined || options.path !== undefined) throw new UsageError('--to is for files, --database for rows.');
    if (database === undefined || table === undefined) throw new UsageError('Rows need both --database and --table.');
    return restoreRows(session, wanted, { ...options, database, table });
  }
  if (to === undefined) throw new UsageError('Where to? --to DIR for files, --database and --table for rows.');
  const { name, path } = splitPath(wanted, options.path);
  const receipt = await findBackup(session.client, name);
  const directory = await directoryAt(session, receipt, path);
  const problems: string[] = [];
  const onProblem = (entry: string, why: string) => problems.push(`${printable(entry)}: ${why}`);
  const settings = { force: options.force ?? false, onProblem };
  const count = directory
    ? await extractTree(progressing(session, receipt, directory, options.retryFor), to, settings)
    : await restoreFile(session, receipt, path, to, settings, options.retryFor);
  session.view.close();
  await report(session, receipt, { to, count, problems });
}

/** `NAME:PATH`; with --path the name is taken as it is, colons included. */
function splitPath(wanted: string, path: string | undefined): { readonly name: string; readonly path: string } {
  const colon = wanted.indexOf(':');
  if (path !== undefined || colon < 0) return { name: wanted, path: withoutEndSlashes(path ?? '') };
  return { name: wanted.slice(0, colon), path: withoutEndSlashes(wanted.slice(colon + 1)) };
}

/** The tar of everything below `path`; null where it is no directory. */
async function directoryAt({ client }: Session, receipt: Receipt, path: string): Promise<Representation | null> {
  const files = `/backup/${receipt.backup_id}/files/`;
  if (path === '') return representationAt(client, `${files}?format=tar`);
  try {
    return await asNamed(path, (name) => representationAt(client, `${files}${encodeMemberPath(name)}/?format=tar`));
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

async function* progressing(
  session: Session,
  receipt: Receipt,
  representation: Representation,
  retryFor: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const transfer = session.view.begin(representation.filename, representation.length);
  transfer.phase('restoring', representation.length);
  let at = 0;
  for await (const chunk of readRepresentation(representation, 0, memberOptions(session, receipt, retryFor))) {
    at += chunk.length;
    transfer.at(at);
    yield chunk;
  }
  transfer.end();
}

/** One file goes right below `to`, under its own name. */
async function restoreFile(
  session: Session,
  receipt: Receipt,
  path: string,
  to: string,
  settings: ExtractOptions,
  retryFor: number,
): Promise<number> {
  const member = await memberAt(session.client, receipt, path);
  const facts = await factsOf(session, receipt, path);
  const tree = await TreeWriter.at(to, settings);
  await tree.file({ ...facts, path: basename(path) }, progressing(session, receipt, member, retryFor));
  return 1;
}

async function factsOf(session: Session, { backup_id }: Receipt, path: string): Promise<Omit<FileFacts, 'path'>> {
  const plain = path.replace(/^(\.?\/)+/, '');
  for await (const { files } of pagesOf<{ files: readonly Member[]; cursor: null }>(
    session,
    `/backup/${backup_id}/files`,
    { prefix: plain },
    1,
  )) {
    const [found] = files;
    if (!found || found.path.replace(/^(\.?\/)+/, '') !== plain) break;
    return { mode: Number.parseInt(found.mode, 8), mtime: Date.parse(found.mtime) / 1000, owner: null };
  }
  return { mode: 0o644, mtime: Date.now() / 1000, owner: null };
}

interface Restored {
  readonly to: string;
  readonly count: number;
  readonly problems: readonly string[];
}

async function report(
  session: Session,
  { backup_id, archive }: Receipt,
  { to, count, problems }: Restored,
): Promise<void> {
  if (session.json) await printJson({ backup_id, to, restored: count, left_out: problems });
  else if (!session.quiet) await print(`${count} ${count === 1 ? 'entry' : 'entries'} restored to ${printable(to)}\n`);
  if (problems.length > 0) throw new PartialFailure(`${problems.join('\n')}\n${problems.length} left out.`);
  if (archive?.stopped) {
    throw new IncompleteInput(
      `The archive breaks off at byte ${archive.stopped.offset}; what comes later cannot be restored.`,
    );
  }
}

interface RestoredRows {
  readonly read: number;
  readonly written: number;
  readonly refused: readonly { readonly index: number; readonly reason: string }[];
}

async function restoreRows(
  session: Session,
  wanted: string,
  { database, table, mode, dryRun }: RestoreOptions & { readonly database: string; readonly table: string },
): Promise<void> {
  const { backup_id } = await findBackup(session.client, wanted);
  const query = new URLSearchParams({ database, table, ...(mode && { mode }), ...(dryRun && { dry_run: 'true' }) });
  const address = `/backup/${backup_id}/restore?${query}`;
  const { read, written, refused, ...rest } = await session.client.json<RestoredRows>(address, {
    method: 'POST',
    isLong: true,
  });
  const would = dryRun ? ' would be' : '';
  if (session.json) await printJson({ read, written, refused, ...rest });
  else if (!session.quiet) await print(`${written} of ${read} rows${would} written to ${printable(table)}\n`);
  if (refused.length === 0) return;
  const lines = refused.map(({ index, reason }) => `row ${index}: ${printable(reason)}`);
  throw new PartialFailure(`${lines.join('\n')}\n${refused.length} rows${would} rejected.`);
}
