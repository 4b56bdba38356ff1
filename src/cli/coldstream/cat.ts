import { printable } from './amounts.ts';
import { findBackup } from './backup-name.ts';
import { CommandFailed, UsageError } from './failures.ts';
import { print } from './output.ts';
import { readOptions } from './pull.ts';
import { type Representation, readRepresentation, representationAt } from './representation.ts';
import type { Session } from './session.ts';
import { NotAVault, type Receipt, type VaultClient, VaultRefused } from './vault-client.ts';

export interface CatOptions {
  /** Seconds. */
  readonly retryFor: number;
}

/** Members that have bytes of their own, or of the file that they link to. */
const FILES = new Set(['file', 'hardlink', 'sparse']);

/** Writes one file of an archive to standard output. */
export async function cat(session: Session, wanted: string, path: string, { retryFor }: CatOptions): Promise<void> {
  if (withoutEndSlashes(path) === '')
    throw new UsageError('Which file of the archive? "coldstream files ID" lists them.');
  const receipt = await findBackup(session.client, wanted);
  const member = await memberAt(session.client, receipt, path);
  for await (const chunk of readRepresentation(member, 0, memberOptions(session, receipt, retryFor)))
    await print(chunk);
}

/** Within a member the frame of a byte is unknown here. */
export function memberOptions(session: Session, receipt: Receipt, retryFor: number) {
  const options = readOptions(session, receipt, retryFor);
  return { ...options, backup: { ...options.backup, frameOf: () => null } };
}

/**
 * The bytes of one member. They have no checksum of their own, so the answer must at least be the vault's own for this
 * content: its ETag begins with the receipt's SHA-256. Throws CommandFailed for a member without bytes.
 */
export async function memberAt(client: VaultClient, receipt: Receipt, path: string): Promise<Representation> {
  const member = await asNamed(withoutEndSlashes(path), (name) =>
    representationAt(client, `/backup/${receipt.backup_id}/files/${encodeMemberPath(name)}`),
  );
  const type = member.headers.get('coldstream-member-type');
  if (type === null) throw new NotAVault(client.origin, 'something that is no file of this archive');
  if (!FILES.has(type)) throw new CommandFailed(`${printable(path)} is a ${type}, which has no bytes of its own.`);
  if (!member.hasRanges) {
    throw new CommandFailed(`${printable(path)} is a link to a file that is not in the archive, so it has no bytes.`);
  }
  if (!member.etag?.includes(receipt.checksum)) {
    throw new CommandFailed(
      'The answer does not belong to the content of the receipt. Something between has changed it.',
    );
  }
  return member;
}

/**
 * Asks for a path as it is, and where there is none for what tar stores of it: `/etc/x` as `etc/x`. An archive may have
 * both, so the path itself goes first.
 */
export async function asNamed<Result>(path: string, ask: (name: string) => Promise<Result>): Promise<Result> {
  const relative = path.replace(/^(\.?\/+)+/, '');
  try {
    return await ask(path);
  } catch (error) {
    if (relative === path || relative === '' || !isMissing(error)) throw error;
    return ask(relative);
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof VaultRefused && error.status === 404;
}

export function withoutEndSlashes(path: string): string {
  return path.replace(/(?<!\/)\/+$/, '');
}

/** Segments that an address loses or merges on its way (the URL standard); then its slashes are encoded too. */
const UNSAFE_PATH = /(^|\/)\.{0,2}(\/|$)/;

/** A member's path in an address: it means nothing but itself, `..` included. */
export function encodeMemberPath(path: string): string {
  const encoded = encodeURIComponent(path);
  if (path === '.' || path === '..') return `${encoded}%2F`;
  return UNSAFE_PATH.test(path) ? encoded : encoded.replaceAll('%2F', '/');
}
