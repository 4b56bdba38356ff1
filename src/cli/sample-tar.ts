import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { glob, lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Pack, pack } from 'tar-stream';

/** Larger files are programs of 50 to 120 MB; the sample is to be like a backup, many files of many kinds. */
const LARGEST_FILE_BYTES = 16 * 1024 * 1024;

export interface SampleTar {
  readonly path: string;
  /** Bytes of the tar. */
  readonly size: number;
  /** Hex. */
  readonly sha256: string;
  readonly files: number;
}

/**
 * Writes a tar of real files to `path`: those under `sourceDir`, in the order of their names, until they hold
 * `wantedBytes`. Files over {@link LARGEST_FILE_BYTES} are left out: a few runtimes would be most of the tar. A directory
 * that holds less than wanted is taken again under another prefix (`copy-1/…`).
 *
 * Throws where `sourceDir` has no files.
 */
export async function writeSampleTar(path: string, sourceDir: string, wantedBytes: number): Promise<SampleTar> {
  const hash = createHash('sha256');
  let size = 0;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  const tar = pack();
  const written = pipeline(tar, meter, createWriteStream(path));
  const [files] = await Promise.all([fill(tar, sourceDir, wantedBytes), written]);
  return { path, size, sha256: hash.digest('hex'), files };
}

/** Gives the number of files. A failure destroys the tar, so that its reader fails too. */
async function fill(tar: Pack, sourceDir: string, wantedBytes: number): Promise<number> {
  let bytes = 0;
  let files = 0;
  try {
    const names: string[] = [];
    for await (const name of glob('**', { cwd: sourceDir })) names.push(name);
    names.sort();
    for (let copy = 0; bytes < wantedBytes; copy++) {
      const before = bytes;
      for (const name of names) {
        const file = join(sourceDir, name);
        const { size, mode, mtime, isFile } = await describe(file);
        if (!isFile || size > LARGEST_FILE_BYTES) continue;
        await addFile(
          tar,
          { name: `${copy === 0 ? '' : `copy-${copy}/`}${name.replaceAll('\\', '/')}`, size, mode, mtime },
          file,
        );
        bytes += size;
        files++;
        if (bytes >= wantedBytes) break;
      }
      if (bytes === before) throw new Error(`${sourceDir} holds no files to make a tar of`);
    }
    tar.finalize();
    return files;
  } catch (error) {
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

async function describe(file: string) {
  const stats = await lstat(file);
  return { size: stats.size, mode: stats.mode & 0o777, mtime: stats.mtime, isFile: stats.isFile() };
}

async function addFile(
  tar: Pack,
  header: { name: string; size: number; mode: number; mtime: Date },
  file: string,
): Promise<void> {
  const entry = tar.entry(header);
  if (header.size === 0) {
    entry.end('');
    return;
  }
  // `end` caps the read at what the header says, should the file grow meanwhile.
  await pipeline(createReadStream(file, { end: header.size - 1 }), entry);
}
