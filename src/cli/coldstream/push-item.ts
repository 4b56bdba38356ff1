import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, isAbsolute, normalize, resolve } from 'node:path';
import { printable } from './amounts.ts';
import { commandOutput } from './command-output.ts';
import { compressedContent, type FileDigest, type FileState, fileContent, pipeContent } from './content.ts';
import { CommandFailed, UsageError } from './failures.ts';
import type { Content } from './piece-source.ts';
import { type TreeOptions, treeTar } from './tree-tar.ts';
import { causeOf } from './vault-client.ts';

/** One thing to push: a file, a pipe, the output of a command, or directories as a tar. */
export interface PushItem {
  /** Under which the vault keeps it. */
  readonly name: string;
  /** For the bar: bytes before a compression; null: unknown. */
  readonly size: number | null;
  /** Absolute path of a file; else what it is, for the fingerprint of its upload. */
  readonly source: string;
  /** zstd level of the compression here; null: none. Another level makes other bytes, which cannot resume an upload. */
  readonly compressLevel: number | null;
  /** What tells the file as it is now from what it was or will be; null where it can be read but once. */
  readonly state: string | null;
  /** Entries that are missing in the tar, or not as they are now; empty for everything else. */
  readonly problems: readonly string[];
  /**
   * Anew from the start. `reached` returns, for bytes sent, how many of `size` these are. `file` returns the file's own
   * length and SHA-256 where the content is an encoding of it; null where the content is the file.
   */
  open(): OpenedItem;
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
  /** For directories. */
  readonly tree: Pick<TreeOptions, 'excludes' | 'oneFileSystem' | 'onSkipped'>;
}

/** `-` is standard input. Throws UsageError for what has no name, CommandFailed for what cannot be read. */
export async function pushItem(path: string, options: ItemOptions): Promise<PushItem> {
  if (path === '-') {
    return streamItem(process.stdin, named(options, 'A pipe needs a name: --name db.sql'), '-', options);
  }
  const found = await stat(path).catch((error: unknown) => {
    throw new CommandFailed(`${causeOf(error)}.`);
  });
  if (found.isDirectory()) return treeItem([path], { ...options, name: options.name ?? `${nameFor(path)}.tar` });
  if (found.isFile()) return fileItem(path, options);
  // Named pipes, and what a shell makes of <(command).
  const name = named(options, `${printable(path)} is a pipe or a device, which needs a --name.`);
  return streamItem(createReadStream(path), name, '-', options);
}

/** The output of a program. */
export function commandItem(words: readonly string[], options: ItemOptions): PushItem {
  const name = named(options, 'The output of a command needs a name: --name db.sql');
  return streamItem(commandOutput(words), name, '-', options);
}

/** One tar of several paths. */
export function treeItem(roots: readonly string[], options: ItemOptions): PushItem {
  const problems: string[] = [];
  const onProblem = (path: string, why: string) => {
    problems.push(why.startsWith(path) ? printable(why) : `${printable(path)}: ${why}`);
  };
  const tar = treeTar(roots, { ...options.tree, onProblem });
  return { ...streamItem(tar, named(options, 'A list of files needs a --name.'), roots.join('\n'), options), problems };
}

/**
 * The path as it was given, so that `push db1/etc.tar` is stored as db1/etc.tar. Of an absolute path, or one that leads
 * upwards, the last segment only: a machine's folders are no part of a backup's name.
 */
function nameFor(path: string): string {
  const normal = normalize(path);
  const plain = normal.endsWith('/') ? normal.slice(0, -1) : normal;
  if (isAbsolute(path) || plain === '' || plain === '.' || plain.startsWith('..'))
    return basename(resolve(path)) || 'root';
  return plain;
}

function named({ name }: ItemOptions, otherwise: string): string {
  if (name === undefined) throw new UsageError(otherwise);
  return name;
}

function streamItem(stream: AsyncIterable<Buffer>, name: string, source: string, options: ItemOptions): PushItem {
  return {
    name,
    size: null,
    source,
    compressLevel: options.compressLevel,
    state: null,
    problems: [],
    open: () => opened(pipeContent(stream), options, null),
  };
}

async function fileItem(path: string, options: ItemOptions): Promise<PushItem> {
  const absolute = resolve(path);
  const state = await stateOf(absolute);
  return {
    name: options.name ?? nameFor(path),
    size: state.size,
    source: absolute,
    compressLevel: options.compressLevel,
    state: `${state.size} bytes of ${state.mtimeNs}`,
    problems: [],
    open: () => opened(fileContent(path, state), options, state.size),
  };
}

async function stateOf(path: string): Promise<FileState> {
  const { size, mtimeNs } = await stat(path, { bigint: true });
  return { size: Number(size), mtimeNs };
}

function opened(content: Content, { compressLevel }: ItemOptions, size: number | null): OpenedItem {
  if (compressLevel === null) return { content, reached: (sent) => sent, file: null };
  const frames = [{ made: 0, read: 0 }];
  const { content: compressed, file } = compressedContent(content, compressLevel, (made, read) =>
    frames.push({ made, read }),
  );
  // The bar counts the file's own bytes. Of a pipe their number is unknown, so it counts what is sent.
  const reached = (sent: number) => frames.findLast(({ made }) => made <= sent)?.read ?? 0;
  return { content: compressed, file, reached: size === null ? (sent) => sent : reached };
}
