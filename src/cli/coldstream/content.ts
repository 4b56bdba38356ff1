import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { printable } from './amounts.ts';
import { CommandFailed } from './failures.ts';
import type { Content } from './piece-source.ts';
import { zstdFrames } from './zstd-frames.ts';

const READ_BYTES = 1024 * 1024;

/** What tells a file from what it was before: a change of its content changes one of them. */
export interface FileState {
  readonly size: number;
  readonly mtimeNs: bigint;
}

/**
 * A regular file, which can be read again from anywhere. Reading it to its end fails unless it is then what `state` says,
 * so that an upload of a file that changed meanwhile never becomes complete.
 */
export function fileContent(path: string, state: FileState): Content {
  return {
    size: state.size,
    read: (offset) => readFile(path, offset, state),
    // Beside the sending, which waits for the network: a core hashes a GiB in a second or two.
    hashWhole: async () => {
      const hash = createHash('sha256');
      for await (const chunk of readFile(path, 0, state)) hash.update(chunk);
      return hash.digest('hex');
    },
  };
}

/** What comes once. */
export function pipeContent(stream: AsyncIterable<Buffer>): Content {
  return { size: null, read: () => stream };
}

export interface FileDigest {
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Content as zstd, and after its end length and checksum of the content itself: the vault decodes it, so its receipt is
 * the file's. To resume, it is compressed again from its start (`read` always begins there): frames depend on nothing but
 * their bytes, the level and the version of zstd. Should they differ, the checksum of the whole does too.
 */
export function compressedContent(
  content: Content,
  level: number,
  onFrame: (sent: number, read: number) => void,
): { readonly content: Content; file(): FileDigest } {
  let hash = createHash('sha256');
  let bytes = 0;
  async function* hashed(): AsyncGenerator<Buffer, void, undefined> {
    hash = createHash('sha256');
    bytes = 0;
    for await (const chunk of content.read(0)) {
      hash.update(chunk);
      bytes += chunk.length;
      yield chunk;
    }
  }
  return {
    content: { size: null, read: () => zstdFrames(hashed(), level, onFrame) },
    file: () => ({ bytes, sha256: hash.copy().digest('hex') }),
  };
}

/** Bytes from `offset` to the end. Throws CommandFailed where the file is not, or is no longer, what `state` says. */
async function* readFile(path: string, offset: number, state: FileState): AsyncGenerator<Buffer, void, undefined> {
  const { size, mtimeNs } = state;
  const file = await open(path, 'r');
  try {
    for (let at = offset; at < size; ) {
      const chunk = await readChunk(file, at, Math.min(READ_BYTES, size - at));
      if (chunk.length === 0) throw changed(path, `it has ${at} of ${size} bytes`);
      yield chunk;
      at += chunk.length;
    }
    // Files of /proc and /sys have another size than stat says.
    if ((await readChunk(file, size, 1)).length > 0) throw changed(path, `it has more than ${size} bytes`);
    const now = await file.stat({ bigint: true });
    if (Number(now.size) !== size || now.mtimeNs !== mtimeNs) throw changed(path, 'it was written to');
  } finally {
    await file.close();
  }
}

function changed(path: string, what: string): CommandFailed {
  return new CommandFailed(
    `${printable(path)} changed while it was read, so nothing was stored: ${what}. ` +
      `Push it again, or through a pipe: cat FILE | coldstream push - --name NAME`,
  );
}

async function readChunk(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}
