import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bearer, curl, type Receipt, runs, type Vault } from './clients.ts';

/** What others say of archives and trees, and what the vault says of the same archives. */

/** A member as Python's tarfile reads it. */
export interface TarMember {
  readonly path: Buffer;
  readonly type: string;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime_ms: number;
  readonly target: Buffer | null;
  readonly device: readonly [number, number] | null;
  /** Where its first header begins, in the archive. */
  readonly header: number;
  /** Where its data begin. */
  readonly data: number;
}

/** A member as the vault lists it. */
export interface ListedFile {
  readonly path: string;
  readonly type: string;
  readonly size: number;
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: string;
  readonly link_target: string | null;
  readonly device?: { readonly major: number; readonly minor: number };
  readonly offset: number;
  readonly url: string;
}

export interface Listing {
  readonly files: ListedFile[];
  readonly stopped: { readonly offset: number; readonly reason: string } | null;
  readonly pages: number;
}

/** Runs one of the Python programs beside this file; gives the lines that it prints. */
export async function python(program: string, ...args: readonly string[]): Promise<string[]> {
  const file = fileURLToPath(new URL(program, import.meta.url));
  const { stdout } = await runs('python3', [file, ...args]);
  return stdout.toString().split('\n').slice(0, -1);
}

/** The members of an archive in the order of the listing: by the bytes of their paths, then as the archive has them. */
export async function membersOf(archive: string): Promise<TarMember[]> {
  const members = (await python('tell_members.py', archive)).map((line): TarMember => {
    const told = JSON.parse(line) as Omit<TarMember, 'path' | 'target'> & { path: string; target: string | null };
    const target = told.target === null ? null : Buffer.from(told.target, 'base64');
    return { ...told, path: Buffer.from(told.path, 'base64'), target };
  });
  return members.sort((a, b) => Buffer.compare(a.path, b.path) || a.header - b.header);
}

/** What is in a directory: names, kinds, modes, owners, times, targets, which names are one file, contents. */
export async function treeAt(directory: string): Promise<string[]> {
  return python('tell_tree.py', directory);
}

/** All pages of a listing. `query` such as `prefix=x&`. */
export async function listing(vault: Vault, receipt: Receipt, limit: number, query = ''): Promise<Listing> {
  const files: ListedFile[] = [];
  let cursor: string | null = null;
  for (let pages = 1; ; pages++) {
    const after: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const url = `${vault.url}/backup/${receipt.backup_id}/files?${query}limit=${limit}${after}`;
    const { status, body } = await curl([...bearer(vault), url]);
    if (status !== 200) throw new Error(`${status} for ${url}: ${body}`);
    const page = JSON.parse(body) as Omit<Listing, 'pages'> & { cursor: string | null };
    if (page.files.length > limit) throw new Error(`a page of ${page.files.length} files, at most ${limit} were asked`);
    files.push(...page.files);
    cursor = page.cursor;
    if (cursor === null) return { files, stopped: page.stopped, pages };
  }
}

/** How the vault must list a member. Paths that are no text show as such; `url` stands for their bytes. */
export function asListed(member: TarMember): Omit<ListedFile, 'url'> {
  const { type, size, uid, gid, device } = member;
  return {
    path: text(member.path),
    type,
    size,
    mode: member.mode.toString(8).padStart(4, '0'),
    uid,
    gid,
    mtime: new Date(member.mtime_ms).toISOString(),
    link_target: member.target && text(member.target),
    ...(device && { device: { major: device[0], minor: device[1] } }),
    offset: member.data,
  };
}

/** The bytes that a member's `url` stands for: percent-decoded once, slashes at the end are none of them. */
export function pathIn(url: string): Buffer {
  const encoded = url.split('/files/').slice(1).join('/files/');
  const binary = encoded.replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(binary, 'latin1');
}

export function text(bytes: Buffer): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
}

export async function fetchFile(
  vault: Vault,
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; headers: Headers; bytes: Buffer }> {
  const response = await fetch(`${vault.url}${url}`, {
    headers: { authorization: `Bearer ${vault.token}`, 'accept-encoding': 'identity', ...headers },
  });
  return { status: response.status, headers: response.headers, bytes: Buffer.from(await response.arrayBuffer()) };
}

/** Calls `work` for each item, at most `atOnce` at a time. */
export async function forEach<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  const worker = async () => {
    for (const item of left) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** The file at a path of any bytes. */
export function readAt(directory: string, path: Buffer): Promise<Buffer> {
  return readFile(Buffer.concat([Buffer.from(`${directory}/`), path]));
}
