/**
 * Unpacks a tar below one directory, whatever the tar says: a path never leads out of it, and no symbolic link is
 * followed, neither one that was there nor one out of the tar. What a person has there is kept unless `force` says
 * otherwise, and then only regular files and links are replaced.
 */
import {
  chmod,
  chown,
  constants,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  open,
  realpath,
  rm,
  symlink,
  utimes,
} from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { extract, type Header } from 'tar-stream';
import { printable } from './amounts.ts';
import { CommandFailed } from './failures.ts';
import { makeDirectories } from './make-directories.ts';
import { causeOf } from './vault-client.ts';
import { writeAll } from './write-all.ts';

export interface ExtractOptions {
  /** Replaces files that are there. */
  readonly force: boolean;
  /** An entry that was left out, and why; the others are unpacked. */
  onProblem(path: string, why: string): void;
}

/** A member as tar-stream reads it. */
interface Entry extends AsyncIterable<Uint8Array> {
  readonly header: Header;
}

/** Name, mode and time of what is unpacked. */
export interface FileFacts {
  readonly path: string;
  readonly mode: number;
  /** Seconds since 1970, perhaps with a fraction. */
  readonly mtime: number;
  /** For root, which restores owners as tar does; null: unknown. */
  readonly owner: { readonly uid: number; readonly gid: number } | null;
}

/** Unpacks the tar that `bytes` are into the directory `to`, which is made if it is not there; returns how many entries. */
export async function extractTree(
  bytes: AsyncIterable<Uint8Array>,
  to: string,
  options: ExtractOptions,
): Promise<number> {
  const tree = await TreeWriter.at(to, options);
  const tar = extract();
  const source = Readable.from(bytes, { objectMode: false });
  source.on('error', (error) => tar.destroy(error));
  source.pipe(tar);
  let entries = 0;
  for await (const entry of tar) {
    // Its types leave open what it reads; they are bytes.
    if (await tree.unpack(entry as Entry & typeof entry)) entries += 1;
    entry.resume();
  }
  await tree.finish();
  return entries;
}

/** What is in the way, or must not be followed. Only this entry is left out. */
class EntryRefused extends CommandFailed {}

interface LateDirectory {
  readonly path: string;
  readonly facts: FileFacts;
}

const isRoot = process.getuid?.() === 0;
/** Without root the set-id bits would be of another owner's file. */
const MODE_BITS = isRoot ? 0o7777 : 0o1777;

export class TreeWriter {
  readonly #root: string;
  readonly #options: ExtractOptions;
  /** Directories below the root that were seen to be directories, or made: nothing here replaces one. */
  readonly #directories = new Set<string>();
  /** Their modes and times come last: a read-only one must take its files first, and each file changes its time. */
  readonly #late: LateDirectory[] = [];

  private constructor(root: string, options: ExtractOptions) {
    this.#root = root;
    this.#options = options;
  }

  static async at(to: string, options: ExtractOptions): Promise<TreeWriter> {
    await makeDirectories(resolve(to));
    return new TreeWriter(await realpath(to), options);
  }

  /** Whether it was unpacked; what was not is reported. */
  async unpack(entry: Entry): Promise<boolean> {
    const facts = factsOf(entry.header);
    return this.#tried(facts.path, () => this.#entry(entry, facts));
  }

  async #entry(entry: Entry, facts: FileFacts): Promise<void> {
    const { type, linkname } = entry.header;
    if (type === 'directory') return this.#directory(facts);
    if (type === 'file' || type === 'contiguous-file') return this.#file(facts, entry);
    if (type === 'symlink') return this.#symlink(facts, linkname);
    if (type === 'link') return this.#link(facts, linkname);
    throw new EntryRefused(`a ${type} cannot be created by this command`);
  }

  /** One file that is no member of a tar here. */
  async file(facts: FileFacts, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#file(facts, bytes);
  }

  async finish(): Promise<void> {
    for (const { path, facts } of this.#late.reverse()) {
      await this.#tried(facts.path, async () => {
        if (isRoot && facts.owner) await chown(path, facts.owner.uid, facts.owner.gid);
        await chmod(path, facts.mode & MODE_BITS);
        await utimes(path, timeOf(facts), timeOf(facts));
      });
    }
  }

  async #tried(path: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      // A full disk ends it; whatever else the system refuses, concerns one entry.
      if (['ENOSPC', 'EDQUOT', 'EROFS', 'EIO'].includes(code ?? '')) throw error;
      const isOfEntry = error instanceof EntryRefused || (error instanceof Error && 'syscall' in error);
      if (!isOfEntry) throw error;
      this.#options.onProblem(path, causeOf(error));
      return false;
    }
  }

  async #directory(facts: FileFacts): Promise<void> {
    const segments = segmentsOf(facts.path);
    if (segments.length === 0) return;
    const path = await this.#enter(segments);
    this.#late.push({ path, facts });
  }

  async #file(facts: FileFacts, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const path = await this.#place(facts.path);
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = await open(path, flags, 0o600);
    let at = 0;
    try {
      for await (const chunk of bytes) {
        await writeAll(file, chunk, at);
        at += chunk.length;
      }
      if (isRoot && facts.owner) await file.chown(facts.owner.uid, facts.owner.gid);
      await file.chmod(facts.mode & MODE_BITS);
      await file.utimes(timeOf(facts), timeOf(facts));
    } catch (error) {
      // A file that is there is whole.
      await rm(path, { force: true });
      throw error;
    } finally {
      await file.close();
    }
  }

  async #symlink(facts: FileFacts, target: string): Promise<void> {
    const path = await this.#place(facts.path);
    await symlink(target, path);
    if (isRoot && facts.owner) await lchown(path, facts.owner.uid, facts.owner.gid);
    await lutimes(path, timeOf(facts), timeOf(facts));
  }

  async #link(facts: FileFacts, target: string): Promise<void> {
    const segments = segmentsOf(target);
    const existing = join(await this.#enter(segments.slice(0, -1)), segments.at(-1) ?? '');
    if (!(await lstat(existing)).isFile()) throw new EntryRefused(`its target ${printable(target)} is no regular file`);
    await link(existing, await this.#place(facts.path));
  }

  /** Where an entry that is no directory goes: its directory is there, and nothing is in its place. */
  async #place(path: string): Promise<string> {
    const segments = segmentsOf(path);
    const last = segments.pop();
    if (last === undefined) throw new EntryRefused('it has no name');
    const place = join(await this.#enter(segments), last);
    const there = await lstat(place).catch(() => null);
    if (!there) return place;
    if (!this.#options.force) throw new EntryRefused('it exists; --force replaces it');
    if (!there.isFile() && !there.isSymbolicLink()) throw new EntryRefused('a directory or a device is in its place');
    await rm(place);
    return place;
  }

  /** The directory of these segments, made where it is missing. Throws where one of them is anything else. */
  async #enter(segments: readonly string[]): Promise<string> {
    let path = this.#root;
    for (const segment of segments) {
      path = join(path, segment);
      if (this.#directories.has(path)) continue;
      const there = await lstat(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return null;
        throw error;
      });
      if (there && !there.isDirectory()) {
        throw new EntryRefused(
          there.isSymbolicLink()
            ? `${printable(path)} is a symbolic link, which is not followed`
            : `${printable(path)} is no directory`,
        );
      }
      if (!there) await mkdir(path, { mode: 0o777 });
      this.#directories.add(path);
    }
    return path;
  }
}

/** Node takes a negative number for now, and a Date, of whole milliseconds, for what it is. */
function timeOf({ mtime }: FileFacts): number | Date {
  return mtime < 0 ? new Date(mtime * 1000) : mtime;
}

/** Throws EntryRefused for a path that leads upwards. An absolute one is taken as relative. */
function segmentsOf(path: string): string[] {
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.');
  if (segments.includes('..')) throw new EntryRefused('its path leads upwards');
  if (path.includes('\0')) throw new EntryRefused('its path has a NUL');
  return segments;
}

function factsOf(header: Header): FileFacts {
  const { name, mode, mtime, uid, gid } = header;
  const pax = (header.pax ?? {}) as Readonly<Record<string, string>>;
  const exact = Number(pax.mtime ?? Number.NaN);
  return {
    path: name,
    mode,
    mtime: Number.isFinite(exact) ? exact : mtime.getTime() / 1000,
    owner: { uid: Number(pax.uid ?? uid), gid: Number(pax.gid ?? gid) },
  };
}
