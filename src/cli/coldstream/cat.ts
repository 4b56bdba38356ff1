import { printable } from './amounts.ts';
import { CommandFailed, UsageError } from './failures.ts';
import { print } from './output.ts';
import { Patience } from './patience.ts';
import { readRepresentation, representationAt } from './representation.ts';
import type { Session } from './session.ts';

export interface CatOptions {
  /** Seconds. */
  readonly retryFor: number;
}

/** What has bytes, by the words of the vault. */
const FILES = new Set(['file', 'hardlink', 'sparse']);

/** Writes one file out of an archive to standard output. */
export async function cat(session: Session, id: string, path: string, { retryFor }: CatOptions): Promise<void> {
  const wanted = path.replace(/(?<!\/)\/+$/, '');
  if (wanted === '') throw new UsageError('Which file of the archive? "coldstream files ID" lists them.');
  const { client, signal, view } = session;
  const member = await representationAt(client, `/backup/${encodeURIComponent(id)}/files/${encodeMemberPath(wanted)}`);
  const type = member.headers.get('coldstream-member-type') ?? 'file';
  if (!FILES.has(type)) throw new CommandFailed(`${printable(path)} is a ${type}, which has no bytes of its own.`);
  const options = { client, signal, patience: new Patience(retryFor), note: (text: string) => view.note(text) };
  for await (const chunk of readRepresentation(member, 0, options)) await print(chunk);
}

/** Segments that an address loses or merges on its way (the URL standard); then its slashes are encoded too. */
const UNSAFE_PATH = /(^|\/)\.{0,2}(\/|$)/;

/** A member's path as it stands in an address: it means nothing but itself, `..` included. */
export function encodeMemberPath(path: string): string {
  const encoded = encodeURIComponent(path);
  if (path === '.' || path === '..') return `${encoded}%2F`;
  return UNSAFE_PATH.test(path) ? encoded : encoded.replaceAll('%2F', '/');
}
