import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { CommandFailed } from './failures.ts';
import type { Content } from './piece-source.ts';
import { zstdFrames } from './zstd-frames.ts';

const READ_BYTES = 1024 * 1024;

/** A regular file of `size` bytes, which can be read again from anywhere. */
export function fileContent(path: string, size: number): Content {
  return {
    size,
    read: (offset) => readFile(path, offset, size),
    // Beside the sending, which waits for the network: a core hashes a GiB in a second or two.
    hashWhole: async () => {
      const hash = createHash('sha256');
      for await (const chunk of readFile(path, 0, size)) hash.update(chunk);
      return hash.digest('hex');
    },
  };
}

/** What comes through a pipe, once. */
export function pipeContent(stream: AsyncIterable<Buffer>): Content {
  return { size: null, read: () => stream };
}

export interface FileDigest {
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Content as zstd, and after its end what the content itself was: the vault decodes it, and its receipt is the file's. How long that is, is known at its end. To go on midway it is made again from its start (`read` always
 * begins there): frames depend on nothing but their bytes, the level and zstd's version, and should they differ all the
 * same, the checksum of the whole tells.
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

/** Bytes `offset` to `size`; a file that became shorter meanwhile is an error, what was appended is left out. */
async function* readFile(path: string, offset: number, size: number): AsyncGenerator<Buffer, void, undefined> {
  const file = await open(path, 'r');
  try {
    for (let at = offset; at < size; ) {
      const chunk = await readChunk(file, at, Math.min(READ_BYTES, size - at));
      if (chunk.length === 0)
        throw new CommandFailed(`${path} became shorter while it was read: ${at} of ${size} bytes.`);
      yield chunk;
      at += chunk.length;
    }
    // Files of /proc and /sys say that they have no bytes, and have some.
    if (size === 0 && (await readChunk(file, 0, 1)).length > 0) {
      throw new CommandFailed(
        `${path} has content but no size. Push it through a pipe: cat ${path} | coldstream push -`,
      );
    }
  } finally {
    await file.close();
  }
}

async function readChunk(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}
