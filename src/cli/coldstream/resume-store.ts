import { createHash } from 'node:crypto';
import { chmod, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { makeDirectories } from './make-directories.ts';

/** An upload that another run may resume. */
export interface OpenUpload {
  readonly url: string;
  /** The upload's own secret, good until the upload expires; empty where the vault gave none. */
  readonly secret: string;
  readonly begunAt: string;
  /** Of the file that it was started with; null: of a pipe, which cannot be resumed. */
  readonly state: string | null;
  /** The process that sends it, or did. */
  readonly pid: number;
  /** ISO 8601 */
  readonly expiresAt: string;
}

/** Nothing is resumed after it: the vault keeps no upload that long. */
const OLDEST_MS = 7 * 24 * 3600 * 1000;

/** Throws where the user has no home directory. */
function defaultFolder(): string {
  return join(process.env.XDG_STATE_HOME || join(homedir(), '.local/state'), 'coldstream');
}

/**
 * Unfinished uploads, a file each, under a fingerprint of what was sent where. They hold secrets: the folder and the
 * files are the user's alone. Only {@link keep} throws where the folder cannot be used: without it uploads cannot be
 * resumed, but they can be made.
 */
export class ResumeStore {
  readonly #folderOf: () => string;

  constructor(folderOf = defaultFolder) {
    this.#folderOf = folderOf;
  }

  /** null where there is none, or none that can be read. */
  async find(fingerprint: string): Promise<OpenUpload | null> {
    try {
      const upload = JSON.parse(await readFile(this.#path(fingerprint), 'utf8')) as Partial<OpenUpload>;
      const { url, secret, begunAt, state, pid, expiresAt } = upload;
      if (!url || secret === undefined || !begunAt || state === undefined || !pid || !expiresAt) return null;
      return { url, secret, begunAt, state, pid, expiresAt };
    } catch {
      return null;
    }
  }

  /** At once or not at all: a run that is killed leaves no half of it. */
  async keep(fingerprint: string, upload: OpenUpload): Promise<void> {
    const folder = this.#folderOf();
    await makeDirectories(folder, 0o700);
    // One that is there already may be open to others.
    await chmod(folder, 0o700);
    const unfinished = `${this.#path(fingerprint)}.${process.pid}`;
    await writeFile(unfinished, JSON.stringify(upload), { mode: 0o600 });
    await rename(unfinished, this.#path(fingerprint));
  }

  async forget(fingerprint: string): Promise<void> {
    await this.#remove(() => this.#path(fingerprint));
  }

  /** Removes what can no longer be resumed. */
  async purge(now = Date.now()): Promise<void> {
    const { folder, names } = await this.#list();
    for (const name of names) {
      const path = join(folder, name);
      const upload = name.endsWith('.json') ? await this.find(name.slice(0, -'.json'.length)) : null;
      const written = await stat(path).then(
        ({ mtimeMs }) => mtimeMs,
        () => now,
      );
      const isOver = upload ? Date.parse(upload.expiresAt) < now : written < now - OLDEST_MS;
      if (isOver) await this.#remove(() => path);
    }
  }

  async #list(): Promise<{ folder: string; names: string[] }> {
    try {
      const folder = this.#folderOf();
      return { folder, names: await readdir(folder) };
    } catch {
      return { folder: '', names: [] };
    }
  }

  /** What stays is removed once it has expired, or found to be gone at the vault. */
  async #remove(pathOf: () => string): Promise<void> {
    try {
      await rm(pathOf(), { force: true });
    } catch {
      // A folder that can no longer be written.
    }
  }

  #path(fingerprint: string): string {
    return join(this.#folderOf(), `${fingerprint}.json`);
  }
}

/** Whether the process that began an upload may still be sending it. */
export function hasSender({ pid }: OpenUpload): boolean {
  // In a container everybody is process 1.
  if (pid === process.pid) return false;
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** One name for what decides whether pushes mean the same: the vault, the path, the options. */
export function fingerprintOf(facts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 32);
}
