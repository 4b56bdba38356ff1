import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * A directory and those above it. Node's own `recursive` never returns where a parent exists and takes no directory, as
 * /proc does (nodejs/node: mkdirp goes back to the parent on ENOENT, again and again).
 */
export async function makeDirectories(path: string, mode = 0o777): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    await makeDirectories(dirname(path), mode);
    await mkdir(path, { mode });
  }
}
