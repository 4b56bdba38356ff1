import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { compressedContent, type FileDigest, fileContent, pipeContent } from './content.ts';
import { CommandFailed, UsageError } from './failures.ts';
import type { Content } from './piece-source.ts';
import { causeOf } from './vault-client.ts';

/** One thing to push: a file, or what comes through a pipe. */
export interface PushItem {
  /** Under which the vault keeps it. */
  readonly name: string;
  /** For the bar: bytes before a compression; null: unknown. */
  readonly size: number | null;
  /** Absolute path of a file; `-`. */
  readonly source: string;
  /** zstd level of the compression here; null: none. Another level makes other bytes, which no upload can go on with. */
  readonly compressLevel: number | null;
  /** What tells the file as it is now from what it was or will be; null where it can be read but once. */
  readonly state: string | null;
  /**
   * Anew from the start. `reached` returns, for bytes sent, how many of `size` these are. `file` resolves with the file's own
   * length and SHA-256 where the content is an encoding of it; null where the content is the file.
   */
  open(): OpenedItem;
  /** Whether the file is what it was when it was opened. */
  isUnchanged(): Promise<boolean>;
}

export interface OpenedItem {
  readonly content: Content;
  reached(sent: number): number;
  readonly file: (() => FileDigest) | null;
}

export interface ItemOptions {
  readonly name?: string | undefined;
  /** zstd level of the client's own compression; null: bytes go as they are. */
  readonly compressLevel: number | null;
}

/** `-` is standard input. Throws UsageError for what has no name, CommandFailed for what cannot be read. */
export async function pushItem(path: string, options: ItemOptions): Promise<PushItem> {
  if (path === '-')
    return pipe(process.stdin, named(options, 'What comes through a pipe needs a name: --name db.sql'), options);
  const found = await stat(path).catch((error: unknown) => {
    throw new CommandFailed(`${path} cannot be read: ${causeOf(error)}.`);
  });
  if (found.isDirectory()) {
    const name = basename(resolve(path)) || 'root';
    throw new CommandFailed(
      `${path} is a directory. Push it as an archive: tar -c ${path} | coldstream push - --name ${name}.tar`,
    );
  }
  // Named pipes, and what a shell makes of <(command).
  if (!found.isFile())
    return pipe(createReadStream(path), named(options, `${path} is a pipe: give it a --name.`), options);
  return file(path, options);
}

function named({ name }: ItemOptions, otherwise: string): string {
  if (name === undefined) throw new UsageError(otherwise);
  return name;
}

function pipe(stream: AsyncIterable<Buffer>, name: string, options: ItemOptions): PushItem {
  return {
    name,
    size: null,
    source: '-',
    compressLevel: options.compressLevel,
    state: null,
    open: () => opened(pipeContent(stream), options, null),
    isUnchanged: async () => true,
  };
}

async function file(path: string, options: ItemOptions): Promise<PushItem> {
  const absolute = resolve(path);
  const { size, state } = await look(absolute);
  return {
    name: options.name ?? basename(absolute),
    size,
    source: absolute,
    compressLevel: options.compressLevel,
    state,
    open: () => opened(fileContent(path, size), options, size),
    // One that is gone by now had been read to its end.
    isUnchanged: () =>
      look(absolute).then(
        (now) => now.state === state,
        () => true,
      ),
  };
}

async function look(path: string): Promise<{ size: number; state: string }> {
  const { size, mtimeNs } = await stat(path, { bigint: true });
  return { size: Number(size), state: `${size} bytes of ${mtimeNs}` };
}

function opened(content: Content, { compressLevel }: ItemOptions, size: number | null): OpenedItem {
  if (compressLevel === null) return { content, reached: (sent) => sent, file: null };
  const frames = [{ made: 0, read: 0 }];
  const { content: compressed, file } = compressedContent(content, compressLevel, (made, read) =>
    frames.push({ made, read }),
  );
  // The bar counts what the person knows, the file's own bytes. Of a pipe that is unknown, and what is sent is shown.
  const reached = (sent: number) => frames.findLast(({ made }) => made <= sent)?.read ?? 0;
  return { content: compressed, file, reached: size === null ? (sent) => sent : reached };
}
