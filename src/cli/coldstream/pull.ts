import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { printable, showBytes } from './amounts.ts';
import { CommandFailed, Interrupted } from './failures.ts';
import { print, printJson } from './output.ts';
import { Patience } from './patience.ts';
import { type ReadOptions, type Representation, readRepresentation, representationAt } from './representation.ts';
import type { Session } from './session.ts';
import { isPassing, type Receipt } from './vault-client.ts';

export interface PullOptions {
  /** A file, a directory, or `-`. Default: the backup's own name, here. */
  readonly output?: string;
  readonly format?: string;
  readonly force?: boolean;
  /** Seconds. */
  readonly retryFor: number;
}

/** Brings a backup here, and says so only once its SHA-256 is what the vault has noted. */
export async function pull(session: Session, id: string, options: PullOptions): Promise<void> {
  const query = options.format ? `?format=${options.format}` : '';
  const representation = await representationAt(session.client, `/backup/${encodeURIComponent(id)}/download${query}`);
  const check = await checkOf(session, id, representation, options.format);
  if (options.output === '-') return toStandardOutput(session, representation, check, options.retryFor);
  const target = await targetOf(representation, options.output);
  const part = join(dirname(target), `${id}${options.format ? `.${options.format}` : ''}.part`);
  await toFile(session, { representation, check, target, part, options });
  session.view.close();
  if (session.json) await printJson({ backup_id: id, file: target });
  else session.view.note(`${printable(target)} is here, its SHA-256 as the vault has it.`);
}

/** Hashes what passes, and tells at the end whether it was all and as the vault has it. */
interface Check {
  update(chunk: Uint8Array): Promise<void>;
  holds(): Promise<boolean>;
}

async function checkOf(session: Session, id: string, { sha256 }: Representation, format?: string): Promise<Check> {
  if (format !== 'gz') return plainCheck(sha256);
  const receipt = await session.client.json<Receipt>(`/backup/${encodeURIComponent(id)}`);
  return gzipCheck(receipt.checksum);
}

function plainCheck(expected: string | null): Check {
  const hash = createHash('sha256');
  return {
    update: async (chunk) => {
      hash.update(chunk);
    },
    holds: async () => expected === null || hash.digest('hex') === expected,
  };
}

/** gzip is made anew each time, so that nobody knows its hash: what it unpacks to has one. */
function gzipCheck(expected: string): Check {
  const gunzip = createGunzip();
  const hash = createHash('sha256');
  const hashed = (async () => {
    for await (const chunk of gunzip) hash.update(chunk as Buffer);
    return hash.digest('hex');
  })();
  // Whoever asks whether it holds hears of it.
  hashed.catch(() => undefined);
  return {
    update: async (chunk) => {
      if (!gunzip.write(chunk)) await once(gunzip, 'drain');
    },
    holds: async () => {
      gunzip.end();
      return (await hashed) === expected;
    },
  };
}

async function toStandardOutput(
  session: Session,
  representation: Representation,
  check: Check,
  retryFor: number,
): Promise<void> {
  for await (const chunk of readRepresentation(representation, 0, readOptions(session, retryFor))) {
    await check.update(chunk);
    await print(chunk);
  }
  if (!(await check.holds())) throw mismatch('It has been written already: do not use it.');
}

async function targetOf({ filename }: Representation, output: string | undefined): Promise<string> {
  const isDirectory = output !== undefined && (await isA('directory', output));
  if (output !== undefined && !isDirectory) return output;
  if (filename === '') throw new CommandFailed('The vault tells no name for it: say one with -o.');
  return isDirectory ? join(output, filename) : filename;
}

async function isA(kind: 'directory' | 'anything', path: string): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  return found !== null && (kind === 'anything' || found.isDirectory());
}

interface FilePull {
  readonly representation: Representation;
  readonly check: Check;
  readonly target: string;
  /** Its name has the backup's id, so that what lies in it is a part of this backup and no other of the same name. */
  readonly part: string;
  readonly options: PullOptions;
}

async function toFile(session: Session, pull: FilePull): Promise<void> {
  const { representation, check, target, part, options } = pull;
  if (!options.force && (await isA('anything', target))) {
    throw new CommandFailed(`${printable(target)} is there already; --force replaces it.`);
  }
  const { length, filename } = representation;
  const offset = await keptOf(part, representation, check);
  const transfer = session.view.begin(filename, length, offset);
  if (offset > 0) session.view.note(`${printable(target)}: goes on at ${showBytes(offset)}`);
  transfer.phase('receiving', length);
  const file = await open(part, offset > 0 ? 'r+' : 'w');
  let at = offset;
  try {
    for await (const chunk of readRepresentation(representation, offset, readOptions(session, options.retryFor))) {
      await check.update(chunk);
      await writeAll(file, chunk, at);
      at += chunk.length;
      transfer.at(at);
    }
    await file.datasync();
  } catch (error) {
    throw explained(error, representation);
  } finally {
    await file.close();
  }
  if (!(await check.holds())) {
    await rm(part, { force: true });
    throw mismatch('What came was removed.');
  }
  await rename(part, target);
  transfer.phase('done', length);
  transfer.end();
}

/** How much of it an earlier run has left, hashed. */
async function keptOf(part: string, { length, hasRanges }: Representation, check: Check): Promise<number> {
  const kept = await stat(part).then(
    ({ size }) => size,
    () => 0,
  );
  if (kept === 0 || !hasRanges || length === null || kept > length) return 0;
  for await (const chunk of createReadStream(part, { highWaterMark: 1024 * 1024 })) await check.update(chunk as Buffer);
  return kept;
}

async function writeAll(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, written, chunk.length - written, position + written);
    written += bytesWritten;
  }
}

function readOptions(session: Session, retryFor: number): ReadOptions {
  const { client, signal, view } = session;
  return { client, signal, patience: new Patience(retryFor), note: (text) => view.note(text) };
}

function explained(error: unknown, { hasRanges }: Representation): unknown {
  const goesOn = hasRanges
    ? 'The same command again goes on where this one stopped.'
    : 'A format that is made on the way cannot be resumed: the same command begins anew.';
  if (error instanceof Interrupted) return error.because(`Stopped. ${goesOn}`);
  return isPassing(error) ? new CommandFailed(`${(error as Error).message}\n${goesOn}`) : error;
}

function mismatch(what: string): CommandFailed {
  return new CommandFailed(`The bytes that came do not have the SHA-256 that the vault has noted. ${what}`);
}
