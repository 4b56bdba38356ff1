import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, type Stats } from 'node:fs';
import { chmod, chown, lstat, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { identityOpener, type Opener } from './age-content.ts';
import { printable, showBytes } from './amounts.ts';
import { findBackup } from './backup-name.ts';
import { CommandFailed, Interrupted, StoredDataDamaged, UsageError } from './failures.ts';
import { print, printJson } from './output.ts';
import { Patience } from './patience.ts';
import { type ReadOptions, type Representation, readRepresentation, representationAt } from './representation.ts';
import type { Session } from './session.ts';
import { isPassing, type Receipt } from './vault-client.ts';
import { writeAll } from './write-all.ts';

export interface PullOptions {
  /** A file, a directory, or `-`. Default: the last segment of the backup's name, here. */
  readonly output?: string;
  readonly format?: string;
  /** A file of age identities. */
  readonly identity?: string;
  readonly force?: boolean;
  /** Seconds. */
  readonly retryFor: number;
}

/** Downloads a backup. It is there only once it was compared with the receipt; what cannot be compared is a failure. */
export async function pull(session: Session, wanted: string, options: PullOptions): Promise<void> {
  const { format, identity, output, retryFor } = options;
  if (format !== undefined && identity !== undefined) {
    throw new UsageError('--identity brings the content, --format the stored file or gzip: use one of them.');
  }
  const receipt = await findBackup(session.client, wanted);
  const id = receipt.backup_id;
  const opener = identity === undefined ? null : await identityOpener(identity, receipt);
  const query = format ? `?format=${format}` : '';
  const representation = await representationAt(session.client, `/backup/${id}/download${query}`);
  if (representation.damage) {
    throw new StoredDataDamaged(
      `${id} is damaged in the vault (${printable(representation.damage)} of the stored bytes), so it cannot be pulled whole.`,
    );
  }
  const job: PullJob = { receipt, representation, check: checkOf(receipt, representation, format), opener, retryFor };
  if (output === '-') return toStandardOutput(session, job);
  const target = await targetOf(job, output);
  await toFile(session, job, target, options.force ?? false);
  session.view.close();
  if (session.json) await printJson({ backup_id: id, file: target });
  else session.view.note(`${printable(target)} is complete; its SHA-256 is that of the receipt.`);
}

interface PullJob {
  readonly receipt: Receipt;
  readonly representation: Representation;
  /** Of the bytes as they come. */
  readonly check: Check;
  /** Makes the content of them; null: they are the file. */
  readonly opener: Opener | null;
  /** Seconds. */
  readonly retryFor: number;
}

/** Hashes what passes, and says at the end whether it is what the receipt says. */
interface Check {
  update(chunk: Uint8Array): Promise<void>;
  holds(): Promise<boolean>;
}

/**
 * The content is compared with the receipt, which comes in an answer of its own. The stored bytes are compared with the
 * receipt too, or with the answer's Repr-Digest where the receipt does not have their SHA-256.
 */
function checkOf(
  { checksum, stored_checksum, encryption }: Receipt,
  { sha256 }: Representation,
  format?: string,
): Check {
  if (format === 'gz') return gzipCheck(checksum);
  if (format === undefined && encryption === null) return plainCheck(checksum);
  const expected = stored_checksum ?? sha256;
  if (expected !== null) return plainCheck(expected);
  throw new CommandFailed(
    'The vault sent no SHA-256 of these bytes, so nothing can be compared. If there is a proxy between, it may have dropped Repr-Digest.',
  );
}

function plainCheck(expected: string): Check {
  const hash = createHash('sha256');
  return {
    update: async (chunk) => {
      hash.update(chunk);
    },
    holds: async () => hash.digest('hex') === expected,
  };
}

/** gzip is made anew each time, so its own hash is unknown: its content is compared. */
function gzipCheck(expected: string): Check {
  const gunzip = createGunzip();
  const hash = createHash('sha256');
  const hashed = (async () => {
    for await (const chunk of gunzip) hash.update(chunk as Buffer);
    return hash.digest('hex');
  })();
  // A failure is seen by `holds`.
  hashed.catch(() => undefined);
  return {
    update: async (chunk) => {
      if (!gunzip.destroyed && !gunzip.write(chunk))
        await Promise.race([once(gunzip, 'drain'), hashed]).catch(() => undefined);
    },
    holds: async () => {
      gunzip.end();
      return (await hashed.catch(() => null)) === expected;
    },
  };
}

/** The bytes to be written, from `offset` of what comes; checked as they pass. */
async function* content(session: Session, job: PullJob, offset: number): AsyncGenerator<Uint8Array, void, undefined> {
  const { receipt, representation, check, opener, retryFor } = job;
  const checked = (async function* () {
    for await (const chunk of readRepresentation(representation, offset, readOptions(session, receipt, retryFor))) {
      await check.update(chunk);
      yield chunk;
    }
  })();
  if (!opener) return yield* checked;
  const opened = plainCheck(receipt.checksum);
  for await (const chunk of opener.open(checked)) {
    await opened.update(chunk);
    yield chunk;
  }
  // The checksum of a file that came encrypted is that of the age file, which `check` compares.
  if (receipt.encryption?.by === 'vault' && !(await opened.holds())) throw mismatch('It was not kept.');
}

async function toStandardOutput(session: Session, job: PullJob): Promise<void> {
  for await (const chunk of content(session, job, 0)) await print(chunk);
  if (!(await job.check.holds())) throw mismatch('They are written already: do not use them.');
}

async function targetOf({ receipt, representation, opener }: PullJob, output: string | undefined): Promise<string> {
  const isDirectory = output !== undefined && (await stat(output).catch(() => null))?.isDirectory() === true;
  if (output !== undefined && !isDirectory) return output;
  const { filename } = opener ? { filename: receipt.filename.replace(/\.age$/, '') } : representation;
  if (filename === '') throw new CommandFailed('The vault has no filename for it: choose one with -o.');
  return isDirectory ? join(output, filename) : filename;
}

/** Null: nothing is there. Throws where it must stay as it is. */
async function replacedBy(target: string, force: boolean): Promise<Stats | null> {
  const found = await lstat(target).catch(() => null);
  if (!found) return null;
  const kind = kindOf(found);
  if (kind !== 'file')
    throw new CommandFailed(`${printable(target)} is a ${kind}, which is never replaced. Use -o - and redirect.`);
  if (!force) throw new CommandFailed(`${printable(target)} exists; --force replaces it.`);
  return found;
}

function kindOf(found: Stats): string {
  if (found.isFile()) return 'file';
  if (found.isSymbolicLink()) return 'symbolic link';
  if (found.isDirectory()) return 'directory';
  if (found.isFIFO()) return 'FIFO';
  return found.isSocket() ? 'socket' : 'device';
}

async function toFile(session: Session, job: PullJob, target: string, force: boolean): Promise<void> {
  const { representation, receipt, check, opener } = job;
  const old = await replacedBy(target, force);
  const { filename } = representation;
  const length = opener ? receipt.file_size : representation.length;
  // The name has the backup's id, so a part is never one of another backup.
  const suffix = opener
    ? '.content'
    : representation.path.includes('format=')
      ? `.${representation.path.split('=')[1]}`
      : '';
  const part = join(dirname(target), `${receipt.backup_id}${suffix}.part`);
  const offset = opener ? 0 : await keptOf(part, representation, check);
  const transfer = session.view.begin(filename, length, offset);
  if (offset > 0) session.view.note(`${printable(target)}: resumes at ${showBytes(offset)}`);
  transfer.phase('receiving', length);
  const file = await open(part, offset > 0 ? 'r+' : 'w');
  let at = offset;
  try {
    for await (const chunk of content(session, job, offset)) {
      await writeAll(file, chunk, at);
      at += chunk.length;
      transfer.at(at);
    }
    await file.datasync();
  } catch (error) {
    // A later run cannot resume within decrypted content.
    if (opener) await rm(part, { force: true });
    throw explained(error, representation, opener !== null);
  } finally {
    await file.close();
  }
  if (!(await check.holds())) {
    await rm(part, { force: true });
    throw mismatch('They were removed.');
  }
  if (old) await keepAttributes(part, old);
  await rename(part, target);
  transfer.phase('done', length);
  transfer.end();
}

async function keepAttributes(part: string, { mode, uid, gid }: Stats): Promise<void> {
  // Only root may give a file away, and a chown clears the set-id bits.
  await chown(part, uid, gid).catch(() => undefined);
  await chmod(part, mode & 0o7777);
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

/** The vault's own frames: docs, Stored form. */
const FRAME_BYTES = 4 * 1024 * 1024;

export function readOptions({ client, signal, view, limit }: Session, receipt: Receipt, retryFor: number): ReadOptions {
  const { codec, engine } = receipt.compression;
  const hasFrames = codec === 'zstd' && engine !== 'client' && receipt.encryption === null;
  return {
    client,
    signal,
    limit,
    patience: new Patience(retryFor),
    backup: {
      id: receipt.backup_id,
      frameOf: (byte) => (hasFrames ? Math.floor(byte / FRAME_BYTES) : null),
    },
    note: (text) => view.note(text),
  };
}

function explained(error: unknown, { hasRanges }: Representation, isOpened: boolean): unknown {
  const advice =
    hasRanges && !isOpened
      ? 'Run the same command again to resume.'
      : 'Run the same command again; it starts from the beginning.';
  if (error instanceof Interrupted) return error.because(`Stopped. ${advice}`);
  return isPassing(error) ? new CommandFailed(`${(error as Error).message}\n${advice}`) : error;
}

function mismatch(what: string): CommandFailed {
  return new CommandFailed(`The bytes that came do not have the SHA-256 of the receipt. ${what}`);
}
