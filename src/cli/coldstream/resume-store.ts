import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** An upload that another run may resume. */
export interface OpenUpload {
  readonly url: string;
  /** The upload's own secret, good until the upload expires; empty where the vault gave none. */
  readonly secret: string;
  readonly begunAt: string;
  /** Of the file that it was begun with; null: of a pipe, which nobody can go on with. */
  readonly state: string | null;
  /** The process that sends it, or did. */
  readonly pid: number;
  /** ISO 8601 */
  readonly expiresAt: string;
}

/** Nothing is resumed after it: the vault keeps no upload that long. */
const OLDEST_MS = 7 * 24 * 3600 * 1000;

/**
 * Uploads that were begun, a file each, under a fingerprint of what was sent where. They hold secrets: the folder and
 * the files are the user's alone.
 */
export class ResumeStore {
  readonly #folder: string;

  constructor(folder = join(process.env.XDG_STATE_HOME || join(homedir(), '.local/state'), 'coldstream')) {
    this.#folder = folder;
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
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    // One that is there already may be open to others.
    await chmod(this.#folder, 0o700);
    const unfinished = `${this.#path(fingerprint)}.${process.pid}`;
    await writeFile(unfinished, JSON.stringify(upload), { mode: 0o600 });
    await rename(unfinished, this.#path(fingerprint));
  }

  async forget(fingerprint: string): Promise<void> {
    await rm(this.#path(fingerprint), { force: true });
  }

  /** Removes what can no longer be resumed. */
  async purge(now = Date.now()): Promise<void> {
    const names = await readdir(this.#folder).catch(() => []);
    for (const name of names) {
      const path = join(this.#folder, name);
      const upload = name.endsWith('.json') ? await this.find(name.slice(0, -'.json'.length)) : null;
      const written = await stat(path).then(
        ({ mtimeMs }) => mtimeMs,
        () => now,
      );
      const isOver = upload ? Date.parse(upload.expiresAt) < now : written < now - OLDEST_MS;
      if (isOver) await rm(path, { force: true });
    }
  }

  #path(fingerprint: string): string {
    return join(this.#folder, `${fingerprint}.json`);
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
