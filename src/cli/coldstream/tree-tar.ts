/**
 * Directories as a tar (POSIX.1-2001, pax): modes, owners, links, devices, times to the nanosecond. Node cannot read
 * extended attributes and ACLs, so these are left out.
 */
import { once } from 'node:events';
import { constants, type FileHandle, lstat, open, readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import ignore, { type Ignore } from 'ignore';
import { type Header, type Pack, pack as tarPack } from 'tar-stream';
import { causeOf } from './vault-client.ts';

type TarHeader = Partial<Header> & Pick<Header, 'name'>;
type Stats = Awaited<ReturnType<typeof statOf>>;

export interface TreeOptions {
  /** Patterns of gitignore(5), relative to each root. */
  readonly excludes: readonly string[];
  /** Leaves out what is mounted below a root. */
  readonly oneFileSystem: boolean;
  /** An entry that is not in the tar, or not as it is now; the rest is. */
  onProblem(path: string, why: string): void;
  /** An entry that no tar can hold. */
  onSkipped(path: string, why: string): void;
}

interface Entry {
  readonly path: string;
  /** Its path in the archive, relative and without a slash at the end. */
  readonly member: string;
  readonly stats: Stats;
}

/**
 * The tar of `roots` and everything below them. Entries that cannot be read are reported and left out; a directory that
 * is named itself and cannot be read is reported too.
 */
export async function* treeTar(
  roots: readonly string[],
  options: TreeOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const pack = tarPack();
  const filling = new TreePacker(pack, options).add(roots).then(
    () => pack.finalize(),
    (error: unknown) => pack.destroy(error as Error),
  );
  // In Node these are Buffers; its types also know other runtimes.
  for await (const chunk of pack as AsyncIterable<Buffer>) yield chunk;
  await filling;
}

/** As tar does: a member's path is relative, so that nothing is extracted outside of where a person wants it. */
export function memberPath(root: string): string {
  const segments = root.split('/').filter((segment) => segment !== '' && segment !== '.');
  return segments.slice(segments.lastIndexOf('..') + 1).join('/');
}

const READ_BYTES = 1024 * 1024;

class TreePacker {
  readonly #pack: Pack;
  readonly #options: TreeOptions;
  /** First member of each file that has several names, by device and inode. */
  readonly #linked = new Map<string, string>();

  constructor(pack: Pack, options: TreeOptions) {
    this.#pack = pack;
    this.#options = options;
  }

  async add(roots: readonly string[]): Promise<void> {
    const excludes = ignore({ allowRelativePaths: true }).add([...this.#options.excludes]);
    for (const root of roots) {
      for await (const entry of this.#walk(root, excludes)) await this.#entry(entry);
    }
  }

  async *#walk(root: string, excludes: Ignore): AsyncGenerator<Entry, void, undefined> {
    // A root is followed where it is a symbolic link: it was named to be stored.
    const stats = await this.#tried(root, () => stat(root, { bigint: true }));
    if (stats) yield* this.#below({ path: root, member: memberPath(root), stats }, '', stats.dev, excludes);
  }

  /** @param relative its path below the root, empty for the root itself */
  async *#below(
    entry: Entry,
    relative: string,
    device: bigint,
    excludes: Ignore,
  ): AsyncGenerator<Entry, void, undefined> {
    const { path, member, stats } = entry;
    if (member !== '') yield entry;
    if (!stats.isDirectory()) return;
    const names = await this.#tried(path, () => readdir(path));
    for (const name of names?.sort() ?? []) {
      const child = join(path, name);
      const below = relative === '' ? name : `${relative}/${name}`;
      const found = await this.#tried(child, () => statOf(child));
      if (!found || excludes.ignores(found.isDirectory() ? `${below}/` : below)) continue;
      if (this.#options.oneFileSystem && found.dev !== device) continue;
      yield* this.#below(
        { path: child, member: member === '' ? name : `${member}/${name}`, stats: found },
        below,
        device,
        excludes,
      );
    }
  }

  async #entry(entry: Entry): Promise<void> {
    const { path, member, stats } = entry;
    if (stats.isFile()) return this.#file(entry);
    if (stats.isSocket()) return this.#options.onSkipped(path, 'a socket cannot be stored');
    const header = headerOf(member, stats);
    if (stats.isDirectory()) return this.#void({ ...header, type: 'directory' });
    if (stats.isFIFO()) return this.#void({ ...header, type: 'fifo' });
    if (stats.isSymbolicLink()) {
      const linkname = await this.#tried(path, () => readlink(path));
      if (linkname !== null) await this.#void({ ...header, type: 'symlink', linkname });
      return;
    }
    const type = stats.isCharacterDevice() ? 'character-device' : 'block-device';
    await this.#void({ ...header, type, ...deviceOf(stats.rdev) });
  }

  async #file({ path, member, stats }: Entry): Promise<void> {
    const inode = stats.nlink > 1n ? `${stats.dev}:${stats.ino}` : null;
    const first = inode === null ? undefined : this.#linked.get(inode);
    if (first !== undefined) return this.#void({ ...headerOf(member, stats), type: 'link', linkname: first });
    const file = await this.#tried(path, () => open(path, constants.O_RDONLY | constants.O_NOFOLLOW));
    if (!file) return;
    try {
      await this.#content(path, member, file);
      if (inode !== null) this.#linked.set(inode, member);
    } finally {
      await file.close();
    }
  }

  /** A file that changes under way fills its place in the archive, and is reported. */
  async #content(path: string, member: string, file: FileHandle): Promise<void> {
    const before = await file.stat({ bigint: true });
    const size = Number(before.size);
    const header = headerOf(member, before);
    const entry: { sink?: ReturnType<Pack['entry']> } = {};
    const stored = new Promise<void>((resolve, reject) => {
      entry.sink = this.#pack.entry({ ...header, type: 'file', size }, (error) => (error ? reject(error) : resolve()));
    });
    // Awaited below; until then a failure must not count as unhandled.
    stored.catch(() => undefined);
    let failure: string | null = null;
    for (let at = 0; at < size; ) {
      const wanted = Math.min(READ_BYTES, size - at);
      const { buffer, bytesRead } = await file
        .read(Buffer.allocUnsafe(wanted), 0, wanted, at)
        .catch((error: unknown) => {
          failure = causeOf(error);
          return { buffer: Buffer.alloc(wanted), bytesRead: 0 };
        });
      if (bytesRead === 0) failure ??= `it became shorter while it was read: ${at} of ${size} bytes`;
      const chunk = bytesRead === 0 ? buffer.fill(0) : buffer.subarray(0, bytesRead);
      if (entry.sink && !entry.sink.write(chunk)) await once(entry.sink, 'drain');
      at += chunk.length;
    }
    entry.sink?.end(null);
    await stored;
    const after = await file.stat({ bigint: true });
    if (after.size !== before.size || after.mtimeNs !== before.mtimeNs) failure ??= 'it changed while it was read';
    if (failure !== null) this.#options.onProblem(path, failure);
  }

  #void(header: TarHeader): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pack.entry(header, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Null, and reported, where the system refuses. */
  async #tried<Result>(path: string, work: () => Promise<Result>): Promise<Result | null> {
    try {
      return await work();
    } catch (error) {
      const isLost = path.includes('\ufffd') && (error as NodeJS.ErrnoException).code === 'ENOENT';
      this.#options.onProblem(path, isLost ? 'its name is not UTF-8, which this command cannot store' : causeOf(error));
      return null;
    }
  }
}

function statOf(path: string) {
  return lstat(path, { bigint: true });
}

/** ustar holds 21 bits of an id and whole seconds of 31; pax records hold what is more, and win. */
const MOST_ID = 0o7777777n;
const MOST_SECONDS = 2n ** 31n - 1n;
const NANOSECONDS = 1_000_000_000n;

function headerOf(name: string, stats: Stats): TarHeader {
  const { mode, uid, gid, mtimeNs } = stats;
  const seconds = mtimeNs / NANOSECONDS;
  const isPlain = mtimeNs >= 0n && mtimeNs % NANOSECONDS === 0n && seconds <= MOST_SECONDS;
  const shown = seconds < 0n ? 0n : seconds > MOST_SECONDS ? MOST_SECONDS : seconds;
  const pax = {
    ...(!isPlain && { mtime: decimalSeconds(mtimeNs) }),
    ...(uid > MOST_ID && { uid: String(uid) }),
    ...(gid > MOST_ID && { gid: String(gid) }),
  };
  return {
    name,
    mode: Number(mode & 0o7777n),
    uid: Number(uid > MOST_ID ? 0n : uid),
    gid: Number(gid > MOST_ID ? 0n : gid),
    mtime: new Date(Number(shown) * 1000),
    ...(Object.keys(pax).length > 0 && { pax }),
  };
}

/** `-1.5` and the like, exact. */
export function decimalSeconds(nanoseconds: bigint): string {
  const magnitude = nanoseconds < 0n ? -nanoseconds : nanoseconds;
  const fraction = String(magnitude % NANOSECONDS).padStart(9, '0');
  return `${nanoseconds < 0n ? '-' : ''}${magnitude / NANOSECONDS}.${fraction}`;
}

/** Linux: makedev(3). */
function deviceOf(rdev: bigint): Pick<Header, 'devmajor' | 'devminor'> {
  return {
    devmajor: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)),
    devminor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)),
  };
}
